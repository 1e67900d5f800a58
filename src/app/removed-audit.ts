import { queryRows, type DuckDBConnection } from '../core/duckdb.ts'
import type { PartitionWatermark } from '../log/record.ts'
import { quoteName, quoteText } from '../plan/columns.ts'
import type { OffsetRange, TopicLedger } from '../stream/ledger.ts'
import type { StreamTable } from '../stream/stream-table.ts'

/** Offsets that are counted at once. */
const offsetsMax = 1_000_000

/** A range of one partition. */
export interface PartitionRange {
  readonly partition: number
  readonly range: OffsetRange
}

/** What the tables and the dead letters hold of what is no longer on the log. A record counts once. */
export interface RemovedCounts {
  readonly inTables: number
  readonly deadLetters: number
}

/**
 * The records of a topic that the ledger has counted and that retention has removed since. They can't be read again, but their number is known, and where they are:
 * in a table, or set aside, or (the rest) filtered or in no table.
 */
export class RemovedAudit {
  /** How many there are. */
  records = 0
  /** Offsets among them that had no record any more: a loss from before. */
  missing = 0
  readonly #began: ReadonlyMap<number, { readonly start: number; readonly removedBefore: number }>
  readonly #ranges: PartitionRange[] = []

  constructor(ledger: TopicLedger) {
    this.#began = new Map(
      [...ledger.partitions].map(([partition, entry]) => [partition, { ...entry }]),
    )
  }

  /** Adds what was removed of a partition before it is read. */
  before({ partition, startOffset, removedRecords }: PartitionWatermark): void {
    const began = this.#began.get(partition)
    if (began === undefined) return
    this.#add(partition, began.start, startOffset, removedRecords - began.removedBefore)
  }

  /** Adds what went while the partition was read: up to `from` it had been read, `read` records since `last`. */
  meanwhile(last: PartitionWatermark, now: PartitionWatermark, from: number, read: number): number {
    const records = now.removedRecords - last.removedRecords - read
    this.#add(now.partition, from, now.startOffset, records)
    return records
  }

  #add(partition: number, from: number, to: number, records: number): void {
    this.records += records
    this.missing += Math.max(0, to - from - records)
    if (from < to) this.#ranges.push({ partition, range: { from, to } })
  }

  /** Looks for them in these tables; `doubled` is told of offsets that a table has more than once. */
  count(
    connection: DuckDBConnection,
    topic: string,
    tables: readonly StreamTable[],
    doubled: Doubled,
  ): Promise<RemovedCounts> {
    return countInTables(connection, { topic, ranges: this.#ranges, tables, doubled })
  }
}

type Doubled = (table: StreamTable, partition: number, offsetsSql: string) => Promise<void>

/** Counts what the tables and the dead letters hold of these ranges of a topic; `doubled` is told of offsets that a table has more than once. */
export async function countInTables(
  connection: DuckDBConnection,
  {
    topic,
    ranges,
    tables,
    doubled,
  }: {
    readonly topic: string
    readonly ranges: readonly PartitionRange[]
    readonly tables: readonly StreamTable[]
    readonly doubled: Doubled
  },
): Promise<RemovedCounts> {
  let counts: RemovedCounts = { inTables: 0, deadLetters: 0 }
  for (const { partition, range } of ranges)
    for (let from = range.from; from < range.to; from += offsetsMax) {
      const within = (part: string, offset: string) =>
        `${part} = ${partition} AND ${offset} >= ${from} AND ${offset} < ${Math.min(from + offsetsMax, range.to)}`
      const rows = tables.map((table) => {
        const view = `${quoteName(table.lake.namespace)}.${quoteName(table.definition.name)}`
        return `SELECT _offset AS o FROM ${view} WHERE ${within('_log_partition', '_offset')}`
      })
      for (const [index, table] of tables.entries())
        await doubled(
          table,
          partition,
          `SELECT o FROM (${rows[index]}) GROUP BY o HAVING count(*) > 1`,
        )
      const inTables = rows.length === 0 ? 'SELECT 0 AS o WHERE false' : rows.join(' UNION ALL ')
      const [row] = await queryRows(
        connection,
        `WITH present AS (SELECT DISTINCT o FROM (${inTables})), aside AS (SELECT DISTINCT "offset" AS o FROM questlog.dead_letters WHERE topic = ${quoteText(topic)} AND ${within('"partition"', '"offset"')})
         SELECT (SELECT count(*) FROM present)::INTEGER AS present, (SELECT count(*) FROM aside WHERE o NOT IN (SELECT o FROM present))::INTEGER AS aside`,
      )
      counts = {
        inTables: counts.inTables + Number(row?.['present'] ?? 0),
        deadLetters: counts.deadLetters + Number(row?.['aside'] ?? 0),
      }
    }
  return counts
}
