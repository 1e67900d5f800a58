import type { Clock } from '../core/clock.ts'
import type { Files } from '../core/files.ts'
import type { Logger } from '../core/logger.ts'
import { loadLedgers, saveLedgers, type TopicLedger } from './ledger.ts'
import type { TopicStream } from './topic-stream.ts'

/** A ledger that no commit of a table takes along is stored this often. */
const intervalMs = 10_000

export interface LedgerStoreOptions {
  readonly files: Files
  readonly clock: Clock
  readonly logger: Logger
  /** `lake/ledger` of the data folder. */
  readonly path: string
}

type LedgerTopic = Pick<TopicStream, 'topic' | 'tables' | 'ledger'>

/** Keeps the ledgers in their file. */
export class LedgerStore {
  readonly #options: LedgerStoreOptions
  /** By topic id, as they were when they could be stored last. */
  readonly #stored: Map<string, TopicLedger>
  #storedAtMs = Number.NEGATIVE_INFINITY
  /** Whether the file could not be written the last time. */
  #isStale = false

  private constructor(options: LedgerStoreOptions, stored: Map<string, TopicLedger>) {
    this.#options = options
    this.#stored = stored
  }

  /** Gives the ledgers that the file holds, by topic id, to go on with. */
  static async open(
    options: LedgerStoreOptions,
  ): Promise<{ store: LedgerStore; ledgers: Map<string, TopicLedger> }> {
    const ledgers = await loadLedgers(options.files, options.path)
    const stored = new Map([...ledgers].map(([topicId, ledger]) => [topicId, ledger.copy()]))
    return { store: new LedgerStore(options, stored), ledgers }
  }

  has(topicId: string): boolean {
    return this.#stored.has(topicId)
  }

  /** Whether a topic without tables has a ledger to store: no commit of a table takes it along, and retention waits for it. `waiting`: dead letters that are not committed. */
  isDue(topics: readonly LedgerTopic[], waiting: number): boolean {
    if (waiting > 0 || this.#options.clock.monotonicMs() - this.#storedAtMs < intervalMs)
      return false
    return topics.some(
      ({ topic, tables, ledger }) =>
        tables.length === 0 && (this.#isStale || ledger.isAheadOf(this.#stored.get(topic.id))),
    )
  }

  /** The ledgers can be counted again: that they can't be stored, on a full disk, ends nothing. */
  async save(topics: readonly LedgerTopic[], waiting: number): Promise<void> {
    const { files, path, logger, clock } = this.#options
    this.#storedAtMs = clock.monotonicMs()
    const current = new Map<string, TopicLedger>()
    for (const { topic, tables, ledger } of topics) {
      // Without tables the ledger alone says where to read on: not beyond dead letters that are only in memory. Of a topic that is new there are none.
      if (tables.length > 0 || waiting === 0 || !this.has(topic.id))
        this.#stored.set(topic.id, ledger.copy())
      const stored = this.#stored.get(topic.id)
      if (stored !== undefined) current.set(topic.id, stored)
    }
    try {
      await saveLedgers(files, path, current)
      this.#isStale = false
    } catch (error) {
      this.#isStale = true
      logger.warn('the ledger could not be stored; it is counted again when needed', { error })
    }
  }
}
