import type { Clock } from '../core/clock.ts'
import { asQuestlogError, type QuestlogError } from '../core/errors.ts'
import type { Files } from '../core/files.ts'
import type { Logger } from '../core/logger.ts'
import type { Settings } from '../core/settings.ts'
import type { EventLog, RetentionDue } from '../log/event-log.ts'
import type { Definition, TableDefinition } from '../plan/definition.ts'
import { readCommittedOffsets } from './committed-offsets.ts'
import { readSettledOffsets, type SettledOffsets } from './settled-offsets.ts'
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

/** What has not taken for good what retention would remove. */
interface Waiting {
  readonly line: string
  /** How long it may take without a reason to worry. */
  readonly usualMs: number
  readonly sinceMs: number
}

/**
 * Removes what the topics' retention asks for, but nothing that a table of the active definition has not committed: the offsets in the tables themselves are asked, so
 * it does not matter whether the lake process runs. Of a topic without tables what is no event must be among the committed dead letters, where it is counted at all.
 */
export class Retention {
  readonly #options: RetentionOptions
  readonly #stopping = new AbortController()
  #definition: Definition
  #waiting: ReadonlyMap<string, Waiting> = new Map()
  #failure: string | null = null
  /** Why it is not known what is set aside. */
  #settledFailure: string | null = null
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
      ({ usualMs, sinceMs }) => nowMs - sinceMs >= patienceMs + usualMs,
    )
    return [
      ...late.map(({ line }) => line),
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
    const settled = await this.#readSettled(dues)
    for (const due of dues) {
      let below = due.startOffset
      const hold = (who: string, offset: number, usualMs: number, why: string) => {
        below = Math.min(below, offset)
        if (offset >= due.startOffset) return
        const sinceMs = this.#waiting.get(who)?.sinceMs ?? this.#options.clock.monotonicMs()
        const line = `retention waits for ${who}: of ${due.topic}/${due.partition} ${why} offsets below ${formatCount(offset)}, and those below ${formatCount(due.startOffset)} are due`
        waiting.set(who, { line, usualMs, sinceMs })
      }
      const tables = [...committed].filter(([table]) => table.topic === due.topic)
      for (const [{ name, triggerMs }, offsets] of tables) {
        const offset = offsets.get(due.topicId)?.get(due.partition) ?? 0
        hold(`table ${name}`, offset, 2 * triggerMs, 'it has committed')
      }
      const offset = tables.length > 0 ? undefined : settled(due.topicId, due.partition)
      if (offset !== undefined)
        hold(`the dead letters of ${due.topic}`, offset, 0, 'they are committed for')
      await this.#options.log
        .removeSegments(due.topicId, due.partition, below)
        .catch((error: unknown) => (failure ??= asQuestlogError(error)))
    }
    this.#waiting = waiting
    return failure
  }

  /** How far the due topics without tables are done with. Those of which the definition knows no event are not read at all. */
  async #readSettled(dues: readonly RetentionDue[]): Promise<SettledOffsets> {
    const { events, tables } = this.#definition
    const read = new Set(events.map(({ topic }) => topic))
    for (const { topic } of tables) read.delete(topic)
    const topicIds = new Set(dues.filter(({ topic }) => read.has(topic)).map((due) => due.topicId))
    if (topicIds.size === 0) return () => undefined
    try {
      const settled = await readSettledOffsets(this.#options)
      this.#settledFailure = null
      return (topicId, partition) =>
        topicIds.has(topicId) ? settled(topicId, partition) : undefined
    } catch (error) {
      const { message } = asQuestlogError(error)
      if (message !== this.#settledFailure)
        this.#options.logger.warn('retention can not read what is set aside', { error })
      this.#settledFailure = message
      return (topicId) => (topicIds.has(topicId) ? 0 : undefined)
    }
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
        if (!this.#waiting.has(`table ${name}`))
          logger.warn('retention can not read what a table has committed', { table: name, error })
        committed.set(table, new Map())
      }
    }
    return committed
  }
}
