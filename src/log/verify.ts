import { QuestlogError, systemErrorCode } from '../core/errors.ts'
import type { Files, ReadFile } from '../core/files.ts'
import { belowStart, indexPath, listSegments, partitionFolder, segmentPath } from './layout.ts'
import { readLogStart } from './log-start.ts'
import type { LogReader } from './reader.ts'
import type { PartitionWatermark, Topic } from './record.ts'
import { BatchWalk, canBeTorn, findBatchAfter } from './segment.ts'
import { SegmentIndex, type Place } from './segment-index.ts'
import { TransactionCheck } from './verify-transactions.ts'

const walkChunkBytes = 1024 * 1024

/** One thing that is not as it must be. */
export interface Damage {
  readonly file: string
  /** Byte position in the file. */
  readonly position: number
  readonly reason: string
}

/** What a partition holds. */
export interface VerifiedPartition {
  readonly topic: string
  readonly partition: number
  readonly segments: number
  readonly records: number
  readonly bytes: number
  readonly startOffset: number
  readonly endOffset: number
  /** Offsets between segments that hold no record. */
  readonly missingOffsets: number
  readonly damages: readonly Damage[]
  /** What is not damage: the next start puts it right. */
  readonly remarks: readonly string[]
}

export interface VerifyOptions {
  readonly files: Files
  readonly reader: LogReader
  /** `<data>/log`. */
  readonly folder: string
  readonly topic: Topic
  readonly partition: number
  /** Whether a process appends to the log: then its end is what the watermark says, and nothing beyond is looked at. */
  readonly running: boolean
}

/**
 * Reads every segment of a partition and checks each batch (CRC, offset, counts), that offsets go on from segment to segment, that indexes agree with their
 * segments, and that nothing that was synced is missing. Holds one index and one chunk in memory. Changes nothing.
 */
export function verifyPartition(options: VerifyOptions): Promise<VerifiedPartition> {
  return new PartitionCheck(options).run()
}

class PartitionCheck {
  readonly #options: VerifyOptions
  readonly #folder: string
  readonly #damages: Damage[] = []
  readonly #remarks: string[] = []
  readonly #transactions = new TransactionCheck()
  #segments = 0
  #records = 0
  #bytes = 0
  #missing = 0
  #startOffset: number | undefined
  #endOffset = 0
  /** What lies below is removed, also in a segment that holds more. */
  #removedBelow = 0

  constructor(options: VerifyOptions) {
    this.#options = options
    this.#folder = partitionFolder(options.folder, options.topic.name, options.partition)
  }

