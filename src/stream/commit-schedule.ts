import type { Clock } from '../core/clock.ts'
import type { Logger } from '../core/logger.ts'
import type { Settings } from '../core/settings.ts'
import { offsetsProperty } from '../lake/offsets.ts'
import { LostTable, type Committable, type Committer } from './committer.ts'
import { failedAgain } from './failure.ts'
import { failingBytesMax } from './held-tables.ts'
import { formatSetAside, parseSetAside, setAsideProperty } from './set-aside-offsets.ts'
import { committedOffsets, offsetsText, type StreamTable } from './stream-table.ts'
import type { TopicStream } from './topic-stream.ts'

/** Offsets of a table that had no rows to commit are committed after this time, so that a restart does not read far back. */
const idleCommitIntervalMs = 60_000
/** Between two commits nobody waits for, statements have their turn: it rests as long as the commit took, at most this long. */
const commitRestMsMax = 50
/** Dead letters are committed with the tables of any topic; where none commits, this often. */
const deadLetterIntervalMs = 10_000

export interface CommitScheduleOptions {
  readonly committer: Committer
  readonly deadLetters: Committable
  readonly clock: Clock
  readonly logger: Logger
  readonly settings: Settings
  /** All topics that are read now: the fresh dead letters are theirs together. */
  readonly topics: () => readonly TopicStream[]
  /** Resolves when everything that the tables of the topic have inserted is synced on the log. */
  readonly syncLog: (topic: TopicStream) => Promise<void>
  /** Gives back the memory of what is committed. */
  readonly release: (topic: TopicStream) => Promise<void>
}

interface DueTable {
  readonly topic: TopicStream
  readonly table: StreamTable
}

/** Decides which tables are due, and commits them: dead letters first, then each table on its own, so that a failing one stops no other. */
export class CommitSchedule {
  readonly #options: CommitScheduleOptions
  #deadLettersTriedAtMs: number
  #rests = new AbortController()

  constructor(options: CommitScheduleOptions) {
    this.#options = options
    this.#deadLettersTriedAtMs = options.clock.monotonicMs()
  }

  /** The tables whose trigger has come, whose fresh rows are large, or whose offsets have been idle for long. */
  due(topics: readonly TopicStream[]): DueTable[] {
    const { clock, settings } = this.#options
    const nowMs = clock.monotonicMs()
    const bytesMax = Math.min(settings.freshBytesMax, failingBytesMax(settings))
    const isDue = (topic: TopicStream, table: StreamTable) => {
      if (table.failure !== null) return nowMs >= table.failure.retryAtMs
      if (table.fresh.currentBytes >= bytesMax) return true
      const idleMs = nowMs - table.committedAtMs
      if (table.fresh.currentRows > 0) return idleMs >= table.definition.triggerMs
      return (
        idleMs >= Math.max(idleCommitIntervalMs, table.definition.triggerMs) &&
        hasMoved(topic, table)
      )
    }
    // Asked after each look at the log: nothing is made for the tables that are not due.
    const due: DueTable[] = []
    for (const topic of topics)
      for (const table of topic.tables) if (isDue(topic, table)) due.push({ topic, table })
    return due
  }

  /** Whether dead letters have waited for long: no table was due meanwhile. */
  deadLettersDue(): boolean {
    const { deadLetters, clock } = this.#options
    const waitedMs = clock.monotonicMs() - this.#deadLettersTriedAtMs
    return deadLetters.fresh.totalRows > 0 && waitedMs >= deadLetterIntervalMs
  }

  /** Commits the dead letters, and every table of these topics that has anything to commit. Resolves to those that failed. */
  async flush(topics: readonly TopicStream[]): Promise<StreamTable[]> {
    const tables = all(topics)
    await this.run(tables)
    // What waits behind a part that was too large, or behind a commit that had failed.
    for (;;) {
      const rest = tables.filter(
        ({ table }) => table.failure === null && table.fresh.currentRows > 0,
      )
      if (rest.length === 0) break
      await this.run(rest)
    }
    return tables.map(({ table }) => table).filter((table) => table.failure !== null)
  }

  /** Commits what is due, and leaves the processors to statements and the collector in between. */
  async runDue(tables: readonly DueTable[]): Promise<void> {
    this.#rests = new AbortController()
    await this.run(tables, this.#rests.signal)
  }

  /** Somebody waits for the end of what runs now: no more rests. */
  hurry(): void {
    this.#rests.abort(null)
  }

  /** Commits the dead letters, then these tables, with rests in between until the signal aborts. Failures are kept on the table, with a time to try again; a LostTable is thrown. */
  async run(tables: readonly DueTable[], resting?: AbortSignal): Promise<void> {
    const { committer, deadLetters, clock, logger } = this.#options
    if (tables.length === 0 && deadLetters.fresh.totalRows === 0) return
    this.#deadLettersTriedAtMs = clock.monotonicMs()
    try {
      // Dead letters that an earlier, failed run has frozen: newer ones can only follow.
      await committer.commit(deadLetters)
      await committer.freeze([
        { table: deadLetters, properties: () => this.#setAsideProperties(), rowsOnly: true },
        ...tables.map(({ topic, table }) => ({
          table,
          properties: () => ({
            [offsetsProperty]: offsetsText(topic.topic.id, table.fresh.freezable),
          }),
        })),
      ])
      for (const topic of this.#options.topics()) await this.#options.syncLog(topic)
      await committer.commit(deadLetters)
    } catch (error) {
      if (error instanceof LostTable) throw error
      logger.error('commit failed', { table: deadLetters.lake.name, error })
      for (const { table } of tables) this.#failed(table, error)
      return
    }
    for (const [index, { table }] of tables.entries()) {
      const startMs = clock.monotonicMs()
      await this.#commit(table)
      const restMs = Math.min(clock.monotonicMs() - startMs, commitRestMsMax)
      if (resting !== undefined && index < tables.length - 1) await clock.sleep(restMs, resting)
    }
    for (const topic of new Set(tables.map((due) => due.topic))) await this.#options.release(topic)
  }

  async #commit(table: StreamTable): Promise<void> {
    try {
      await this.#options.committer.commit(table)
      if (table.failure !== null)
        this.#options.logger.info('committing again', { table: table.definition.name })
      table.failure = null
      table.committedAtMs = this.#options.clock.monotonicMs()
    } catch (error) {
      if (error instanceof LostTable) throw error
      this.#failed(table, error)
    }
  }

  #failed(table: StreamTable, error: unknown): void {
    const { clock, settings, logger } = this.#options
    table.failure = failedAgain(table.failure, error, clock.monotonicMs(), settings)
    const { attempts } = table.failure
    logger.error('commit failed', { table: table.definition.name, attempts, error })
  }

  /** The whole property anew, for every topic, whichever tables are due: the dead letters of all are committed. What other tables have stored stays. */
  #setAsideProperties() {
    const stored = parseSetAside(this.#options.deadLetters.lake.properties[setAsideProperty])
    for (const topic of this.#options.topics()) topic.setAside.store(stored, topic.tables)
    return { [setAsideProperty]: formatSetAside(stored) }
  }
}

function all(topics: readonly TopicStream[]): DueTable[] {
  return topics.flatMap((topic) => topic.tables.map((table) => ({ topic, table })))
}

function hasMoved(topic: TopicStream, table: StreamTable): boolean {
  const committed = committedOffsets(table.lake, topic.topic.id)
  return [...table.next].some(([partition, offset]) => offset !== (committed.get(partition) ?? 0))
}
