import type { StatementSink } from '../core/duckdb.ts'
import { quoteName } from '../plan/columns.ts'
import { stagedNames, type TopicConversion } from './conversion.ts'
import { freshSchema } from './fresh-rows.ts'
import type { OffsetRange } from './ledger.ts'
import { hasAny, maskOf, names } from './verdict.ts'

export interface SharedRowsLimits {
  /** A generation of so many rows takes no more small batches: the next one begins, so that this one can go when it is committed. */
  readonly generationRows: number
  /** A batch of so many rows is a generation of its own: DuckDB moves the rows of a new table, and copies those that join others. */
  readonly ownGenerationRows: number
  /** Committed rows are dropped with their generation; a last one with fewer rows stays to take more. */
  readonly droppedRowsMin: number
  /** Generations of which so small a part is still wanted are copied together, when there are so many of them. */
  readonly wantedShareMax: number
  readonly stragglersMin: number
}

const defaultLimits: SharedRowsLimits = {
  generationRows: 16_384,
  ownGenerationRows: 16_384,
  droppedRowsMin: 2_048,
  wantedShareMax: 0.25,
  stragglersMin: 4,
}

/** How far a table has committed: offsets below are in its snapshot, by log partition. */
type Offsets = ReadonlyMap<number, number>

interface Wanted {
  rows: number
  /** Next offsets after the last rows of the table. */
  readonly ends: Map<number, number>
}

/** Rows that came together; a table of DuckDB. */
export interface Generation {
  readonly relation: string
  rows: number
  /** By table of the topic. */
  readonly wanted: Map<number, Wanted>
}

/**
 * The fresh rows of all tables of one topic, in the order of the log: a micro-batch adds each record once, whatever the number of tables that take
 * it, with a bit for each of them (verdict.ts). They lie in generations, that is tables of DuckDB, under one view.
 *
 * What runs in a transaction of the caller gives back what is to be called when that is committed: the state here follows DuckDB's.
 */
export class SharedRows {
  readonly conversion: TopicConversion
  readonly limits: SharedRowsLimits
  /** Quoted name of the view of all generations. */
  readonly view: string
  readonly #name: string
  readonly #nextGeneration: () => number
  readonly #columns: readonly string[]
  /** How far each table of the topic has committed. */
  readonly #committed: Offsets[]
  #generations: readonly Generation[] = []
  #isSorted = true

