import { QuestlogError } from '../core/errors.ts'
import type { EventLog } from '../log/event-log.ts'
import type { LogSlice } from '../log/reader.ts'
import type { Appended, NewRecord, PartitionView, Topic } from '../log/record.ts'
import type { TopicSpec } from '../log/topic.ts'
import { committedSlice } from './committed-slice.ts'
import type { LogClient, LogOffsets } from './log-client.ts'

/** The log of this process as a `LogClient`. Closing it leaves the log open. */
export class EmbeddedLog implements LogClient {
  readonly #log: EventLog

  constructor(log: EventLog) {
    this.#log = log
  }

  async topics(): Promise<readonly Topic[]> {
    return this.#log.topics()
  }

  createTopic(spec: TopicSpec): Promise<Topic> {
    return this.#log.createTopic(spec)
  }

  deleteTopic(name: string): Promise<void> {
    return this.#log.deleteTopic(name)
  }

  append(topic: string, key: Uint8Array | null, records: readonly NewRecord[]): Promise<Appended> {
    return this.#log.append(topic, key, records)
  }

  async offsets(topic: string, partition: number): Promise<LogOffsets> {
    const { startOffset, lastStableOffset } = this.#partition(topic, partition)
    return { startOffset, endOffset: lastStableOffset }
  }

  async fetch(
    topic: string,
    partition: number,
    fromOffset: number,
    maxBytes: number,
  ): Promise<LogSlice> {
    const view = this.#partition(topic, partition)
    const endOffset = view.lastStableOffset
    const options = { maxBytes, atLeastOne: true, isolation: 'committed' } as const
    const slice = committedSlice(await view.read(fromOffset, options), fromOffset)
    // A restart may leave a gap at the end, which holds nothing.
    const isGap = slice.nextOffset === fromOffset && fromOffset < endOffset
    return isGap ? { ...slice, nextOffset: endOffset } : slice
  }

  async close(): Promise<void> {}

  #partition(topic: string, partition: number): PartitionView {
    const view = this.#log.partition(topic, partition)
    if (view !== undefined) return view
    throw new QuestlogError(
      'TOPIC_UNKNOWN',
      `there is no topic ${topic} with a partition ${partition}`,
      { topic, partition },
    )
  }
}
