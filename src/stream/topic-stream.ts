import type { DuckDBConnection } from '../core/duckdb.ts'
import { QuestlogError } from '../core/errors.ts'
import type { Settings } from '../core/settings.ts'
import { recordChunks, type Pack } from '../log/record-chunks.ts'
import type { LogReader } from '../log/reader.ts'
import type { PartitionWatermark, Topic, Watermark } from '../log/record.ts'
import type { CatalogWriter } from './catalog-writer.ts'
import type { TopicConversion } from './conversion.ts'
import type { FreshRows } from './fresh-rows.ts'
import type { OffsetRange, TopicLedger } from './ledger.ts'
import { processMicroBatch } from './micro-batch.ts'
import { packRuns, type RecordRun, type Staged } from './record-runs.ts'
import type { SetAsideOffsets } from './set-aside-offsets.ts'
import { smallRows, Staging } from './staging.ts'
import type { StreamTable } from './stream-table.ts'

/** What a topic's stream shares with the others. */
export interface TopicContext {
  readonly reader: LogReader
  /** Held while a batch is written: one writer at a time. */
  readonly writer: CatalogWriter
  readonly deadLetters: FreshRows
  readonly settings: Settings
  /** Tables that read nothing for now (held-tables.ts). */
  readonly held: () => ReadonlySet<StreamTable>
}

/** A batch of this size means that there is more to come: the next step follows at once, not at the next poll. */
const busyBytes = 1024 * 1024

/** Backfill reads in small bites while new records come in, so that it never holds them up for long. */
const backfillBytesMax = 1024 * 1024

interface Chunk {
  readonly records: Staged[]
  readonly ranges: Map<number, OffsetRange>
  bytes: number
}

/**
 * One topic on its way into its tables. The tables that are level share one pass over new records; a table that is behind (added later, or
 * restarted from an older commit) and the part of the ledger that is to be counted again are filled by a second, low-priority pass over the
 * past, and join the first when they are level.
 */
export class TopicStream {
  readonly topic: Topic
  readonly conversion: TopicConversion
  readonly tables: readonly StreamTable[]
  readonly ledger: TopicLedger
  readonly setAside: SetAsideOffsets
  readonly #staging: Staging
  readonly #pack: Pack<RecordRun>
  #isBusy = false
  readonly #context: TopicContext
  #limits:
    | { readonly of: Watermark; readonly entries: ReadonlyMap<number, PartitionWatermark> }
    | undefined
  /** First offsets of the log as they were last seen. */
  readonly #starts = new Map<number, number>()

  constructor(parts: {
    topic: Topic
    conversion: TopicConversion
    tables: readonly StreamTable[]
    ledger: TopicLedger
    setAside: SetAsideOffsets
    /** A connection for this topic alone. */
    connection: DuckDBConnection
    context: TopicContext
  }) {
    this.topic = parts.topic
    this.conversion = parts.conversion
    this.tables = parts.tables
    this.ledger = parts.ledger
    this.setAside = parts.setAside
    this.#staging = new Staging(parts.connection, parts.conversion, parts.context.writer.catalog)
    this.#pack = packRuns(parts.context.settings.jsonDepthMax)
    this.#context = parts.context
  }

  /** Next offset of the shared pass: the furthest table's; without tables, the ledger's. */
  head(partition: number): number {
    if (this.tables.length === 0) return this.ledger.nextOffset(partition)
    let head = 0
    for (const { next } of this.tables) head = Math.max(head, next.get(partition) ?? 0)
    return head
  }

  /** Everything below this offset is in the fresh rows of the table. */
  applied(table: StreamTable, partition: number): number {
    return table.next.get(partition) ?? 0
  }

  /** The furthest place of the partition that anything in memory knows of. */
  read(partition: number): number {
    return Math.max(this.head(partition), this.ledger.partitions.get(partition)?.counted ?? 0)
  }

  isLevel(table: StreamTable): boolean {
    return this.#reaches(table, this.#heads())
  }

