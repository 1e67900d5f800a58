import type { DuckDBConnection, StatementSink } from '../core/duckdb.ts'
import type { Narrowing } from '../lake/pruning.ts'
import { duckdbType, quoteName, type Column } from '../plan/columns.ts'
import { countViewName } from '../plan/compile.ts'

/** Schemas of the shared in-memory database that hold no table of the user. */
export const freshSchema = '_fresh'
export const countSchema = '_counts'

/** What a table's view is made of, besides its fresh rows. */
export interface SnapshotPart {
  /** A SELECT of the table's columns over the data files of its snapshot. */
  readonly scan: string
  /** The same of no more columns and files than are wanted; undefined when no file has rows for it. */
  readonly narrowed: (wanted: Narrowing) => string | undefined
  readonly recordCount: number
  /** The files that the SELECT reads. */
  readonly paths: ReadonlySet<string>
}

/** From the earliest to the latest record time, milliseconds. */
export interface TimeSpan {
  readonly fromMs: number
  readonly toMs: number
}

export const noTimes: TimeSpan = {
  fromMs: Number.POSITIVE_INFINITY,
  toMs: Number.NEGATIVE_INFINITY,
}

export const joinTimes = (one: TimeSpan, other: TimeSpan): TimeSpan => ({
  fromMs: Math.min(one.fromMs, other.fromMs),
  toMs: Math.max(one.toMs, other.toMs),
})

/** The UTC day of all times of the span, if it is one. */
export function dayOf({ fromMs, toMs }: TimeSpan): string | undefined {
  if (toMs < fromMs) return undefined
  const [first, last] = [fromMs, toMs].map((timeMs) => new Date(timeMs).toISOString().slice(0, 10))
  return first === last ? first : undefined
}

/**
 * The fresh rows of the dead letters: rows of acknowledged records that no snapshot holds yet, as DuckDB tables by generation. The last generation takes
 * new rows; a frozen one is being committed. The table's view is its snapshot UNION ALL its generations. Every method that changes the
 * view runs in the caller's transaction, so a statement sees the rows in exactly one of the two.
 */
export class FreshRows {
  readonly namespace: string
  readonly name: string
  readonly columns: readonly Column[]
  #snapshot: SnapshotPart
  readonly #nextGeneration: () => number
  #generation: number
  #frozen: number | undefined
  #rows = { current: 0, frozen: 0 }
  #bytes = { current: 0, frozen: 0 }
  #times = { current: noTimes, frozen: noTimes }

  /** `nextGeneration` gives a number that no generation in this database has had. */
  constructor(
    namespace: string,
    name: string,
    columns: readonly Column[],
    snapshot: SnapshotPart,
    nextGeneration: () => number,
  ) {
    this.namespace = namespace
    this.name = name
    this.columns = columns
    this.#snapshot = snapshot
    this.#nextGeneration = nextGeneration
    this.#generation = nextGeneration()
  }

  /** Quoted name of the generation that takes new rows. */
  get current(): string {
    return this.#relation(this.#generation)
  }

  /** Name of the current generation in its schema, for an appender. */
  get currentTable(): string {
    return this.#tableName(this.#generation)
  }

  /** Quoted name of the generation that is being committed. */
  get frozen(): string | undefined {
    return this.#frozen === undefined ? undefined : this.#relation(this.#frozen)
  }

  get currentRows(): number {
    return this.#rows.current
  }

  get currentBytes(): number {
    return this.#bytes.current
  }

  get totalRows(): number {
    return this.#rows.current + this.#rows.frozen
  }

  /** Counts rows that a committed transaction has added to the current generation. `bytes` is their size on the log, `times` spans their record times. */
  added(rows: number, bytes: number, times: TimeSpan): void {
    if (rows === 0) return
    this.#rows.current += rows
    this.#bytes.current += bytes
    this.#times.current = joinTimes(this.#times.current, times)
  }