  async run(): Promise<VerifiedPartition> {
    const { files, topic, partition } = this.#options
    const published = this.#published()
    const start = await this.#start()
    this.#removedBelow = start
    const there = await listSegments(files, this.#folder)
    const bases = there.slice(belowStart(there, start).length)
    const last = this.#options.running ? published?.segmentBaseOffset : bases.at(-1)
    for (const base of bases)
      if (base <= (last ?? -1)) await this.#segment(base, base === last, published)
    const synced = published?.syncedOffset ?? 0
    if (this.#endOffset < synced)
      this.#damage(
        segmentPath(this.#folder, last ?? 0),
        0,
        `the log ends at offset ${this.#endOffset}, but everything below ${synced} was synced`,
      )
    if (this.#damages.length === 0) {
      this.#checkGone(published)
      await this.#checkTransactions()
    }
    return {
      topic: topic.name,
      partition,
      segments: this.#segments,
      records: this.#records,
      bytes: this.#bytes,
      startOffset: this.#startOffset ?? this.#endOffset,
      endOffset: this.#endOffset,
      missingOffsets: this.#missing,
      damages: this.#damages,
      remarks: this.#remarks,
    }
  }

  /** Where batches are missing nobody can tell what became of transactions. */
  async #checkTransactions(): Promise<void> {
    const { files, running } = this.#options
    const startOffset = this.#startOffset ?? this.#endOffset
    const log = { startOffset, endOffset: this.#endOffset, running }
    const findings = await this.#transactions.compare(files, this.#folder, log)
    for (const { file, reason, isDamage } of findings)
      if (isDamage) this.#damage(file, 0, reason)
      else this.#remarks.push(`${file}: ${reason}`)
  }

  /** Segments that are gone leave a gap that nobody knows of. Not told when the watermark is another's, as after a power loss, or retention was at work meanwhile. */
  #checkGone(published: PartitionWatermark | undefined): void {
    if (published?.visibleOffset !== this.#endOffset) return
    if (this.#published()?.startOffset !== published.startOffset) return
    const startOffset = this.#startOffset ?? this.#endOffset
    const unknown = this.#missing - published.missingOffsets
    if (startOffset > published.startOffset)
      this.#damage(
        segmentPath(this.#folder, published.startOffset),
        0,
        `segments with the offsets from ${published.startOffset} to ${startOffset - 1} are gone`,
      )
    else if (startOffset === published.startOffset && unknown > 0)
      this.#damage(this.#folder, 0, `segments with ${unknown} offsets are gone`)
  }

  #published(): PartitionWatermark | undefined {
    const { reader, topic, partition } = this.#options
    return reader
      .watermark()
      ?.partitions.find((each) => each.topicId === topic.id && each.partition === partition)
  }

  async #start(): Promise<number> {
    try {
      return (await readLogStart(this.#options.files, this.#folder)).startOffset
    } catch (error) {
      if (!(error instanceof QuestlogError) || error.code !== 'LOG_DAMAGED') throw error
      this.#damage(String(error.facts['file']), 0, 'the file is bad')
      return 0
    }
  }

  async #segment(
    base: number,
    last: boolean,
    published: PartitionWatermark | undefined,
  ): Promise<void> {
    const { running } = this.#options
    const path = segmentPath(this.#folder, base)
    const file = await this.#open(path)
    if (file === undefined) return
    try {
      const size = last && running ? (published?.position ?? 0) : await file.size()
      const index = new SegmentIndex(base)
      const syncedOffset = published?.syncedOffset ?? 0
      const damagesBefore = this.#damages.length
      this.#place(path, base)
      await this.#walk(file, path, index, size, last && !running ? syncedOffset : undefined)
      this.#segments++
      this.#bytes += size
      if (!last && this.#damages.length === damagesBefore) await this.#checkIndex(path, index)
    } catch (error) {
      if (systemErrorCode(error) !== 'EIO') throw error
      this.#damage(path, 0, `it can't be read: ${String(error)}`)
    } finally {
      await file.close()
    }
  }

  /** Undefined when retention has removed the segment meanwhile. */
  async #open(path: string): Promise<ReadFile | undefined> {
    try {
      return await this.#options.files.openRead(path)
    } catch (error) {
      if (systemErrorCode(error) === 'ENOENT') return undefined
      throw error
    }
  }

  /** Where the segment stands among the others: a gap is accounted, an overlap is damage. */
  #place(path: string, base: number): void {
    if (this.#startOffset === undefined) this.#startOffset = Math.max(base, this.#removedBelow)
    else if (base < this.#endOffset)
      this.#damage(
        path,
        0,
        `it begins at offset ${base}, but those before reach ${this.#endOffset}`,
      )
    else this.#missing += Math.max(0, base - Math.max(this.#endOffset, this.#removedBelow))
    this.#endOffset = base
  }

  /** Walks over the batches; after bad bytes on from the next good batch. `tornFrom`: bad bytes at the end, from this offset on, are a torn tail that was never acknowledged. */
  async #walk(
    file: ReadFile,
    path: string,
    index: SegmentIndex,
    size: number,
    tornFrom: number | undefined,
  ): Promise<void> {
    let from: Place = { offset: index.baseOffset, position: 0 }
    for (;;) {
      const bad = await this.#walkGood(file, index, from, size)
      if (bad === undefined) return
      const next = await findBatchAfter(file, bad, size)
      if (tornFrom !== undefined && bad.offset >= tornFrom && canBeTorn(bad, size, next)) {
        this.#remarks.push(
          `${path}: ${size - bad.position} bytes at the end were never acknowledged; the next start cuts them off`,
        )
        return
      }
      const after = next === undefined ? '' : `; the next one begins at offset ${next.offset}`
      this.#damage(path, bad.position, `the bytes there are no valid record batch${after}`)
      if (next === undefined) return
      this.#missing += next.offset - bad.offset
      from = next
    }
  }

  /** Counts good batches from a place on; gives the place of the first bad bytes, undefined at the end. */
  async #walkGood(
    file: ReadFile,
    index: SegmentIndex,
    from: Place,
    size: number,
  ): Promise<Place | undefined> {
    const walk = new BatchWalk(file, from, size, walkChunkBytes)
    for (;;) {
      const { position, offset } = walk
      const batch = walk.next()
      if (batch === 'end') return undefined
      if (batch === 'bad') return { position, offset }
      if (batch === 'more') {
        await walk.load()
        continue
      }
      index.note(batch, position)
      const first = Math.max(batch.baseOffset, this.#removedBelow)
      this.#records += Math.max(0, batch.nextOffset - first)
      this.#transactions.note(batch)
      this.#endOffset = batch.nextOffset
    }
  }

  /** An index that is missing, torn or stale is made anew by the next start; a good one that says something else leads readers astray. */
  async #checkIndex(segment: string, index: SegmentIndex): Promise<void> {
    const { files } = this.#options
    const path = indexPath(segment)
    const bytes = await files.readAll(path).catch((error: unknown) => {
      if (systemErrorCode(error) === 'ENOENT') return undefined
      throw error
    })
    if (bytes === undefined) {
      // Retention removes the index first, then moves the start, then removes the segment.
      if (index.endOffset > (this.#published()?.startOffset ?? 0))
        this.#remarks.push(`${path} is missing; the next start makes it anew`)
      return
    }
    const stored = SegmentIndex.decode(bytes, index.baseOffset)
    if (stored === undefined || stored.endPosition < index.endPosition)
      this.#remarks.push(`${path} is torn or stale; the next start makes it anew`)
    else if (stored.endPosition > index.endPosition)
      this.#damage(
        segment,
        index.endPosition,
        `it was sealed with ${stored.endPosition} bytes and has ${index.endPosition}`,
      )
    else if (!stored.agrees(index)) this.#damage(path, 0, 'it does not agree with its segment')
  }

  #damage(file: string, position: number, reason: string): void {
    this.#damages.push({ file, position, reason })
  }
}
