import type { Clock } from '../core/clock.ts'
import { asQuestlogError, type QuestlogError } from '../core/errors.ts'
import type { Files } from '../core/files.ts'
import type { Logger } from '../core/logger.ts'
import type { Settings } from '../core/settings.ts'
import type { EventLog, RetentionDue } from '../log/event-log.ts'
import type { Definition, TableDefinition } from '../plan/definition.ts'
import { readCommittedOffsets } from './committed-offsets.ts'
import { formatCount } from './words.ts'

/** A table that commits by its trigger holds old segments back for a moment; longer than this needs a look. */
const patienceMs = 120_000

export interface RetentionOptions {
  readonly log: Pick<EventLog, 'retentionDue' | 'removeSegments'>
  readonly files: Files
  readonly clock: Clock
  readonly logger: Logger
  readonly settings: Settings
  readonly data: string
  readonly definition: Definition
}

/** A table that has not committed what retention would remove. */
interface Waiting {
  readonly table: TableDefinition
  readonly due: RetentionDue
  readonly committed: number
  readonly sinceMs: number
}

/**
 * Removes what the topics' retention asks for, but nothing that a table of the active definition has not committed: the offsets in the tables themselves are asked, so
 * it does not matter whether the lake process runs.
 */
export class Retention {
  readonly #options: RetentionOptions
  readonly #stopping = new AbortController()
  #definition: Definition
  #waiting: ReadonlyMap<string, Waiting> = new Map()
  #failure: string | null = null
  readonly #loop: Promise<void>

  constructor(options: RetentionOptions) {
    this.#options = options
    this.#definition = options.definition
    this.#loop = this.#run()
  }

  /** Tables that the new definition does not name hold nothing back any more. */
  replaceDefinition(definition: Definition): void {
    this.#definition = definition
  }

  /** A line for each table that has held retention back for long, and for segments that could not be removed. */
  attention(): string[] {
    const nowMs = this.#options.clock.monotonicMs()
    const late = [...this.#waiting.values()].filter(
      ({ table, sinceMs }) => nowMs - sinceMs >= patienceMs + 2 * table.triggerMs,
    )
    return [
      ...late.map(
        ({ table, due, committed }) =>
          `retention waits for table ${table.name}: of ${due.topic}/${due.partition} it has committed offsets below ${formatCount(committed)}, and those below ${formatCount(due.startOffset)} are due; when it can't be mended, take it out of the definition`,
      ),
      ...(this.#failure === null ? [] : [`retention can't remove segments: ${this.#failure}`]),
    ]
  }

  /** Idempotent. A removal under way is finished. */
  async close(): Promise<void> {
    this.#stopping.abort()
    await this.#loop
  }

  async #run(): Promise<void> {
    const { clock, logger, settings } = this.#options
    const { signal } = this.#stopping
    while (!signal.aborted) {
      await clock.sleep(settings.retentionCheckIntervalMs, signal)
      if (signal.aborted) return
      const failure = await this.#pass()
      if (failure !== undefined && this.#failure === null)
        logger.warn('retention can not remove segments', { error: failure })
      this.#failure = failure?.message ?? null
    }
  }

  /** Resolves to the first error; what can be removed elsewhere is. */
  async #pass(): Promise<QuestlogError | undefined> {
    let failure: QuestlogError | undefined
    const waiting = new Map<string, Waiting>()
    const dues = this.#options.log.retentionDue()
    const committed = await this.#readCommitted(new Set(dues.map(({ topic }) => topic)))
    for (const due of dues) {
      let below = due.startOffset
      for (const [table, offsets] of committed) {
        if (table.topic !== due.topic) continue
        const offset = offsets.get(due.topicId)?.get(due.partition) ?? 0
        below = Math.min(below, offset)
        if (offset >= due.startOffset) continue
        const sinceMs = this.#waiting.get(table.name)?.sinceMs ?? this.#options.clock.monotonicMs()
        waiting.set(table.name, { table, due, committed: offset, sinceMs })
      }
      await this.#options.log
        .removeSegments(due.topicId, due.partition, below)
        .catch((error: unknown) => (failure ??= asQuestlogError(error)))
    }
    this.#waiting = waiting
    return failure
  }

  /** The committed offsets of the active definition's tables on these topics. A table that is not there yet, or can't be read, has committed nothing. */
  async #readCommitted(topics: ReadonlySet<string>) {
    const { logger } = this.#options
    const { namespace, tables } = this.#definition
    const committed = new Map<TableDefinition, Awaited<ReturnType<typeof readCommittedOffsets>>>()
    for (const table of tables.filter(({ topic }) => topics.has(topic))) {
      const { name } = table
      try {
        committed.set(table, await readCommittedOffsets(this.#options, namespace, name))
      } catch (error) {
        if (!this.#waiting.has(name))
          logger.warn('retention can not read what a table has committed', { table: name, error })
        committed.set(table, new Map())
      }
    }
    return committed
  }
}
