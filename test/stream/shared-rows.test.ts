import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DuckDBInstance } from '@duckdb/node-api'
import * as fc from 'fast-check'
import { expect, test, vi } from 'vitest'
import { z } from 'zod'
import {
  inTransaction,
  openDuckdb,
  queryRows,
  type DuckDBConnection,
} from '../../src/core/duckdb.ts'
import { duckdbType, quoteName } from '../../src/plan/columns.ts'
import { CatalogWriter } from '../../src/stream/catalog-writer.ts'
import { convertTopic } from '../../src/stream/conversion.ts'
import { deadLetterColumns } from '../../src/stream/dead-letters.ts'
import { FreshRows, type SnapshotPart } from '../../src/stream/fresh-rows.ts'
import { TopicLedger } from '../../src/stream/ledger.ts'
import { processMicroBatch } from '../../src/stream/micro-batch.ts'
import { SetAsideOffsets } from '../../src/stream/set-aside-offsets.ts'
import { SharedRows } from '../../src/stream/shared-rows.ts'
import type { PlacedRecord } from '../../src/log/record-chunks.ts'
import { Staging } from '../../src/stream/staging.ts'
import type { StreamTable } from '../../src/stream/stream-table.ts'
import { TableRows } from '../../src/stream/table-rows.ts'
import { define } from './world.ts'

/** More tables than bits in a word: the last ones have theirs in the second. */
const fillers = Array.from({ length: 31 }, (_, index) => `filler_${index}`)
const definition = define({
  events: {
    sword: { params: z.object({ damage: z.number().int().optional() }) },
    guild: {},
  },
  tables: {
    everything: { from: '*' },
    ...Object.fromEntries(fillers.map((name) => [name, { from: 'guild' }])),
    swords: { from: 'sword' },
    strong: { from: 'sword', where: 'damage > 10', set: { Host: "'h' || damage" } },
  },
})

interface Event {
  readonly type: 'sword' | 'guild' | 'nobody'
  readonly damage: number | string | null
}

/** What the rules say, written a second time. */
const takes: Readonly<Record<string, (event: Event) => boolean>> = {
  everything: ({ type, damage }) => type === 'guild' || (type === 'sword' && damage !== 'x'),
  filler_0: ({ type }) => type === 'guild',
  filler_30: ({ type }) => type === 'guild',
  swords: ({ type, damage }) => type === 'sword' && damage !== 'x',
  strong: ({ type, damage }) => type === 'sword' && typeof damage === 'number' && damage > 10,
}
const watched = Object.keys(takes)
const setAside = ({ type, damage }: Event) =>
  type === 'nobody' ? 1 : type === 'sword' && damage === 'x' ? 3 : 0

class Play {
  readonly instance: DuckDBInstance
  readonly connection: DuckDBConnection
  readonly tables: readonly StreamTable[]
  readonly shared: SharedRows
  readonly deadLetters: FreshRows
  readonly staging: Staging
  readonly ledger = new TopicLedger('key')
  readonly setAside = new SetAsideOffsets('id', {})
  readonly sent: Event[] = []

  static async open(): Promise<Play> {
    const instance = await openDuckdb({
      memoryMiB: 256,
      threads: 2,
      temporaryFolder: join(tmpdir(), 'questlog-shared-rows'),
      temporaryMiB: 10,
    })
    const play = new Play(instance, await instance.connect(), await instance.connect())
    await play.#create()
    return play
  }

  private constructor(
    instance: DuckDBInstance,
    connection: DuckDBConnection,
    other: DuckDBConnection,
  ) {
    this.instance = instance
    this.connection = connection
    let generation = 0
    const conversion = convertTopic(definition, 'events')
    this.shared = new SharedRows('events', conversion, () => ++generation, {
      generationRows: 6,
      ownGenerationRows: 5,
      droppedRowsMin: 2,
      wantedShareMax: 0.5,
      stragglersMin: 2,
    })
    this.staging = new Staging(other, conversion)
    this.deadLetters = new FreshRows(
      'questlog',
      'dead_letters',
      deadLetterColumns,
      {
        scan: `SELECT ${deadLetterColumns.map(({ name, type }) => `NULL::${duckdbType(type)} AS ${quoteName(name)}`).join(', ')} WHERE false`,
        narrowed: () => undefined,
        recordCount: 0,
        paths: new Set(),
      },
      () => ++generation,
    )
    this.tables = definition.tables.map((table) => {
      const next = new Map<number, number>()
      const fresh = new TableRows({
        namespace: 'default',
        name: table.name,
        columns: table.columns,
        snapshot: this.#snapshot(table.name, 0),
        shared: this.shared,
        next,
        partBytes: Number.POSITIVE_INFINITY,
      })
      const lake = { namespace: 'default', name: table.name }
      return { definition: table, lake, fresh, next } as unknown as StreamTable // what a batch uses of it
    })
  }