  #reaches(table: StreamTable, heads: ReadonlyMap<number, number>): boolean {
    for (const [partition, head] of heads) if (this.applied(table, partition) < head) return false
    return true
  }

  close(): void {
    this.#staging.close()
  }

  /** Whether the last step found so much that the next one should follow at once. A small batch costs nearly as much as one ten times its size. */
  get isBusy(): boolean {
    return this.#isBusy
  }

  /** One step of the shared pass and, if something is behind, one of the backfill. False when there was nothing to do. */
  async step(watermark: Watermark): Promise<boolean> {
    const limits = this.limits(watermark)
    await this.#skipRemoved(limits)
    try {
      this.#isBusy = false
      const held = this.#context.held()
      const advanced = await this.#advance(limits, held)
      const filled = await this.#backfill(limits, held, advanced)
      return advanced || filled
    } catch (error) {
      // Retention has removed what was to be read: the new watermark says from where to go on.
      const isRemoved = error instanceof QuestlogError && error.code === 'OFFSET_OUT_OF_RANGE'
      if (isRemoved && this.#context.reader.watermark() !== watermark) return true
      throw error
    }
  }

  /** Begins the ledger of each partition that has none yet: what its tables have read is to be counted by looking where it is. */
  beginLedger(limits: ReadonlyMap<number, PartitionWatermark>): void {
    for (const partition of this.#partitions()) {
      const limit = limits.get(partition)
      const start = limit?.startOffset ?? 0
      const resumed = this.tables.length === 0 ? start : Math.max(start, this.head(partition))
      this.ledger.begin(partition, resumed, limit)
    }
  }

  /** What retention has removed can neither be read by a table nor be counted any more. */
  async #skipRemoved(limits: ReadonlyMap<number, PartitionWatermark>): Promise<void> {
    let isUncounted = false
    for (const [partition, { startOffset }] of limits) {
      if ((this.#starts.get(partition) ?? 0) === startOffset) continue
      await this.#context.reader.releaseRemoved(this.topic, partition, startOffset)
      this.#starts.set(partition, startOffset)
      for (const { next } of this.tables)
        if ((next.get(partition) ?? 0) < startOffset) next.set(partition, startOffset)
      isUncounted ||= this.ledger.nextOffset(partition) < startOffset
    }
    if (!isUncounted) return
    this.ledger.clear()
    this.beginLedger(limits)
  }

  /** The watermark's entries for this topic. */
  limits(watermark: Watermark): ReadonlyMap<number, PartitionWatermark> {
    if (this.#limits?.of === watermark) return this.#limits.entries
    const entries = new Map<number, PartitionWatermark>()
    for (const entry of watermark.partitions)
      if (entry.topicId === this.topic.id) entries.set(entry.partition, entry)
    this.#limits = { of: watermark, entries }
    return entries
  }

  #partitions(): number[] {
    return Array.from({ length: this.topic.partitions }, (_, partition) => partition)
  }

  #heads(): ReadonlyMap<number, number> {
    return new Map(this.#partitions().map((partition) => [partition, this.head(partition)]))
  }

  async #advance(
    limits: ReadonlyMap<number, PartitionWatermark>,
    held: ReadonlySet<StreamTable>,
  ): Promise<boolean> {
    const heads = this.#heads()
    const filling = this.tables.filter((table) => this.#reaches(table, heads) && !held.has(table))
    if (filling.length === 0 && this.tables.length > 0) return false
    const chunk = await this.#readChunk(
      heads,
      limits,
      (partition) => limits.get(partition)?.visibleOffset ?? 0,
      this.#context.settings.batchBytesMax,
    )
    if (chunk.ranges.size === 0) return false
    await this.#process(
      chunk,
      filling,
      this.tables.length === 0, // a table that is gone may have set records aside
    )
    return true
  }

  async #backfill(
    limits: ReadonlyMap<number, PartitionWatermark>,
    held: ReadonlySet<StreamTable>,
    busy: boolean,
  ): Promise<boolean> {
    const heads = this.#heads()
    const behind = this.tables.filter((table) => !this.#reaches(table, heads) && !held.has(table))
    const from = new Map<number, number>()
    for (const [partition, head] of heads) {
      const places = [
        this.ledger.nextOffset(partition),
        ...behind.map((table) => this.applied(table, partition)),
      ]
      const start = Math.max(Math.min(...places), limits.get(partition)?.startOffset ?? 0)
      if (start < head) from.set(partition, start)
    }
    if (from.size === 0) return false
    const bytesMax = busy ? backfillBytesMax : this.#context.settings.batchBytesMax
    const chunk = await this.#readChunk(
      from,
      limits,
      (partition) => heads.get(partition) ?? 0,
      bytesMax,
    )
    if (chunk.ranges.size === 0) return false
    await this.#process(chunk, behind, true)
    return true
  }

  async #process(chunk: Chunk, filling: readonly StreamTable[], past: boolean): Promise<void> {
    if (past || chunk.bytes >= busyBytes) this.#isBusy = true
    await this.#context.writer.runRows(() =>
      processMicroBatch(this.#staging, {
        topic: this.topic.name,
        conversion: this.conversion,
        tables: this.tables,
        filling: new Set(filling),
        past,
        ledger: this.ledger,
        shared: this.tables[0]?.fresh.shared,
        deadLetters: this.#context.deadLetters,
        setAside: this.setAside,
        records: chunk.records,
        ranges: chunk.ranges,
        bytes: chunk.bytes,
        jsonDepthMax: this.#context.settings.jsonDepthMax,
      }),
    )
  }

  /** Reads from the given offsets up to `end` of each partition, within the watermark, about `bytesMax` in all. */
  async #readChunk(
    from: ReadonlyMap<number, number>,
    limits: ReadonlyMap<number, PartitionWatermark>,
    end: (partition: number) => number,
    bytesMax: number,
  ): Promise<Chunk> {
    const chunk: Chunk = { records: [], ranges: new Map(), bytes: 0 }
    for (const [partition, start] of from) {
      const limit = limits.get(partition)
      if (limit === undefined || start >= end(partition) || chunk.bytes >= bytesMax) continue
      const read = await this.#context.reader.read(
        this.topic,
        partition,
        start,
        limit,
        bytesMax - chunk.bytes,
      )
      // What is left of them is read by the next step.
      const bytesLeft = bytesMax - chunk.bytes
      const records = read.batches.reduce((sum, batch) => sum + batch.recordCount, 0)
      const pack = records > smallRows ? this.#pack : undefined
      const [first] = recordChunks(partition, read, start, end(partition), bytesLeft, pack)
      if (first === undefined) continue
      for (const record of first.records) chunk.records.push(record)
      chunk.ranges.set(partition, { from: first.from, to: first.to })
      chunk.bytes += first.bytes
    }
    return chunk
  }
}
