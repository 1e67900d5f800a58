import type { LogSlice } from '../log/reader.ts'
import type { Appended, NewRecord, Topic } from '../log/record.ts'
import type { TopicSpec } from '../log/topic.ts'

/** Where a partition begins and ends for a reader. */
export interface LogOffsets {
  /** First offset that the log holds. */
  readonly startOffset: number
  /** Everything below it was acknowledged and belongs to no open transaction (Kafka's last stable offset). */
  readonly endOffset: number
}

/**
 * A log, wherever it lies: embedded, or on a Kafka cluster. What the collector and the stream need of one; test/contracts/log-client.test.ts says what each implementation promises.
 */
export interface LogClient {
  topics(): Promise<readonly Topic[]>
  /** Resolves when the topic takes appends. TOPIC_EXISTS, TOPIC_INVALID, TOPIC_CONFIG_INVALID. */
  createTopic(spec: TopicSpec): Promise<Topic>
  /** TOPIC_UNKNOWN. */
  deleteTopic(name: string): Promise<void>
  /**
   * Appends records, in order and without others between them, to one partition: that of the key (as Kafka's default partitioner chooses it), or with null any.
   * Resolves when they are acknowledged. Nothing was kept: TOPIC_UNKNOWN, EVENT_TOO_LARGE, OVERLOADED, SHUTTING_DOWN. It may have been: OUTCOME_UNKNOWN.
   */
  append(topic: string, key: Uint8Array | null, records: readonly NewRecord[]): Promise<Appended>
  /** TOPIC_UNKNOWN. */
  offsets(topic: string, partition: number): Promise<LogOffsets>
  /**
   * Whole batches from the one that contains `fromOffset`, up to `endOffset`; about `maxBytes`, at least one when there is one. The records of the first batch that lie before `fromOffset` are
   * the caller's to skip. Batches without events are left out and counted: `LogSlice`. OFFSET_OUT_OF_RANGE, TOPIC_UNKNOWN.
   */
  fetch(topic: string, partition: number, fromOffset: number, maxBytes: number): Promise<LogSlice>
  /** Waits for the appends that are under way. Idempotent. */
  close(): Promise<void>
}
