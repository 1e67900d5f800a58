/** A record as it is appended. Bytes are kept as they are. */
export interface NewRecord {
  readonly key: Uint8Array | null
  readonly value: Uint8Array | null
  readonly headers: readonly RecordHeader[]
}

export interface RecordHeader {
  readonly key: string
  readonly value: Uint8Array | null
}

/** A record as it is read. */
export interface LogRecord extends NewRecord {
  /** Offset in the partition. */
  readonly offset: number
  /** Record time, milliseconds since 1970 UTC. */
  readonly timestampMs: number
}

/** A topic as the log keeps it. */
export interface Topic {
  /** UUID that never returns, also when the name does. 36 characters, lower case. */
  readonly id: string
  readonly name: string
  readonly partitions: number
  /** Kafka topic configs as text, such as `max.message.bytes`. */
  readonly configs: Readonly<Record<string, string>>
}

/** Where an append ended up. */
export interface Appended {
  readonly topic: string
  readonly partition: number
  /** Offset of the first record of the append. */
  readonly baseOffset: number
  /** Record time of the append, milliseconds. */
  readonly timestampMs: number
}

/** Where the record batches of a client ended up. */
export interface BatchesAppended {
  /** Offset of the first record. */
  readonly baseOffset: number
  /** Record time that the log gave, milliseconds; -1 unless the topic has LogAppendTime. */
  readonly logAppendTimeMs: number
  /** First offset that the partition holds. */
  readonly startOffset: number
}

/** The end of a producer's transaction in one partition (KIP-98). */
export interface EndMarker {
  readonly producerId: number
  readonly producerEpoch: number
  readonly coordinatorEpoch: number
  readonly outcome: 'commit' | 'abort'
}

/** An idempotent producer that a partition knows. */
export interface KnownProducer {
  readonly topic: string
  readonly partition: number
  readonly producerId: number
  readonly producerEpoch: number
  /** Whether it has written records of a transaction that has not ended. */
  readonly isInTransaction: boolean
}

/** A transaction that was aborted: the records of this producer from `firstOffset` to its next abort marker are no events. */
export interface AbortedTransaction {
  readonly producerId: number
  readonly firstOffset: number
}

/** One partition, as those see it who serve it. */
export interface PartitionView {
  readonly topicId: string
  readonly startOffset: number
  readonly highWatermark: number
  readonly lastStableOffset: number
  /** Why it takes no appends; null when it does. */
  readonly offline: string | null
  /**
   * Batches exactly as they lie in the segment, starting with the one that holds `offset`: whole batches, about `maxBytes` at most (`atLeastOne`: the first batch also when it is larger),
   * below `highWatermark` ('uncommitted') or `lastStableOffset` ('committed'). `aborted`: transactions that were aborted in that range, with 'committed' only.
   * OFFSET_OUT_OF_RANGE outside [startOffset, highWatermark].
   */
  read(
    offset: number,
    options: {
      readonly maxBytes: number
      readonly atLeastOne: boolean
      readonly isolation: 'uncommitted' | 'committed'
      /** Gives the memory that the batches are read into; may be called more than once. */
      readonly allocate?: (bytes: number) => Buffer
    },
  ): Promise<{ bytes: Buffer; aborted: readonly AbortedTransaction[] }>
  /** The first record at or after a time; undefined when there is none. */
  offsetAtTime(timestampMs: number): Promise<{ offset: number; timestampMs: number } | undefined>
  /** The record with the largest timestamp (ListOffsets -3). */
  offsetOfMaxTimestamp(): Promise<{ offset: number; timestampMs: number } | undefined>
}

/** The end of a partition as the watermark file publishes it. */
export interface PartitionWatermark {
  readonly topicId: string
  readonly partition: number
  /** The last stable offset: what tables, SQL, audit and tail read. Equal to `highWatermark` unless a transaction is open. */
  readonly visibleOffset: number
  /** Everything below this offset was acknowledged; no offset below it is ever given again. */
  readonly highWatermark: number
  /** Everything below this offset is synced, beyond `visibleOffset` too; tables commit up to the lower of the two. */
  readonly syncedOffset: number
  /** Base offset of the segment that holds `visibleOffset`, and its byte position in it. */
  readonly segmentBaseOffset: number
  readonly position: number
  /** First offset that the log holds. */
  readonly startOffset: number
  /** Offsets in [startOffset, visibleOffset) that hold nothing: accounted gaps of a restart or a repair. */
  readonly missingOffsets: number
  /** Offsets in [startOffset, visibleOffset) that hold no event: control records, and records of aborted transactions. */
  readonly excludedOffsets: number
  /** Events that retention has removed: they lay below `startOffset`. */
  readonly removedRecords: number
  /** Offsets that retention has removed and that held no event, but a control record or a record of an aborted transaction. */
  readonly removedExcluded: number
  /** The partition takes no more appends until the next start: a write or sync failed. */
  readonly offline: boolean
}

/** Events of a partition that readers may see and that the log still holds. */
export function keptRecords(
  part: Pick<
    PartitionWatermark,
    'visibleOffset' | 'startOffset' | 'missingOffsets' | 'excludedOffsets'
  >,
): number {
  return part.visibleOffset - part.startOffset - part.missingOffsets - part.excludedOffsets
}

/** One reading of the watermark file. */
export interface Watermark {
  /** Changes with every start of ingest. */
  readonly incarnation: string
  readonly partitions: readonly PartitionWatermark[]
}

/** How a partition stands, for screens and metrics. */
export interface PartitionState {
  readonly topic: string
  readonly topicId: string
  readonly partition: number
  readonly startOffset: number
  /** Offset of the next record. */
  readonly endOffset: number
  /** The last stable offset. */
  readonly visibleOffset: number
  readonly highWatermark: number
  readonly syncedOffset: number
  readonly missingOffsets: number
  readonly excludedOffsets: number
  readonly removedRecords: number
  readonly removedExcluded: number
  /** Bytes of its segments. */
  readonly bytes: number
  /** Bytes that wait for their commit. */
  readonly pendingBytes: number
  /** Why it takes no appends; null when it does. */
  readonly offline: string | null
  /** Whether the last append was refused for lack of room, and there is none since. */
  readonly diskFull: boolean
}
