import type { ErrorCode } from '../core/errors.ts'
import { encodeMarker } from './control-batch.ts'
import {
  afterBatch,
  afterMarker,
  findDuplicate,
  markerRefusal,
  refusalOf,
  type Producer,
  type Producers,
} from './producers.ts'
import { logAppendTimeOf } from './producer-state.ts'
import {
  batchIn,
  batchOverheadBytes,
  encodeBatch,
  placeBatch,
  planBatches,
  type RecordBatch,
  type RecordGroup,
} from './record-batch.ts'
import type { EndMarker } from './record.ts'

/** What waits for a group commit. */
export type Content =
  | { readonly kind: 'events'; readonly group: RecordGroup }
  | { readonly kind: 'batches'; readonly batches: readonly RecordBatch[] }
  | { readonly kind: 'marker'; readonly marker: EndMarker; readonly timestampMs: number }

/** Where an item of a commit ended up. */
export interface Placed {
  readonly baseOffset: number
  readonly logAppendTimeMs: number
}

/** One append that waits. */
export interface QueueItem {
  readonly content: Content
  /** Bytes on the log, at most. */
  readonly bytes: number
  /** Whether it is settled after write() already, before the sync. */
  readonly untilWritten: boolean
  readonly resolve: (placed: Placed) => void
  readonly reject: (error: Error) => void
}

/** Items that go to the disk together: one write, one sync. */
export interface Commit {
  /** In the order of their offsets. */
  readonly batches: readonly RecordBatch[]
  readonly accepted: readonly { readonly item: QueueItem; readonly placed: Placed }[]
  /** Producers as they are when the commit is on the log. */
  readonly producers: ReadonlyMap<number, Producer>
}

export interface CommitOptions {
  /** Offset of the first record. */
  readonly baseOffset: number
  readonly messageBytesMax: number
  readonly producers: Producers
  readonly nowMs: number
  readonly refusal: (code: ErrorCode, message: string) => Error
}

/**
 * Gives the items, in order, their offsets. What a producer may not append is rejected; a duplicate of what is on the log is resolved with the offsets of the original, one of what
 * is in this commit goes with that.
 */
export function formCommit(items: readonly QueueItem[], options: CommitOptions): Commit {
  return new Forming(options).form(items)
}

class Forming {
  readonly #options: CommitOptions
  readonly #batches: RecordBatch[] = []
  readonly #accepted: { item: QueueItem; placed: Placed }[] = []
  readonly #producers = new Map<number, Producer>()
  /** Events that may share a batch. */
  #groups: RecordGroup[] = []
  #groupBytes = 0
  /** Offset after the last batch, and after the events that wait. */
  #batchesEnd: number
  #offset: number

  constructor(options: CommitOptions) {
    this.#options = options
    this.#batchesEnd = options.baseOffset
    this.#offset = options.baseOffset
  }

  form(items: readonly QueueItem[]): Commit {
    for (const item of items) {
      const { content } = item
      if (content.kind === 'events') this.#addEvents(item, content.group)
      else if (content.kind === 'batches') this.#addBatches(item, content.batches)
      else this.#addMarker(item, content.marker, content.timestampMs)
    }
    this.#encodeEvents()
    return { batches: this.#batches, accepted: this.#accepted, producers: this.#producers }
  }

  #addEvents(item: QueueItem, group: RecordGroup): void {
    this.#accept(item, this.#offset, -1)
    this.#groups.push(group)
    this.#groupBytes += item.bytes
    this.#offset += group.records.length
  }

  #encodeEvents(): void {
    if (this.#groups.length === 0) return
    const { messageBytesMax } = this.#options
    const fitsOne = batchOverheadBytes + this.#groupBytes <= messageBytesMax
    const plan = fitsOne ? [this.#groups] : planBatches(this.#groups, messageBytesMax)
    for (const groups of plan) this.#push(encodeBatch(this.#batchesEnd, groups))
    this.#groups = []
    this.#groupBytes = 0
  }

  #push(batch: RecordBatch): void {
    this.#batches.push(batch)
    this.#batchesEnd = batch.nextOffset
  }

  #accept(item: QueueItem, baseOffset: number, logAppendTimeMs: number): void {
    this.#accepted.push({ item, placed: { baseOffset, logAppendTimeMs } })
  }

  #producer(producerId: number): Producer | undefined {
    return this.#producers.get(producerId) ?? this.#options.producers.get(producerId)
  }

  #addBatches(item: QueueItem, batches: readonly RecordBatch[]): void {
    const [first] = batches
    if (first === undefined) return
    if (first.producerId >= 0 && !this.#admit(item, first)) return
    this.#encodeEvents()
    const baseOffset = this.#offset
    for (const { bytes } of batches) {
      placeBatch(bytes, this.#offset)
      const batch = batchIn(bytes)
      this.#push(batch)
      this.#offset = batch.nextOffset
    }
    this.#accept(item, baseOffset, logAppendTimeOf(first))
  }

  /** Whether a producer may append its batch, here and now. */
  #admit(item: QueueItem, batch: RecordBatch): boolean {
    const { producerId } = batch
    const { refusal, nowMs, producers } = this.#options
    const producer = this.#producer(producerId)
    const original = findDuplicate(producer, batch)
    if (original !== undefined) {
      if (findDuplicate(producers.get(producerId), batch) === original) item.resolve(original)
      else this.#accept(item, original.baseOffset, original.logAppendTimeMs)
      return false
    }
    const refused = refusalOf(producer, batch)
    if (refused !== undefined) {
      item.reject(refusal(refused.code, refused.message))
      return false
    }
    const placed = { baseOffset: this.#offset, logAppendTimeMs: logAppendTimeOf(batch) }
    this.#producers.set(producerId, afterBatch(producer, batch, placed, nowMs))
    return true
  }

  #addMarker(item: QueueItem, marker: EndMarker, timestampMs: number): void {
    const { refusal, nowMs } = this.#options
    const producer = this.#producer(marker.producerId)
    const refused = markerRefusal(producer, marker)
    if (refused !== undefined) {
      item.reject(refusal(refused.code, refused.message))
      return
    }
    this.#encodeEvents()
    const batch = encodeMarker(this.#offset, marker, timestampMs)
    this.#producers.set(marker.producerId, afterMarker(producer, marker, nowMs))
    this.#push(batch)
    this.#accept(item, this.#offset, -1)
    this.#offset = batch.nextOffset
  }
}
