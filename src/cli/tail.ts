import type { Clock } from '../core/clock.ts'
import { QuestlogError } from '../core/errors.ts'
import type { LogReader } from '../log/reader.ts'
import type { LogRecord, PartitionWatermark, Topic } from '../log/record.ts'
import { firstOf, readableRecords, skippedLine } from './readable-records.ts'

const readBytesMax = 1024 * 1024
const lookIntervalMs = 20

export type TailStart =
  | { readonly kind: 'beginning' | 'end' }
  | { readonly kind: 'offset'; readonly offset: number }
  /** The last records of each partition. */
  | { readonly kind: 'last'; readonly count: number }

export interface TailOptions {
  readonly reader: Pick<LogReader, 'watermark' | 'read'>
  readonly clock: Clock
  readonly topic: Topic
  /** One partition; undefined = all. */
  readonly only: number | undefined
  readonly start: TailStart
  readonly countMax: number
  /** Go on at the end, until `signal`. */
  readonly follow: boolean
  /** A record as it is printed, with the end of its line. */
  readonly format: (partition: number, record: LogRecord) => Uint8Array
  /** Takes whole lines. */
  readonly write: (bytes: Uint8Array) => Promise<void>
  /** One line for standard error at the end of each partition, when not following. */
  readonly reachedEnd: (line: string) => void
  /** One line for standard error for records that can't be read; it goes on after them. */
  readonly skipped: (line: string) => void
  readonly signal?: AbortSignal
}

/** Prints a topic's acknowledged records, each partition in its order, straight from the log's files. */
export async function tailTopic(options: TailOptions): Promise<void> {
  const { topic, only, reader, clock, signal } = options
  const partitions = Array.from({ length: topic.partitions }, (_, index) => index).filter(
    (partition) => only === undefined || partition === only,
  )
  const cursors = new Map<number, number>()
  let left = options.countMax
  while (left > 0 && signal?.aborted !== true) {
    const watermark = reader.watermark()
    let moved = false
    for (const partition of partitions) {
      const end = watermark?.partitions.find(
        (entry) => entry.topicId === topic.id && entry.partition === partition,
      )
      if (end === undefined) continue
      // Retention may have gone past the cursor: then with what is left.
      const from = Math.max(
        cursors.get(partition) ?? startOffset(options.start, topic, end),
        end.startOffset,
      )
      const read = await copy(options, partition, from, end, left)
      left -= read.count
      cursors.set(partition, read.nextOffset)
      moved ||= read.nextOffset !== from
    }
    if (moved) continue
    if (!options.follow) return tellEnds(options, partitions, cursors)
    await clock.sleep(lookIntervalMs, signal)
  }
}

/** Prints one piece of a partition, at most `countMax` records. */
async function copy(
  options: TailOptions,
  partition: number,
  from: number,
  end: PartitionWatermark,
  countMax: number,
): Promise<{ count: number; nextOffset: number }> {
  if (from >= end.visibleOffset || countMax <= 0) return { count: 0, nextOffset: from }
  const { batches, nextOffset } = await options.reader
    .read(options.topic, partition, from, end, readBytesMax)
    .catch((error: unknown) => {
      const start = startNow(options, end)
      if (start <= from) throw error
      return { batches: [], nextOffset: start } // retention has just removed what lay there
    })
  const readable = readableRecords(batches, from, end.visibleOffset)
  const { records, unreadable } = firstOf({ ...readable, nextOffset }, countMax)
  const lines = records.map((record) => options.format(partition, record))
  if (lines.length > 0) await options.write(Buffer.concat(lines))
  for (const range of unreadable) options.skipped(skippedLine(options.topic.name, partition, range))
  return { count: records.length, nextOffset }
}

/** Where the partition begins by now. */
function startNow({ reader }: TailOptions, { topicId, partition }: PartitionWatermark): number {
  const entries = reader.watermark()?.partitions ?? []
  const found = entries.find((entry) => entry.topicId === topicId && entry.partition === partition)
  return found?.startOffset ?? 0
}

function startOffset(start: TailStart, topic: Topic, end: PartitionWatermark): number {
  switch (start.kind) {
    case 'beginning':
      return end.startOffset
    case 'end':
      return end.visibleOffset
    case 'last':
      return Math.max(end.startOffset, end.visibleOffset - start.count)
    case 'offset':
      if (start.offset >= end.startOffset) return start.offset
      throw new QuestlogError(
        'OFFSET_OUT_OF_RANGE',
        `${topic.name}/${end.partition} holds offsets ${end.startOffset} to ${end.visibleOffset - 1}, not ${start.offset}`,
      )
  }
}

function tellEnds(
  options: TailOptions,
  partitions: readonly number[],
  cursors: ReadonlyMap<number, number>,
): void {
  partitions.forEach((partition, index) => {
    const isLast = index === partitions.length - 1
    const offset = cursors.get(partition) ?? 0
    options.reachedEnd(endLine(options.topic.name, partition, offset, isLast))
  })
}

/** `% Reached end of topic events [0] at offset 4: exiting`, in the words of kcat. */
export function endLine(topic: string, partition: number, offset: number, exits: boolean): string {
  return `% Reached end of topic ${topic} [${partition}] at offset ${offset}${exits ? ': exiting' : ''}`
}

/** Where `-o` says to begin: `beginning`, `end`, an offset, or `-N` for the last records. USAGE */
export function parseStart(text: string): TailStart {
  if (text === 'beginning' || text === 'end') return { kind: text }
  if (/^-\d{1,15}$/.test(text)) return { kind: 'last', count: Number(text.slice(1)) }
  if (/^\d{1,15}$/.test(text)) return { kind: 'offset', offset: Number(text) }
  throw new QuestlogError('USAGE', `-o is "${text}", but must be beginning, end, N or -N`)
}

/** `{"topic","partition","offset","timestamp","key","headers","value"}`: bytes as UTF-8 text, headers as pairs, time in milliseconds. */
export function formatRecordJson(topic: string, partition: number, record: LogRecord): string {
  return JSON.stringify({
    topic,
    partition,
    offset: record.offset,
    timestamp: record.timestampMs,
    key: text(record.key),
    headers: record.headers.map(({ key, value }) => [key, text(value)]),
    value: text(record.value),
  })
}

function text(bytes: Uint8Array | null): string | null {
  return bytes === null ? null : Buffer.from(bytes).toString('utf8')
}