  #snapshot(name: string, recordCount: number): SnapshotPart {
    const scan = `SELECT * FROM snapshots.${name}`
    return { scan, narrowed: () => undefined, recordCount, paths: new Set() }
  }

  async #create(): Promise<void> {
    await this.connection.run('CREATE SCHEMA snapshots')
    for (const { definition: table } of this.tables)
      await this.connection.run(
        `CREATE TABLE snapshots.${table.name} (${table.columns.map(({ name, type }) => `${quoteName(name)} ${duckdbType(type)}`).join(', ')})`,
      )
    await inTransaction(this.connection, async () => {
      await this.deadLetters.create(this.connection)
      await this.shared.create(this.connection)
      for (const { fresh } of this.tables) await fresh.create(this.connection)
    })
    this.ledger.begin(0, 0, undefined)
  }

  close(): void {
    this.staging.close()
    this.connection.closeSync()
    this.instance.closeSync()
  }

  async batch(events: readonly Event[]): Promise<void> {
    const from = this.sent.length
    this.sent.push(...events)
    const records = events.map(({ type, damage }, index): PlacedRecord => ({
      partition: 0,
      record: {
        offset: from + index,
        timestampMs: 1_532_644_587_000 + index,
        key: null,
        value: Buffer.from(
          JSON.stringify({ event_type: type, ...(damage === null ? {} : { damage }) }),
        ),
        headers: [],
      },
    }))
    await processMicroBatch(this.staging, {
      topic: 'events',
      conversion: this.shared.conversion,
      tables: this.tables,
      filling: new Set(this.tables),
      past: false,
      ledger: this.ledger,
      shared: this.shared,
      deadLetters: this.deadLetters,
      setAside: this.setAside,
      records,
      ranges: new Map([[0, { from, to: this.sent.length }]]),
      bytes: 100,
      jsonDepthMax: 64,
    })
  }

  /** Commits a table as the committer does; `fails` ends the last transaction. */
  async commit(name: string, fails: boolean): Promise<void> {
    const fresh = this.tables.find(({ definition: table }) => table.name === name)?.fresh
    if (fresh === undefined || fresh.totalRows === 0) return
    ;(await fresh.freeze())()
    const before = await this.#committedRows(name)
    const work = async () => {
      if (fresh.frozen !== undefined)
        await this.connection.run(`INSERT INTO snapshots.${name} SELECT * FROM ${fresh.frozen}`)
      const swapped = await fresh.swap(
        this.connection,
        this.#snapshot(name, await this.#committedRows(name)),
      )
      if (fails) throw new Error('as told')
      return swapped
    }
    await inTransaction(this.connection, work).then(
      (swapped) => swapped(),
      (error: unknown) => {
        if (!fails) throw error
      },
    )
    expect(await this.#committedRows(name)).toBeGreaterThanOrEqual(before)
  }

  async #committedRows(name: string): Promise<number> {
    const [row] = await queryRows(
      this.connection,
      `SELECT count(*)::INTEGER AS n FROM snapshots.${name}`,
    )
    return Number(row?.['n'])
  }

  async release(): Promise<void> {
    const release = this.shared.release()
    if (release !== undefined)
      (await inTransaction(this.connection, () => release(this.connection)))()
  }

  async check(): Promise<void> {
    for (const name of watched) {
      const wanted = this.sent.flatMap((event, offset) =>
        takes[name]?.(event) === true ? [offset] : [],
      )
      const rows = await queryRows(
        this.connection,
        `SELECT _offset::INTEGER AS o, "Host" AS host FROM "default".${name} ORDER BY o`,
      )
      expect(rows.map((row) => row['o'])).toEqual(wanted)
      if (name === 'strong')
        expect(rows.map((row) => row['host'])).toEqual(
          wanted.map((offset) => `h${this.sent[offset]?.damage}`),
        )
      const [counted] = await queryRows(
        this.connection,
        `SELECT n::INTEGER AS n FROM _counts.${name}`,
      )
      expect(counted?.['n']).toBe(wanted.length)
    }
    const [aside] = await queryRows(
      this.connection,
      'SELECT count(*)::INTEGER AS n FROM questlog.dead_letters',
    )
    expect(aside?.['n']).toBe(this.sent.reduce((sum, event) => sum + setAside(event), 0))
  }
}

