import { crc32c } from '@node-rs/crc32'
import { QuestlogError } from '../core/errors.ts'
import { replaceFile, type Files } from '../core/files.ts'
import { keptRecords, type PartitionWatermark } from '../log/record.ts'
import type { Definition } from '../plan/definition.ts'

/** What became of the records of a topic. A record that several tables take counts once; being in a table wins over being set aside. */
export interface LedgerCounts {
  readonly inTables: number
  readonly filtered: number
  readonly deadLetters: number
  readonly unrouted: number
}

export const noCounts: LedgerCounts = { inTables: 0, filtered: 0, deadLetters: 0, unrouted: 0 }

export function addCounts(left: LedgerCounts, right: LedgerCounts): LedgerCounts {
  return {
    inTables: left.inTables + right.inTables,
    filtered: left.filtered + right.filtered,
    deadLetters: left.deadLetters + right.deadLetters,
    unrouted: left.unrouted + right.unrouted,
  }
}

export const totalOf = (counts: LedgerCounts): number =>
  counts.inTables + counts.filtered + counts.deadLetters + counts.unrouted

/** Acknowledged records that these partitions of the log hold. */
export function sumKeptRecords(limits: readonly PartitionWatermark[]): number {
  return limits.reduce((sum, limit) => sum + keptRecords(limit), 0)
}

/** Offsets below the end of a partition that hold nothing, those that retention has removed included. They only grow, by a loss. */
function gapOffsets(limit: PartitionWatermark): number {
  return limit.startOffset - limit.removedRecords - limit.removedExcluded + limit.missingOffsets
}

/**
 * How far the records of one partition are counted: [start, recounted) and [resumed, counted). After a change of the definition the past is
 * counted anew from its start while new records go on being counted at the end; when `recounted` reaches `resumed`, the two are one.
 */
export interface PartitionLedger {
  /** Where counting began, and how many records retention had removed by then: neither those nor what lies below is accounted for. */
  readonly start: number
  readonly removedBefore: number
  /** Offsets without a record, as the partition had them then: more of them are a loss, maybe of what was counted. */
  readonly gaps: number
  recounted: number
  resumed: number
  counted: number
}

/** Offsets from `from` (inclusive) to `to` (exclusive). */
export interface OffsetRange {
  readonly from: number
  readonly to: number
}

interface StoredLedger {
  readonly topics: Record<
    string,
    {
      readonly key: string
      readonly counts: LedgerCounts
      readonly partitions: Record<string, PartitionLedger>
    }
  >
}

/** The ledger of one topic. Derived from offsets only, so that it can be counted again at any time (`questlog audit`). */
export class TopicLedger {
  readonly key: string
  counts: LedgerCounts
  readonly partitions: Map<number, PartitionLedger>

  constructor(
    key: string,
    counts: LedgerCounts = noCounts,
    partitions: Map<number, PartitionLedger> = new Map(),
  ) {
    this.key = key
    this.counts = counts
    this.partitions = partitions
  }

  /** Starts a partition: everything below `resumed` is still to be counted, from its start. `limit` is undefined for one that is not published yet. */
  begin(partition: number, resumed: number, limit: PartitionWatermark | undefined): void {
    if (this.partitions.has(partition)) return
    const start = limit?.startOffset ?? 0
    this.partitions.set(partition, {
      start,
      removedBefore: limit?.removedRecords ?? 0,
      gaps: limit === undefined ? 0 : gapOffsets(limit),
      recounted: start,
      resumed,
      counted: resumed,
    })
  }

  /** Forgets everything, to begin anew. */
  clear(): void {
    this.counts = noCounts
    this.partitions.clear()
  }

  /** Records that retention has removed since the ledger began. They stay in its counts. */
  removed(limits: Iterable<PartitionWatermark>): number {
    let removed = 0
    for (const { partition, removedRecords } of limits)
      removed += removedRecords - (this.partitions.get(partition)?.removedBefore ?? removedRecords)
    return removed
  }

  /** Records that the counts must add up to: those on the log, and those that retention has removed since the ledger began. */
  accountable(limits: readonly PartitionWatermark[]): number {
    return sumKeptRecords(limits) + this.removed(limits)
  }

  /** Whether it has counted what the log does not hold: after a loss, or when the log is another copy. */
  isAhead(limits: readonly PartitionWatermark[]): boolean {
    return (
      totalOf(this.counts) > this.accountable(limits) ||
      limits.some((limit) => {
        const entry = this.partitions.get(limit.partition)
        if (entry === undefined) return false
        const { visibleOffset, removedRecords } = limit
        if (entry.counted > visibleOffset || entry.removedBefore > removedRecords) return true
        return entry.gaps !== gapOffsets(limit)
      })
    )
  }