  /** The UTC day of all rows of the frozen generation, if it is one. */
  get frozenDay(): string | undefined {
    return dayOf(this.#times.frozen)
  }

  /** Creates the first generation and the views. */
  async create(connection: DuckDBConnection): Promise<void> {
    await connection.run(`CREATE SCHEMA IF NOT EXISTS ${quoteName(this.namespace)}`)
    await connection.run(`CREATE SCHEMA IF NOT EXISTS ${quoteName(countSchema)}`)
    await this.#createGeneration(connection, this.#generation)
    await this.#replaceViews(connection, this.#snapshot, [this.#generation])
  }

  /** Starts a new generation; the one before is frozen, to be committed. What it gives back is called when the transaction is committed. */
  async freeze(connection: StatementSink): Promise<() => void> {
    if (this.#frozen !== undefined)
      throw new Error(`a generation of ${this.name} is frozen already`)
    const [frozen, next] = [this.#generation, this.#nextGeneration()]
    await this.#createGeneration(connection, next)
    await this.#replaceViews(connection, this.#snapshot, [frozen, next])
    return () => {
      this.#frozen = frozen
      this.#generation = next
      this.#rows = { current: 0, frozen: this.#rows.current }
      this.#bytes = { current: 0, frozen: this.#bytes.current }
      this.#times = { current: noTimes, frozen: this.#times.current }
    }
  }

  /** In the order in which they came, which is not always the log's. */
  get frozenIsSorted(): boolean {
    return false
  }

  /** A table of DuckDB is no SELECT. */
  get frozenIsTyped(): boolean {
    return false
  }

  /** The frozen generation is in the snapshot now: both change places in the view. What it gives back is called when that is committed. */
  async swap(connection: StatementSink, snapshot: SnapshotPart): Promise<() => void> {
    const { frozen } = this
    await this.#replaceViews(connection, snapshot, [this.#generation])
    if (frozen !== undefined) await connection.run(`DROP TABLE ${frozen}`)
    return () => {
      this.#frozen = undefined
      this.#snapshot = snapshot
      this.#rows.frozen = 0
      this.#bytes.frozen = 0
    }
  }

  /** The snapshot has other files now, with the same rows. As `swap` otherwise. */
  async show(connection: StatementSink, snapshot: SnapshotPart): Promise<() => void> {
    await this.#replaceViews(connection, snapshot, this.#generations())
    return () => void (this.#snapshot = snapshot)
  }

  /** Whether the view reads a data file. */
  reads(path: string): boolean {
    return this.#snapshot.paths.has(path)
  }

  /** Drops the generations. Their rows must be committed, or read again from the log. */
  async drop(connection: DuckDBConnection): Promise<void> {
    for (const generation of this.#generations())
      await connection.run(`DROP TABLE IF EXISTS ${this.#relation(generation)}`)
  }

  #generations(): number[] {
    return [this.#frozen, this.#generation].filter((generation) => generation !== undefined)
  }

  async #createGeneration(connection: StatementSink, generation: number): Promise<void> {
    const columns = this.columns.map(
      (column) => `${quoteName(column.name)} ${duckdbType(column.type)}`,
    )
    await connection.run(`CREATE SCHEMA IF NOT EXISTS ${quoteName(freshSchema)}`)
    await connection.run(`CREATE TABLE ${this.#relation(generation)} (${columns.join(', ')})`)
  }

  async #replaceViews(
    connection: StatementSink,
    snapshot: SnapshotPart,
    generations: readonly number[],
  ): Promise<void> {
    const names = this.columns.map((column) => quoteName(column.name)).join(', ')
    await replaceViews(
      connection,
      this,
      snapshot,
      generations.map((generation) => ({
        rows: `SELECT ${names} FROM ${this.#relation(generation)}`,
        count: `SELECT count(*) FROM ${this.#relation(generation)}`,
      })),
    )
  }

  #relation(generation: number): string {
    return `${quoteName(freshSchema)}.${quoteName(this.#tableName(generation))}`
  }

  #tableName(generation: number): string {
    return `${this.namespace}.${this.name}#${generation}`
  }
}

/** The view of a table and its count: its snapshot and its fresh rows. */
export async function replaceViews(
  connection: StatementSink,
  { namespace, name }: { readonly namespace: string; readonly name: string },
  snapshot: SnapshotPart,
  fresh: readonly { readonly rows: string; readonly count: string }[],
): Promise<void> {
  const parts = [snapshot.scan, ...fresh.map(({ rows }) => rows)]
  await connection.run(
    `CREATE OR REPLACE VIEW ${quoteName(namespace)}.${quoteName(name)} AS ${parts.map((part) => `(${part})`).join(' UNION ALL ')}`,
  )
  const counts = [
    `CAST(${snapshot.recordCount} AS BIGINT)`,
    ...fresh.map(({ count }) => `(${count})`),
  ]
  // The counts of two namespaces would meet in one schema: only the table's own name is unique there with its namespace before it.
  await connection.run(
    `CREATE OR REPLACE VIEW ${quoteName(countSchema)}.${quoteName(countViewName(namespace, name))} AS SELECT ${counts.join(' + ')} AS n`,
  )
}

/** Views of a table that the definition no longer names: its snapshot, unchanged. */
export async function createSnapshotViews(
  connection: DuckDBConnection,
  namespace: string,
  name: string,
  snapshot: SnapshotPart,
): Promise<void> {
  for (const schema of [namespace, countSchema])
    await connection.run(`CREATE SCHEMA IF NOT EXISTS ${quoteName(schema)}`)
  await connection.run(
    `CREATE OR REPLACE VIEW ${quoteName(namespace)}.${quoteName(name)} AS ${snapshot.scan}`,
  )
  await connection.run(
    `CREATE OR REPLACE VIEW ${quoteName(countSchema)}.${quoteName(countViewName(namespace, name))} AS SELECT CAST(${snapshot.recordCount} AS BIGINT) AS n`,
  )
}
