import { inOneText, queryRows, type DuckDBConnection, type StatementSink } from '../core/duckdb.ts'
import { castItem } from '../lake/parquet.ts'
import type { Narrowing } from '../lake/pruning.ts'
import { quoteName, type Column } from '../plan/columns.ts'
import {
  countSchema,
  dayOf,
  joinTimes,
  noTimes,
  replaceViews,
  type SnapshotPart,
  type TimeSpan,
} from './fresh-rows.ts'
import type { SharedRows } from './shared-rows.ts'
import { hasBit } from './verdict.ts'

type Offsets = ReadonlyMap<number, number>

/** Of more tables the view is as good. */
const narrowGenerationsMax = 8

/** Rows that came after each other; `next` are the offsets after them. */
interface Part {
  rows: number
  bytes: number
  times: TimeSpan
  next: Offsets
}

/**
 * The fresh rows of one table: acknowledged rows that no snapshot holds yet. They are rows of its topic (shared-rows.ts) with the table's bit, from
 * the offsets on that it has committed. The table's view is its snapshot UNION ALL those; a commit changes both in one transaction, so a statement
 * sees a row in exactly one of the two.
 */
export class TableRows {
  readonly namespace: string
  readonly name: string
  readonly columns: readonly Column[]
  readonly shared: SharedRows
  /** The number of its bit. */
  readonly index: number
  readonly #next: Offsets
  readonly #partBytes: number
  #snapshot: SnapshotPart
  #committed: Offsets = new Map()
  /** Up to where the rows are frozen, to be committed. */
  #frozen: Offsets | undefined
  #rows = { current: 0, frozen: 0 }
  #bytes = { current: 0, frozen: 0 }
  #frozenTimes = noTimes
  /** The rows that are not frozen, in parts of about `partBytes`, oldest first: a commit takes one, so that it fits into memory however much has come. */
  #parts: Part[] = []

  constructor(parts: {
    namespace: string
    name: string
    columns: readonly Column[]
    snapshot: SnapshotPart
    shared: SharedRows
    /** Next offset to insert, by log partition, as it is at any moment. */
    next: Offsets
    /** About so many bytes of log are committed at a time. */
    partBytes: number
  }) {
    this.namespace = parts.namespace
    this.name = parts.name
    this.columns = parts.columns
    this.shared = parts.shared
    this.index = [...parts.shared.conversion.tables.keys()].indexOf(parts.name)
    this.#next = parts.next
    this.#partBytes = parts.partBytes
    this.#snapshot = parts.snapshot
  }

  get currentRows(): number {
    return this.#rows.current
  }

  get currentBytes(): number {
    return this.#bytes.current
  }

  get totalBytes(): number {
    return this.#bytes.current + this.#bytes.frozen
  }

  get totalRows(): number {
    return this.#rows.current + this.#rows.frozen
  }