  /** The ledger as it is now. */
  copy(): TopicLedger {
    const partitions = [...this.partitions].map(
      ([partition, entry]) => [partition, { ...entry }] as const,
    )
    return new TopicLedger(this.key, this.counts, new Map(partitions))
  }

  /** The offset from which records are still to be counted. */
  nextOffset(partition: number): number {
    const entry = this.partitions.get(partition)
    if (entry === undefined) return 0
    return entry.recounted < entry.resumed ? entry.recounted : entry.counted
  }

  /** Whether it has counted more than the other, an earlier copy, or by another definition. */
  isAheadOf(other: TopicLedger | undefined): boolean {
    if (this.key !== other?.key) return true
    return [...this.partitions.keys()].some(
      (partition) => this.nextOffset(partition) !== other.nextOffset(partition),
    )
  }

  /** The parts of a range of records that are not counted yet and that can be counted now. */
  uncounted(partition: number, { from, to }: OffsetRange): OffsetRange[] {
    const entry = this.partitions.get(partition)
    if (entry === undefined) return []
    const { recounted, resumed, counted } = entry
    const ranges: OffsetRange[] = []
    if (from <= recounted && recounted < Math.min(to, resumed))
      ranges.push({ from: recounted, to: Math.min(to, resumed) })
    if (from <= counted && counted < to) ranges.push({ from: counted, to })
    return ranges
  }

  /** Marks what `uncounted` gave for this range as counted, and adds the counts. */
  add(ranges: ReadonlyMap<number, OffsetRange>, counts: LedgerCounts): void {
    for (const [partition, range] of ranges) {
      const entry = this.partitions.get(partition)
      if (entry === undefined) continue
      const { recounted, resumed, counted } = entry
      if (range.from <= recounted && recounted < resumed)
        entry.recounted = Math.min(Math.max(recounted, range.to), resumed)
      if (range.from <= counted) entry.counted = Math.max(counted, range.to)
    }
    this.counts = addCounts(this.counts, counts)
  }
}

/** Changes with the set of a topic's tables: then what became of a record is counted anew, by looking where it is. */
export function ledgerKey(definition: Definition, topic: string): string {
  const names = definition.tables
    .filter((table) => table.topic === topic)
    .map((table) => table.name)
  return names.toSorted().join(',')
}

const magic = 'questlog-ledger 2 '
/** It did not say where counting began: what it has is counted again. */
const magicBefore = 'questlog-ledger 1 '

/** Reads the ledgers by topic id. A file that is missing, or whose checksum is wrong, means: count again. */
export async function loadLedgers(files: Files, path: string): Promise<Map<string, TopicLedger>> {
  if ((await files.sizeOf(path)) === undefined) return new Map()
  const text = (await files.readAll(path)).toString()
  const end = text.indexOf('\n')
  const header = text.slice(0, end)
  if (!header.startsWith('questlog-ledger ') || header.startsWith(magicBefore)) return new Map()
  if (!header.startsWith(magic))
    throw new QuestlogError('FORMAT_UNKNOWN', `${path} has the unknown header "${header}"`, {
      path,
    })
  const body = text.slice(end + 1)
  if (header.slice(magic.length) !== crc32c(body).toString(16)) return new Map()
  const stored = JSON.parse(body) as StoredLedger // the checksum says that it is ours
  return new Map(
    Object.entries(stored.topics).map(([id, topic]) => [
      id,
      new TopicLedger(
        topic.key,
        topic.counts,
        new Map(
          Object.entries(topic.partitions).map(([partition, entry]) => [
            Number(partition),
            { ...entry },
          ]),
        ),
      ),
    ]),
  )
}

/** Replaces the ledger file. */
export async function saveLedgers(
  files: Files,
  path: string,
  ledgers: ReadonlyMap<string, TopicLedger>,
): Promise<void> {
  const topics = Object.fromEntries(
    [...ledgers].map(([id, { key, counts, partitions }]) => [
      id,
      { key, counts, partitions: Object.fromEntries(partitions) },
    ]),
  )
  const body = JSON.stringify({ topics } satisfies StoredLedger)
  await replaceFile(files, path, Buffer.from(`${magic}${crc32c(body).toString(16)}\n${body}`))
}