const event: fc.Arbitrary<Event> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      type: fc.constantFrom('sword' as const),
      damage: fc.constantFrom(11, 99),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      type: fc.constantFrom('sword' as const, 'guild' as const),
      damage: fc.constantFrom(1, 50, null),
    }),
  },
  { weight: 1, arbitrary: fc.constant<Event>({ type: 'sword', damage: 'x' }) },
  { weight: 1, arbitrary: fc.constant<Event>({ type: 'nobody', damage: null }) },
)
const step = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('batch' as const),
      events: fc.array(event, { minLength: 1, maxLength: 9 }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('commit' as const),
      name: fc.constantFrom(...watched),
      fails: fc.boolean(),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('release' as const) }) },
)

test('whatever is added, committed, rolled back and given back: each table shows its rows once, and counts them', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 8, maxLength: 20 }), async (steps) => {
      const play = await Play.open()
      for (const each of steps) {
        if (each.kind === 'batch') await play.batch(each.events)
        else if (each.kind === 'commit') await play.commit(each.name, each.fails)
        else await play.release()
        await play.check()
      }
      for (const { definition: table } of play.tables) await play.commit(table.name, false)
      await play.release()
      await play.check()
      const rest = play.shared.generations.reduce((sum, { rows }) => sum + rows, 0)
      expect(rest).toBeLessThan(2)
      play.close()
    }),
    { numRuns: 5 },
  )
})

test('a table that commits seldom does not keep the rows of the others', async () => {
  const play = await Play.open()
  for (let round = 0; round < 6; round++) {
    await play.batch([
      { type: 'guild', damage: null },
      ...Array.from({ length: 8 }, (): Event => ({ type: 'sword', damage: 5 })),
    ])
    for (const { definition: table } of play.tables)
      if (table.name !== 'filler_0') await play.commit(table.name, false)
    await play.release()
    await play.check()
  }
  const kept = play.shared.generations.reduce((sum, { rows }) => sum + rows, 0)
  expect(kept).toBeLessThan(54 / 2)
  await play.commit('filler_0', false)
  await play.release()
  await play.check()
  expect(play.shared.generations.reduce((sum, { rows }) => sum + rows, 0)).toBeLessThan(2)
  play.close()
})

test('small batches prepare their statement once, and once more after each change of the catalog', async () => {
  const play = await Play.open()
  const prepare = vi.spyOn(play.staging.connection, 'prepare')
  const prepared = async () => {
    prepare.mockClear()
    await play.batch([{ type: 'sword', damage: 99 }])
    return prepare.mock.calls.length
  }
  expect(await prepared()).toBe(1)
  expect(await prepared()).toBe(0)
  play.staging.catalog.changed()
  expect(await prepared()).toBe(1)
  expect(await prepared()).toBe(0)
  await play.batch([{ type: 'sword', damage: 'x' }]) // is looked at closely, and so are the batches after it
  await prepared()
  prepare.mockClear()
  play.staging.catalog.changed()
  await play.batch([{ type: 'sword', damage: 99 }])
  const again = prepare.mock.calls.map(([sql]) => sql.slice(0, 20))
  expect(again).toEqual(['INSERT INTO "_fresh"']) // not those over its own temporary tables
  await play.check()
  play.close()
})

test('all work with the connection that writes may have changed the catalog, but that which would say so', async () => {
  const instance = await DuckDBInstance.create(':memory:')
  const connection = await instance.connect()
  const writer = new CatalogWriter(connection)
  const versions = [writer.catalog.version]
  await writer.run(async () => versions.push(writer.catalog.version))
  versions.push(writer.catalog.version)
  await writer.runRows(async () => versions.push(writer.catalog.version))
  await writer.run(() => Promise.reject(new Error('half-way'))).catch(() => {})
  versions.push(writer.catalog.version)
  const [first, during, after, rows, failed] = versions
  expect([during === first, after !== during, rows === after, failed !== rows]).toEqual([
    true,
    true,
    true,
    true,
  ])
  connection.closeSync()
  instance.closeSync()
})
