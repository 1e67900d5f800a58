import type { Files } from '../../src/core/files.ts'
import { QuestlogError } from '../../src/core/errors.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { resolveSettings, type Settings } from '../../src/core/settings.ts'
import { openEventLog, type EventLog, type EventLogOptions } from '../../src/log/event-log.ts'
import { decodeRecords } from '../../src/log/record-batch.ts'
import type { LogRecord, NewRecord, PartitionWatermark, Topic } from '../../src/log/record.ts'
import { LogReader } from '../../src/log/reader.ts'
import { seededRandom } from '../support/random.ts'
import { SimulatedClock } from '../support/simulated-clock.ts'

export const logFolder = '/data/log'
export const firstSegment = `${logFolder}/events-0/${'0'.repeat(20)}.log`

export function record(value: string): NewRecord {
  return { key: null, value: Buffer.from(value), headers: [] }
}

const defaults = resolveSettings()

export interface OpenOverrides extends Partial<Omit<EventLogOptions, 'settings'>> {
  readonly settings?: Partial<Settings>
}

/** Opens a log with small limits, made for tests. */
export function openLog(files: Files, overrides: OpenOverrides = {}): Promise<EventLog> {
  const random = seededRandom(1)
  return openEventLog({
    files,
    clock: new SimulatedClock(),
    logger: silentLogger,
    folder: logFolder,
    floors: new Map(),
    repair: false,
    randomBytes: (count) => Buffer.from(Array.from({ length: count }, () => random.below(256))),
    ...overrides,
    settings: { ...defaults, ...overrides.settings },
  })
}

export async function createEvents(log: EventLog, partitions = 1): Promise<Topic> {
  return log.topic('events') ?? (await log.createTopic({ name: 'events', partitions }))
}

/** Everything that readers may see of a partition, read anew in small steps. */
export async function readAll(files: Files, topic: Topic, partition = 0): Promise<LogRecord[]> {
  const reader = new LogReader(files, logFolder)
  const upTo = watermarkOf(reader, topic, partition)
  const records: LogRecord[] = []
  let offset = upTo.startOffset
  while (offset < upTo.visibleOffset) {
    const slice = await reader.read(topic, partition, offset, upTo, 200)
    records.push(...slice.batches.flatMap(decodeRecords))
    if (slice.nextOffset <= offset) throw new Error('the reader does not move')
    offset = slice.nextOffset
  }
  await reader.close()
  return records
}

export function watermarkOf(reader: LogReader, topic: Topic, partition = 0): PartitionWatermark {
  const found = reader
    .watermark()
    ?.partitions.find((entry) => entry.topicId === topic.id && entry.partition === partition)
  if (found === undefined) throw new Error('the partition is not in the watermark')
  return found
}

export function values(records: readonly LogRecord[]): string[] {
  return records.map(({ value }) => String(value))
}

/** The code of the error that a promise rejects with; undefined when it resolves. */
export async function codeOf(promise: Promise<unknown>): Promise<string | undefined> {
  try {
    await promise
    return undefined
  } catch (error) {
    if (!(error instanceof QuestlogError)) throw error
    return error.code
  }
}
