import { cellText, queryRows, type DuckDBConnection } from '../core/duckdb.ts'
import type { Topic, Watermark } from '../log/record.ts'
import { noCounts, sumKeptRecords, totalOf } from './ledger.ts'
import type { Stream } from './stream.ts'
import type { StreamTable } from './stream-table.ts'
import type { TopicStream } from './topic-stream.ts'

/** The records of one topic: kept = in tables + filtered + set aside + in no table + on the way. */
export interface TopicSummary {
  readonly name: string
  /** Answered with 200. On the log, but for those that retention has removed. */
  readonly kept: number
  readonly inTables: number
  readonly filtered: number
  /** Set aside. */
  readonly deadLetters: number
  /** In no table. */
  readonly unrouted: number
  /** On the way. */
  readonly inFlight: number
  /** How many of the kept ones retention has removed from the log. */
  readonly removed: number
  readonly addsUp: boolean
}

export interface TableSummary {
  readonly namespace: string
  readonly name: string
  readonly topic: string
  readonly rows: number
  readonly state: 'level' | 'filling' | 'failing'
  /** Why it fails; null when it does not. */
  readonly reason: string | null
  /** Acknowledged records that it has not read. */
  readonly lagRecords: number
}

/** Derived from offsets: the log's from the watermark, the stream's from its ledger. */
export function summarizeTopic(topic: TopicStream, watermark: Watermark | undefined): TopicSummary {
  const limits = watermark === undefined ? [] : [...topic.limits(watermark).values()]
  const kept = topic.ledger.accountable(limits)
  const counts = topic.ledger.counts
  const inFlight = kept - totalOf(counts)
  const uncounted = limits.reduce(
    (sum, limit) => sum + uncountedOffsets(topic, limit.partition, limit.visibleOffset),
    0,
  )
  return {
    name: topic.topic.name,
    kept,
    ...counts,
    inFlight,
    removed: topic.ledger.removed(limits),
    addsUp: inFlight >= 0 && inFlight <= uncounted,
  }
}

/** A topic that the definition does not read: all it holds is in no table. */
export function summarizeUnreadTopic(topic: Topic, watermark: Watermark | undefined): TopicSummary {
  const limits = (watermark?.partitions ?? []).filter((limit) => limit.topicId === topic.id)
  const kept = sumKeptRecords(limits)
  const rest = { inFlight: 0, removed: 0, addsUp: true }
  return { name: topic.name, kept, ...noCounts, unrouted: kept, ...rest }
}

/** Offsets that the ledger has not counted: the records on the way are at most as many, and exactly as many where there is no gap. */
function uncountedOffsets(topic: TopicStream, partition: number, end: number): number {
  const entry = topic.ledger.partitions.get(partition)
  return entry === undefined
    ? end
    : Math.max(0, end - entry.counted) + (entry.resumed - entry.recounted)
}

export function summarizeTable(
  topic: TopicStream | undefined,
  table: StreamTable,
  watermark: Watermark | undefined,
): TableSummary {
  const lagRecords =
    topic === undefined || watermark === undefined ? 0 : tableLag(topic, table, watermark)
  const state =
    table.failure !== null
      ? 'failing'
      : topic !== undefined && !topic.isLevel(table)
        ? 'filling'
        : 'level'
  return {
    namespace: table.lake.namespace,
    name: table.definition.name,
    topic: table.definition.topic,
    rows: table.lake.recordCount + table.fresh.totalRows,
    state,
    reason: table.failure?.reason ?? null,
    lagRecords,
  }
}

function tableLag(topic: TopicStream, table: StreamTable, watermark: Watermark): number {
  return [...topic.limits(watermark)].reduce(
    (sum, [partition, limit]) =>
      sum + Math.max(0, limit.visibleOffset - topic.applied(table, partition)),
    0,
  )
}

/** One line for each thing that needs a look. `connection` reads the dead letters. */
export async function attentionLines(
  stream: Stream,
  connection: DuckDBConnection,
): Promise<string[]> {
  const lines: string[] = []
  for (const [topic, failure] of stream.failures)
    lines.push(`topic ${topic} is not read: ${failure.reason} (tried ${failure.attempts} times)`)
  const { held } = stream
  for (const table of stream.tables) {
    if (table.failure !== null)
      lines.push(
        `table ${table.definition.name} can't be committed: ${table.failure.reason} (tried ${table.failure.attempts} times; ${held.has(table) ? 'its rows so far stay visible, later ones wait on the log' : 'its rows stay visible'})`,
      )
  }
  for (const topic of stream.topics) {
    const { unrouted } = topic.ledger.counts
    if (unrouted > 0)
      lines.push(
        `${count(unrouted)} of ${topic.topic.name} ${unrouted === 1 ? 'is' : 'are'} in no table: no table takes their type`,
      )
  }
  return [...lines, ...(await setAsideLines(connection))]
}

/** How many reasons are shown. */
const reasonsMax = 5

async function setAsideLines(connection: DuckDBConnection): Promise<string[]> {
  const rows = await queryRows(
    connection,
    `SELECT topic, "table", regexp_replace(reason, ': .*', '', 's') AS why, count(*)::INTEGER AS n FROM questlog.dead_letters GROUP BY ALL ORDER BY n DESC, why LIMIT ${reasonsMax}`,
  )
  return rows.map((row) => {
    const where = row['table'] === null ? cellText(row, 'topic') : `table ${cellText(row, 'table')}`
    return `set aside ${cellText(row, 'n')} × ${cellText(row, 'why')} (${where}); see: select * from questlog.dead_letters`
  })
}

const count = (events: number) =>
  `${events.toLocaleString('en-US')} ${events === 1 ? 'event' : 'events'}`