  /** `nextGeneration` gives a number that no generation in this database has had. */
  constructor(
    topic: string,
    conversion: TopicConversion,
    nextGeneration: () => number,
    limits: SharedRowsLimits = defaultLimits,
  ) {
    this.conversion = conversion
    this.limits = limits
    this.#name = `topic:${topic}`
    this.view = `${quoteName(freshSchema)}.${quoteName(this.#name)}`
    this.#nextGeneration = nextGeneration
    this.#columns = [
      ...stagedNames,
      ...names('t', conversion.verdict.words),
      ...conversion.values.map(({ name }) => name),
    ]
    this.#committed = [...conversion.tables].map(() => new Map())
  }

  /** Whether the view gives the rows of each table and partition in the order of the log. */
  get isSorted(): boolean {
    return this.#isSorted
  }

  get generations(): readonly Generation[] {
    return this.#generations
  }

  /** Creates the first generation and the view. */
  async create(connection: StatementSink): Promise<void> {
    await connection.run(`CREATE SCHEMA IF NOT EXISTS ${quoteName(freshSchema)}`)
    const first = await this.#createGeneration(connection)
    await this.#replaceView(connection, [first])
    this.#generations = [first]
  }

  /** Begins anew, without rows: those that were here must be committed. What it gives back is called when the caller's transaction is committed. */
  async clear(connection: StatementSink): Promise<() => void> {
    const first = await this.#createGeneration(connection)
    await this.#replaceView(connection, [first])
    await this.drop(connection)
    return () => {
      this.#generations = [first]
      this.#isSorted = true
      for (const index of this.#committed.keys()) this.#committed[index] = new Map()
    }
  }

  /** Drops everything. The rows must be committed, or read again from the log. */
  async drop(connection: StatementSink): Promise<void> {
    for (const { relation } of this.#generations)
      await connection.run(`DROP TABLE IF EXISTS ${relation}`)
  }

  /** The generation that takes the next small batch, if there is one. */
  get open(): Generation | undefined {
    const last = this.#generations.at(-1)
    return last !== undefined && last.rows < this.limits.generationRows ? last : undefined
  }

  /** The generation that takes the next small batch, made if need be, and what keeps it when the transaction is committed. */
  async room(connection: StatementSink): Promise<{ generation: Generation; keep: () => void }> {
    const { open } = this
    if (open !== undefined) return { generation: open, keep: () => {} }
    return this.#append(connection, await this.#createGeneration(connection))
  }

  /** Makes rows a generation of their own. `select` gives its columns (`items`), and others if it likes. */
  async add(
    connection: StatementSink,
    select: string,
  ): Promise<{ generation: Generation; keep: () => void }> {
    const relation = this.#newRelation()
    await connection.run(`CREATE TABLE ${relation} AS ${select}`)
    return this.#append(connection, { relation, rows: 0, wanted: new Map() })
  }

  /** Items of a SELECT from `parsed`; `masks` gives the SQL of `t0`, `t1`, …. */
  items(masks: readonly string[]): string {
    const marks = new Map(names('t', masks.length).map((name, word) => [name, masks[word]]))
    return this.#columns
      .map((name) => (marks.has(name) ? `${marks.get(name)} AS ${name}` : `parsed.${name}`))
      .join(', ')
  }

  get columns(): string {
    return this.#columns.join(', ')
  }

  /** Counts rows of a committed transaction. `taken` is how many of them each table takes. */
  added(
    generation: Generation,
    rows: number,
    taken: ReadonlyMap<number, number>,
    ranges: ReadonlyMap<number, OffsetRange>,
    isSorted: boolean,
  ): void {
    generation.rows += rows
    if (!isSorted) this.#isSorted = false
    for (const [table, count] of taken) {
      if (count === 0) continue
      const wanted = generation.wanted.get(table) ?? { rows: 0, ends: new Map<number, number>() }
      wanted.rows += count
      for (const [partition, { to }] of ranges)
        wanted.ends.set(partition, Math.max(to, wanted.ends.get(partition) ?? 0))
      generation.wanted.set(table, wanted)
    }
  }

  /** A table's commit of everything below these offsets is in its view. */
  committed(table: number, offsets: Offsets): void {
    this.#committed[table] = offsets
  }

  /**
   * Drops the generations that no table wants any more, and copies what few tables still want of others into one: a table that commits seldom, or
   * fails, does not keep the rows of all. Undefined when there is nothing to do.
   */
  release(): ((connection: StatementSink) => Promise<() => void>) | undefined {
    const isDone = (generation: Generation, index: number) =>
      this.#wantedRows(generation) === 0 &&
      (index < this.#generations.length - 1 || generation.rows >= this.limits.droppedRowsMin)
    const done = this.#generations.filter(isDone)
    const rest = this.#generations.filter((generation) => !done.includes(generation))
    const stragglers = rest.filter(
      (generation) =>
        generation.rows >= this.limits.droppedRowsMin &&
        this.#wantedRows(generation) <= generation.rows * this.limits.wantedShareMax,
    )
    const copied = stragglers.length >= this.limits.stragglersMin ? stragglers : []
    if (done.length + copied.length === 0) return undefined
    return async (connection) => {
      const kept = rest.filter((generation) => !copied.includes(generation))
      if (copied.length > 0) kept.unshift(await this.#copyWanted(connection, copied))
      if (kept.length === 0) kept.push(await this.#createGeneration(connection))
      await this.#replaceView(connection, kept)
      for (const { relation } of [...done, ...copied])
        await connection.run(`DROP TABLE ${relation}`)
      return () => {
        this.#generations = kept
        if (copied.length > 0) this.#isSorted = false
        else if (kept.every(({ rows }) => rows === 0)) this.#isSorted = true
      }
    }
  }

  async #copyWanted(
    connection: StatementSink,
    generations: readonly Generation[],
  ): Promise<Generation> {
    const { words } = this.conversion.verdict
    const wanted = new Map<number, Wanted>()
    const selects = generations.map((generation) => {
      const tables = this.#wantedBy(generation)
      for (const [table, { rows, ends }] of tables) {
        const all = wanted.get(table) ?? { rows: 0, ends: new Map<number, number>() }
        all.rows += rows
        for (const [partition, end] of ends)
          all.ends.set(partition, Math.max(end, all.ends.get(partition) ?? 0))
        wanted.set(table, all)
      }
      const mask = maskOf(
        tables.map(([table]) => table),
        words,
      )
      const masks = names('t', words).map((name, word) => `(parsed.${name} & ${mask[word]})`)
      return `SELECT * FROM (SELECT ${this.items(masks)} FROM ${generation.relation} AS parsed) WHERE ${hasAny('t', words)}`
    })
    const relation = this.#newRelation()
    await connection.run(`CREATE TABLE ${relation} AS ${selects.join(' UNION ALL ')}`)
    const rows = [...wanted.values()].reduce((sum, table) => sum + table.rows, 0)
    return { relation, rows, wanted }
  }

  /** What tables still want of a generation: all of theirs, unless they have committed it to its end. */
  #wantedBy(generation: Generation): [number, Wanted][] {
    return [...generation.wanted].filter(([table, { ends }]) => {
      const committed = this.#committed[table]
      return [...ends].some(([partition, end]) => (committed?.get(partition) ?? 0) < end)
    })
  }

  #wantedRows(generation: Generation): number {
    return this.#wantedBy(generation).reduce((sum, [, { rows }]) => sum + rows, 0)
  }

  async #append(connection: StatementSink, generation: Generation) {
    const next = [...this.#generations, generation]
    await this.#replaceView(connection, next)
    return { generation, keep: () => void (this.#generations = next) }
  }

  async #createGeneration(connection: StatementSink): Promise<Generation> {
    const relation = this.#newRelation()
    const types = new Map(
      [
        { name: '_log_partition', type: 'INTEGER' },
        { name: '_offset', type: 'BIGINT' },
        { name: '_ms', type: 'BIGINT' },
        ...names('t', this.conversion.verdict.words).map((name) => ({ name, type: 'INTEGER' })),
        ...this.conversion.values,
      ].map(({ name, type }) => [name, type]),
    )
    const columns = this.#columns.map((name) => `${name} ${types.get(name) ?? 'VARCHAR'}`)
    await connection.run(`CREATE TABLE ${relation} (${columns.join(', ')})`)
    return { relation, rows: 0, wanted: new Map() }
  }

  async #replaceView(connection: StatementSink, generations: readonly Generation[]): Promise<void> {
    const selects = generations.map(({ relation }) => `SELECT ${this.columns} FROM ${relation}`)
    await connection.run(`CREATE OR REPLACE VIEW ${this.view} AS ${selects.join(' UNION ALL ')}`)
  }

  #newRelation(): string {
    return `${quoteName(freshSchema)}.${quoteName(`${this.#name}#${this.#nextGeneration()}`)}`
  }
}
