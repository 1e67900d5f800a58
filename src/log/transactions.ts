import type { EndMarker } from './record.ts'

/** Where a batch starts. */
export interface BatchPlace {
  readonly offset: number
  readonly segmentBaseOffset: number
  readonly position: number
}

/** An aborted transaction in a partition, as its index keeps it. */
export interface AbortedEntry {
  readonly producerId: number
  /** Of its first record. */
  readonly firstOffset: number
  /** Of its marker. */
  readonly lastOffset: number
  /** Every transaction that is aborted later begins at or above it. */
  readonly lastStableOffset: number
}

/** How many offsets below a place hold no event. Transactions that were open there have their records counted apart until it is known how they end. */
interface Tally {
  readonly offset: number
  excluded: number
  /** Producer id → records of its open transaction below the place. */
  readonly undecided: Map<number, number>
}

interface OpenTransaction {
  readonly producerId: number
  readonly place: BatchPlace
  readonly tally: Tally
  records: number
}

/** A tally for keeping: offset, excluded, [producer id, records] of each transaction that is open. */
export type StoredTally = readonly [number, number, readonly (readonly [number, number])[]]

/** A partition's transactions for keeping. */
export interface StoredTransactions {
  readonly excluded: number
  readonly open: readonly {
    readonly producerId: number
    readonly place: BatchPlace
    readonly records: number
    readonly tally: StoredTally
  }[]
  readonly segments: readonly StoredTally[]
}

/**
 * The transactions of a partition: which are open, and exactly how many offsets hold no event (control records, and records of aborted transactions).
 * It is told of every transactional batch and marker, in order.
 */
export class Transactions {
  /** By first offset. */
  readonly #open = new Map<number, OpenTransaction>()
  /** Ended, but held as if open until what was aborted can be looked up. */
  #held: OpenTransaction[] = []
  /** One for each segment, by its base offset, where there was something to count. */
  readonly #segments = new Map<number, Tally>()
  /** Tallies that wait for the end of a transaction. */
  readonly #undecided = new Set<Tally>()
  #excluded = 0

  /** Where the earliest transaction begins that is open; undefined when none is. */
  get firstOpen(): BatchPlace | undefined {
    return this.#first()?.place
  }

  /** Offsets below the last stable offset that hold no event, counted from the same beginning as those of `excludedAt`. */
  get excluded(): number {
    return this.#first()?.tally.excluded ?? this.#excluded
  }

  /** Whether there was anything to count yet. */
  get isUsed(): boolean {
    return this.#excluded > 0 || this.#open.size > 0
  }

  #first(): OpenTransaction | undefined {
    const [open] = this.#open.values()
    let first = open
    for (const each of this.#held)
      if (first === undefined || each.place.offset < first.place.offset) first = each
    return first
  }

  /** A transactional batch; it opens a transaction when its producer has none. */
  note(producerId: number, records: number, place: BatchPlace): void {
    let open = this.#open.get(producerId)
    if (open === undefined) {
      open = { producerId, place, records: 0, tally: this.#tally(place.offset) }
      this.#open.set(producerId, open)
    }
    open.records += records
  }

  #tally(offset: number): Tally {
    const undecided = new Map<number, number>()
    for (const [producerId, { records }] of this.#open) undecided.set(producerId, records)
    const tally = { offset, excluded: this.#excluded, undecided }
    if (undecided.size > 0) this.#undecided.add(tally)
    return tally
  }

  /** A marker at this offset: ends the transaction of its producer. Gives the entry of the index when it was aborted; `hold` keeps the last stable offset below it until `release`. */
  end(
    producerId: number,
    outcome: EndMarker['outcome'] | undefined,
    markerOffset: number,
    hold = false,
  ): AbortedEntry | undefined {
    this.#excluded++ // the marker
    const ended = this.#open.get(producerId)
    if (ended === undefined || outcome === undefined) return undefined
    this.#open.delete(producerId)
    const isAborted = outcome === 'abort'
    for (const tally of this.#undecided) {
      if (isAborted) tally.excluded += tally.undecided.get(producerId) ?? 0
      tally.undecided.delete(producerId)
      if (tally.undecided.size === 0) this.#undecided.delete(tally)
    }
    if (!isAborted || !hold) this.#undecided.delete(ended.tally)
    if (!isAborted) return undefined
    this.#excluded += ended.records
    const [next] = this.#open.values()
    if (hold) this.#held.push(ended)
    return {
      producerId,
      firstOffset: ended.place.offset,
      lastOffset: markerOffset,
      lastStableOffset: next?.place.offset ?? markerOffset + 1,
    }
  }

  /** Lets go of what `end` held. */
  release(): void {
    for (const { tally } of this.#held) this.#undecided.delete(tally)
    this.#held = []
  }

  /** Begins a segment at this offset, the end of what was told so far. */
  beginSegment(baseOffset: number): void {
    if (this.isUsed) this.#segments.set(baseOffset, this.#tally(baseOffset))
  }

  /** Offsets below a segment that hold no event; undefined for a segment that it was not told of. Exact when no transaction is open that began below. */
  excludedAt(baseOffset: number): number | undefined {
    const tally = this.#segments.get(baseOffset)
    if (tally !== undefined) return tally.excluded
    const [first] = this.#segments.keys()
    return first === undefined || baseOffset < first ? 0 : undefined
  }

  /** Forgets the segments below an offset. */
  forgetSegments(belowOffset: number): void {
    for (const [baseOffset, tally] of this.#segments) {
      if (baseOffset >= belowOffset) return
      this.#segments.delete(baseOffset)
      this.#undecided.delete(tally)
    }
  }

  /** For keeping; what is held counts as ended. */
  store(): StoredTransactions {
    return {
      excluded: this.#excluded,
      open: [...this.#open.values()].map(({ producerId, place, records, tally }) => ({
        producerId,
        place,
        records,
        tally: storeTally(tally),
      })),
      segments: [...this.#segments.values()].map(storeTally),
    }
  }

  static restore(stored: StoredTransactions): Transactions {
    const restored = new Transactions()
    restored.#excluded = stored.excluded
    for (const { producerId, place, records, tally } of stored.open)
      restored.#open.set(producerId, {
        producerId,
        place,
        records,
        tally: restored.#restoreTally(tally),
      })
    for (const tally of stored.segments)
      restored.#segments.set(tally[0], restored.#restoreTally(tally))
    return restored
  }

  #restoreTally([offset, excluded, undecided]: StoredTally): Tally {
    const tally = { offset, excluded, undecided: new Map(undecided) }
    if (tally.undecided.size > 0) this.#undecided.add(tally)
    return tally
  }
}

function storeTally({ offset, excluded, undecided }: Tally): StoredTally {
  return [offset, excluded, [...undecided]]
}
