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

/** The end of a partition as the watermark file publishes it. */
export interface PartitionWatermark {
  readonly topicId: string
  readonly partition: number
  /** Everything below this offset was acknowledged and may be read. */
  readonly visibleOffset: number
  /** Everything below this offset is synced; tables commit up to here. Equal to `visibleOffset` with durability fsync. */
  readonly syncedOffset: number
  /** Base offset of the segment that holds the end, and the byte position of `visibleOffset` in it. */
  readonly segmentBaseOffset: number
  readonly position: number
  /** First offset that the log holds. */
  readonly startOffset: number
  /** Offsets in [startOffset, visibleOffset) that hold no record: accounted gaps of a restart or a repair. kept = visibleOffset - startOffset - missingOffsets. */
  readonly missingOffsets: number
  /** Records that retention has removed: they lay below `startOffset`. */
  readonly removedRecords: number
  /** The partition takes no more appends until the next start: a write or sync failed. */
  readonly offline: boolean
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
  readonly visibleOffset: number
  readonly syncedOffset: number
  readonly missingOffsets: number
  readonly removedRecords: number
  /** Bytes of its segments. */
  readonly bytes: number
  /** Bytes that wait for their commit. */
  readonly pendingBytes: number
  /** Why it takes no appends; null when it does. */
  readonly offline: string | null
  /** Whether the last append was refused for lack of room, and there is none since. */
  readonly diskFull: boolean
}
