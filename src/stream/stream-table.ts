import type { LakeTable } from '../lake/table.ts'
import { formatOffsets, offsetsProperty, parseOffsets } from '../lake/offsets.ts'
import type { LogReader } from '../log/reader.ts'
import type { TableDefinition } from '../plan/definition.ts'
import type { Failure } from './failure.ts'
import type { OffsetRange } from './ledger.ts'
import type { TableRows } from './table-rows.ts'

/** A table that reads a topic, while the stream runs. */
export interface StreamTable {
  readonly definition: TableDefinition
  readonly lake: LakeTable
  readonly fresh: TableRows
  /** Next offset to insert, by log partition: what its fresh rows hold is below. */
  readonly next: Map<number, number>
  /** When the last commit ended, monotonic milliseconds. */
  committedAtMs: number
  /** Why the last commit failed, and when it is tried again. */
  failure: Failure | null
}

/** The offsets that the table has committed of a topic. */
export function committedOffsets(lake: LakeTable, topicId: string): ReadonlyMap<number, number> {
  return parseOffsets(lake.properties[offsetsProperty]).get(topicId) ?? new Map()
}

/** The property for a commit up to these offsets. */
export function offsetsText(topicId: string, offsets: ReadonlyMap<number, number>): string {
  return formatOffsets(new Map([[topicId, offsets]]))
}

/** The property of a table that starts with what comes next; undefined when its topic is not there yet. */
export async function endOffsets(
  reader: LogReader,
  table: TableDefinition,
): Promise<string | undefined> {
  const topic = (await reader.topics()).find(({ name }) => name === table.topic)
  if (topic === undefined) return undefined
  const entries = (reader.watermark()?.partitions ?? []).filter(
    (entry) => entry.topicId === topic.id,
  )
  return offsetsText(
    topic.id,
    new Map(entries.map((entry) => [entry.partition, entry.visibleOffset])),
  )
}

/** SQL condition over `parsed` for the records at or above the next offsets; `true` when the ranges hold no others. */
export function fromNext(
  next: ReadonlyMap<number, number>,
  ranges: ReadonlyMap<number, OffsetRange>,
): string {
  const conditions: string[] = []
  let whole = true
  for (const [partition, { from, to }] of ranges) {
    const offset = next.get(partition) ?? 0
    if (offset > from) whole = false
    if (offset < to) conditions.push(`(_log_partition = ${partition} AND _offset >= ${offset})`)
  }
  if (whole) return 'true'
  return conditions.length === 0 ? 'false' : `(${conditions.join(' OR ')})`
}

/** SQL condition over `parsed` for the records in these ranges. */
export function inRanges(
  ranges: readonly { readonly partition: number; readonly range: OffsetRange }[],
): string {
  if (ranges.length === 0) return 'false'
  return `(${ranges.map(({ partition, range }) => `(_log_partition = ${partition} AND _offset >= ${range.from} AND _offset < ${range.to})`).join(' OR ')})`
}
