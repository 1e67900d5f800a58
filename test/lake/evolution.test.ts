import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { QuestlogError } from '../../src/core/errors.ts'
import { realFiles } from '../../src/core/files.ts'
import { compactFiles } from '../../src/lake/compact.ts'
import { createTable, openTable, type LakeTable } from '../../src/lake/table.ts'
import { duckdbType, type Column, type ColumnType } from '../../src/plan/columns.ts'
import { createLake, readByIcebird, scanRows, writeRows, type LakeWithDuckdb } from './support.ts'

const last: Column = { name: '_offset', type: { kind: 'long' } }
const names = ['a', 'b', 'c', 'd'] as const
type Name = (typeof names)[number]

type Change =
  | { readonly kind: 'add'; readonly name: Name; readonly type: 'int' | 'decimal' | 'string' }
  | { readonly kind: 'drop'; readonly name: Name }
  | { readonly kind: 'rename'; readonly from: Name; readonly to: Name }
  | { readonly kind: 'widen'; readonly name: Name }
  | { readonly kind: 'retype'; readonly name: Name }
  | { readonly kind: 'write' | 'merge' | 'reopen' }

const name = fc.constantFrom(...names)
const change: fc.Arbitrary<Change> = fc.oneof(
  fc.record({
    kind: fc.constant('add' as const),
    name,
    type: fc.constantFrom('int' as const, 'decimal' as const, 'string' as const),
  }),
  fc.record({ kind: fc.constant('drop' as const), name }),
  fc.record({ kind: fc.constant('rename' as const), from: name, to: name }),
  fc.record({ kind: fc.constantFrom('widen' as const, 'retype' as const), name }),
  fc.record({ kind: fc.constantFrom('write' as const, 'merge' as const, 'reopen' as const) }),
  fc.record({ kind: fc.constant('write' as const) }),
)

const typeOf = (kind: 'int' | 'decimal' | 'string'): ColumnType =>
  kind === 'decimal' ? { kind, precision: 9, scale: 1 } : { kind }

function widened(type: ColumnType): ColumnType {
  if (type.kind === 'int') return { kind: 'long' }
  return type.kind === 'decimal' && type.precision < 30
    ? { ...type, precision: type.precision + 5 }
    : type
}

/** What the table should be: columns that keep their identity, and rows that hold values by it. */
class Model {
  columns: { readonly id: symbol; readonly name: string; readonly type: ColumnType }[] = []
  rows: Map<symbol, number>[] = []

  has(wanted: string): boolean {
    return this.columns.some((column) => column.name === wanted)
  }

  /** Each row's values as numbers, by the names of now. */
  shown(): Record<string, number | null>[] {
    return this.rows.map((row, offset) => ({
      ...Object.fromEntries(this.columns.map(({ id, name: of }) => [of, row.get(id) ?? null])),
      _offset: offset,
    }))
  }
}

class World {
  readonly lake: LakeWithDuckdb
  readonly model = new Model()
  table: LakeTable
  #batches = 0

  constructor(lake: LakeWithDuckdb, table: LakeTable) {
    this.lake = lake
    this.table = table
  }

  async make(step: Change): Promise<void> {
    const { model } = this
    switch (step.kind) {
      case 'add':
        if (model.has(step.name)) return
        model.columns.push({ id: Symbol(step.name), name: step.name, type: typeOf(step.type) })
        return this.#evolve()
      case 'drop':
        model.columns = model.columns.filter((column) => column.name !== step.name)
        return this.#evolve()
      case 'rename': {
        if (!model.has(step.from) || model.has(step.to)) return
        model.columns = model.columns.map((column) =>
          column.name === step.from ? { ...column, name: step.to } : column,
        )
        return this.#evolve({ [step.to]: step.from })
      }
      case 'widen':
        model.columns = model.columns.map((column) =>
          column.name === step.name ? { ...column, type: widened(column.type) } : column,
        )
        return this.#evolve()
      case 'retype':
        return this.#retype(step.name)
      case 'write':
        return this.#write()
      case 'merge':
        return this.#merge()
      case 'reopen':
        this.table = (await openTable(this.lake.at(this.table.name))) ?? this.table
    }
  }

  #columns(): Column[] {
    return [...this.model.columns.map(({ name: of, type }) => ({ name: of, type })), last]
  }

  async #evolve(renamed: Record<string, string> = {}): Promise<void> {
    const files = await this.table.liveFiles()
    await this.table.evolve(this.#columns(), renamed)
    await this.table.evolve(this.#columns(), renamed) // again changes nothing
    expect(await this.table.liveFiles()).toEqual(files)
  }

  /** No file could follow: refused, and nothing has changed. */
  async #retype(wanted: string): Promise<void> {
    if (!this.model.has(wanted)) return
    const { version } = this.table
    const columns = this.#columns().map((column) =>
      column.name === wanted ? { ...column, type: { kind: 'boolean' } as const } : column,
    )
    const code = await this.table.evolve(columns).then(
      () => undefined,
      (error: unknown) => (error instanceof QuestlogError ? error.code : String(error)),
    )
    expect(code).toBe('EVOLUTION_REFUSED')
    expect(this.table.version).toBe(version)
  }

  async #write(): Promise<void> {
    const { model } = this
    const offset = model.rows.length
    const value = (offset % 90) + 1
    model.rows.push(new Map(model.columns.map(({ id }) => [id, value])))
    const values = model.columns.map(
      ({ name: of, type }) => `CAST(${value} AS ${duckdbType(type)}) AS "${of}"`,
    )
    const batchId = `batch-${this.#batches++}`
    const select = `SELECT ${[...values, `${offset} AS _offset`].join(', ')}`
    const files = await writeRows(this.lake, this.table, select, batchId)
    await this.table.commit({ batchId, files })
  }

  async #merge(): Promise<void> {
    const files = await this.table.liveFiles()
    if (files.length < 2) return
    await compactFiles({
      connection: this.lake.connection,
      files: realFiles,
      table: this.table,
      plan: { day: null, files },
      during: (replace) => replace(),
    })
  }

  /** Our own reader and a foreign one show what the model says. */
  async check(): Promise<void> {
    const expected = this.model.shown()
    const plain = (rows: readonly Record<string, unknown>[]) =>
      rows
        .map((row) =>
          Object.fromEntries(
            Object.keys(expected[0] ?? {}).map((key) => [
              key,
              row[key] === null || row[key] === undefined ? null : Number(row[key]),
            ]),
          ),
        )
        .toSorted((left, right) => Number(left['_offset']) - Number(right['_offset']))
    expect(plain(await scanRows(this.lake, this.table))).toEqual(expected)
    if (expected.length > 0) expect(plain(await readByIcebird(this.table))).toEqual(expected)
    expect(this.table.columns.map((column) => column.name)).toEqual(
      this.#columns().map((column) => column.name),
    )
  }
}

test('whatever a table goes through, every value stays with its column, in files of every age and for every reader', async () => {
  await using lake = await createLake()
  let tables = 0
  await fc.assert(
    fc.asyncProperty(fc.array(change, { minLength: 3, maxLength: 16 }), async (steps) => {
      const world = new World(lake, await createTable(lake.at(`table${tables++}`), [last], {}))
      await world.make({ kind: 'add', name: 'a', type: 'int' })
      await world.make({ kind: 'write' })
      for (const step of steps) await world.make(step)
      await world.check()
    }),
    { numRuns: 20 },
  )
})
