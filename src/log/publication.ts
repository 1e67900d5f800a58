import type { Clock } from '../core/clock.ts'
import type { Logger } from '../core/logger.ts'

/** How often what readers could not be told is told again. */
const retryIntervalMs = 1_000

export interface PublicationOptions {
  readonly clock: Clock
  readonly logger: Logger
  /** Said with each line of the log file. */
  readonly facts: Readonly<Record<string, string | number>>
  /** Tells readers how the partition stands now; throws when that fails. */
  readonly tell: () => void
}

/** Tells readers where a partition ends. What failed is tried again: a record that is durable must not stay out of sight until the next one comes. */
export class Publication {
  readonly #options: PublicationOptions
  readonly #stopping = new AbortController()
  #isDue = false
  #retries: Promise<void> | undefined

  constructor(options: PublicationOptions) {
    this.#options = options
  }

  /** Whether readers know less than is durable. */
  get isDue(): boolean {
    return this.#isDue
  }

  /** Gives the error when it failed. */
  publish(): Error | undefined {
    const { logger, facts, tell } = this.#options
    try {
      tell()
    } catch (error) {
      if (!this.#isDue) logger.warn('the watermark file could not be written', { ...facts, error })
      this.#isDue = true
      if (!this.#stopping.signal.aborted) this.#retries ??= this.#retry()
      return error instanceof Error ? error : new Error(String(error))
    }
    if (this.#isDue) logger.info('the watermark file could be written again', facts)
    this.#isDue = false
    return undefined
  }

  async #retry(): Promise<void> {
    const { signal } = this.#stopping
    while (this.#isDue) {
      await this.#options.clock.sleep(retryIntervalMs, signal)
      if (signal.aborted) break
      if (this.#isDue) this.publish()
    }
    this.#retries = undefined
  }

  /** Tries a last time if it is due. */
  async close(): Promise<void> {
    this.#stopping.abort('the log is closing')
    await this.#retries
    if (this.#isDue) this.publish()
  }
}