  /** A SELECT in brackets of the rows that are being committed, if there are any, as `frozenIsTyped` says. */
  get frozen(): string | undefined {
    if (this.#frozen === undefined || this.#rows.frozen === 0) return undefined
    const below = [...this.#frozen].map(
      ([partition, offset]) =>
        `(parsed._log_partition = ${partition} AND parsed._offset < ${offset})`,
    )
    const items = this.columns.map((column) => castItem(column, this.#value(column)))
    return `(SELECT ${items.join(', ')} FROM ${this.shared.view} AS parsed WHERE ${this.#condition(this.#committed)} AND (${below.join(' OR ')}))`
  }

  /** Its columns have their declared types. */
  get frozenIsTyped(): boolean {
    return true
  }

  get frozenIsSorted(): boolean {
    return this.shared.isSorted && (this.#frozen?.size ?? 0) <= 1
  }

  /** The UTC day of all frozen rows, if it is one. */
  get frozenDay(): string | undefined {
    return dayOf(this.#frozenTimes)
  }

  /** The offsets that `freeze` reaches. */
  get freezable(): Offsets {
    return this.#parts.length > 1 ? (this.#parts[0]?.next ?? this.#next) : this.#next
  }

  /** Counts rows that a committed transaction has added, once `next` is behind them. `bytes` is their size on the log, `times` spans their record times. */
  added(rows: number, bytes: number, times: TimeSpan): void {
    if (rows === 0) return
    this.#rows.current += rows
    this.#bytes.current += bytes
    const last = this.#parts.at(-1)
    const part =
      last === undefined || last.bytes >= this.#partBytes
        ? { rows: 0, bytes: 0, times: noTimes, next: new Map<number, number>() }
        : last
    if (part !== last) this.#parts.push(part)
    part.rows += rows
    part.bytes += bytes
    part.times = joinTimes(part.times, times)
    part.next = new Map(this.#next)
  }

  /** Creates the views. */
  async create(connection: DuckDBConnection): Promise<void> {
    for (const schema of [this.namespace, countSchema])
      await connection.run(`CREATE SCHEMA IF NOT EXISTS ${quoteName(schema)}`)
    await this.#replaceViews(connection, this.#snapshot, this.#committed)
  }

  /** What it gives back freezes the rows up to `freezable`. Changes nothing in DuckDB: a later row has a later offset. */
  async freeze(): Promise<() => void> {
    return () => {
      this.#frozen = new Map(this.freezable)
      const part = this.#parts.shift()
      if (part === undefined) return
      this.#rows = { current: this.#rows.current - part.rows, frozen: part.rows }
      this.#bytes = { current: this.#bytes.current - part.bytes, frozen: part.bytes }
      this.#frozenTimes = part.times
    }
  }

  /** The frozen rows are in the snapshot now: the view takes them from there. Runs in the caller's transaction; what it gives back is called when that is committed. */
  async swap(connection: StatementSink, snapshot: SnapshotPart): Promise<() => void> {
    const committed = this.#frozen ?? this.#committed
    await this.#replaceViews(connection, snapshot, committed)
    return () => {
      this.#snapshot = snapshot
      this.#committed = committed
      this.shared.committed(this.index, committed)
      this.#frozen = undefined
      this.#rows.frozen = 0
      this.#bytes.frozen = 0
      this.#frozenTimes = noTimes
    }
  }

  /** The shared rows begin anew, and so do the offsets. As `swap` otherwise. */
  async clear(connection: StatementSink): Promise<() => void> {
    await this.#replaceViews(connection, this.#snapshot, new Map())
    return () => (this.#committed = new Map())
  }

  /** The snapshot has other files now, with the same rows. As `swap` otherwise. */
  async show(connection: StatementSink, snapshot: SnapshotPart): Promise<() => void> {
    await this.#replaceViews(connection, snapshot, this.#committed)
    return () => void (this.#snapshot = snapshot)
  }

  /** Whether the view reads a data file. */
  reads(path: string): boolean {
    return this.#snapshot.paths.has(path)
  }

  /** Whether a fresh row holds the record. */
  async holds(connection: DuckDBConnection, partition: number, offset: number): Promise<boolean> {
    const [row] = await queryRows(
      connection,
      `SELECT count(*)::INTEGER AS n FROM ${this.shared.view} AS parsed WHERE ${this.#condition(this.#committed)} AND _log_partition = ${partition} AND _offset = ${offset}`,
    )
    return row?.['n'] !== 0
  }

  /**
   * A SELECT of the rows that `wanted` may ask for, with no more columns and files than that. It reads the tables of DuckDB themselves that hold the fresh rows of this moment: once one
   * of them is gone it fails, and never leaves out what has been committed meanwhile. Undefined when the view is as good.
   */
  narrowed({ columns, ranges }: Narrowing): string | undefined {
    const { generations } = this.shared
    if (generations.length > narrowGenerationsMax) return undefined
    const named = this.columns.filter(({ name }) => columns.has(name.toLowerCase()))
    const chosen = named.length > 0 ? named : this.columns.slice(0, 1)
    const names = new Set(chosen.map(({ name }) => name.toLowerCase()))
    const scan = this.#snapshot.narrowed({ columns: names, ranges })
    const fresh = generations.map(({ relation }) =>
      this.#select(this.#committed, 'true', chosen, relation),
    )
    return [...(scan === undefined ? [] : [scan]), ...fresh].join(' UNION ALL ')
  }

  #condition(committed: Offsets): string {
    const from = [...committed]
      .filter(([, offset]) => offset > 0)
      .map(
        ([partition, offset]) =>
          `(parsed._offset >= ${offset} OR parsed._log_partition <> ${partition})`,
      )
    return [hasBit('parsed.t', this.index), ...from].join(' AND ')
  }

  #value(column: Column): string {
    const table = this.shared.conversion.tables.get(this.name)
    if (table === undefined) throw new TypeError(`table ${this.name} does not read this topic`)
    return table.value(column)
  }

  #select(
    committed: Offsets,
    condition: string,
    columns = this.columns,
    source = this.shared.view,
  ): string {
    const items = columns.map((column) => `${this.#value(column)} AS ${quoteName(column.name)}`)
    return `SELECT ${items.join(', ')} FROM ${source} AS parsed WHERE ${this.#condition(committed)} AND ${condition}`
  }

  async #replaceViews(
    connection: StatementSink,
    snapshot: SnapshotPart,
    committed: Offsets,
  ): Promise<void> {
    await replaceViews(connection, this, snapshot, [
      {
        rows: this.#select(committed, 'true'),
        count: `SELECT count(*) FROM ${this.shared.view} AS parsed WHERE ${this.#condition(committed)}`,
      },
    ])
  }
}

/** Lets all tables of a topic begin with offsets from the start, without fresh rows: all that there were must be committed. */
export async function clearRows(
  connection: DuckDBConnection,
  tables: readonly TableRows[],
): Promise<void> {
  const [first] = tables
  if (first === undefined) return
  const cleared = await inOneText(connection, async (sink) => {
    const done = [await first.shared.clear(sink)]
    for (const table of tables) done.push(await table.clear(sink))
    return done
  })
  for (const done of cleared) done()
}
