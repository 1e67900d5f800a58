import type { Clock } from '../core/clock.ts'
import type { Files } from '../core/files.ts'
import type { Logger } from '../core/logger.ts'
import type { Settings } from '../core/settings.ts'
import { formatBytes } from './words.ts'

const checkIntervalMs = 10_000

export interface FreeSpaceOptions {
  readonly files: Files
  readonly clock: Clock
  readonly logger: Logger
  readonly settings: Settings
  /** The data folder. */
  readonly data: string
}

/** Looks now and then how much room the disk of the data folder has, and warns before it is full. */
export class FreeSpace {
  readonly #options: FreeSpaceOptions
  readonly #stopping = new AbortController()
  /** At the last look; undefined before the first, or when the system does not tell. */
  #freeBytes: number | undefined
  readonly #loop: Promise<void>

  constructor(options: FreeSpaceOptions) {
    this.#options = options
    this.#loop = this.#run()
  }

  /** A line when there is little. */
  attention(): string[] {
    if (!this.#isLow(this.#freeBytes)) return []
    const { data, settings } = this.#options
    return [
      `the disk of ${data} has ${formatBytes(this.#freeBytes ?? 0)} left (freeBytesWarn is ${formatBytes(settings.freeBytesWarn)}): when it is full, events are answered 503`,
    ]
  }

  /** Idempotent. */
  async close(): Promise<void> {
    this.#stopping.abort()
    await this.#loop
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping
    while (!signal.aborted) {
      await this.#look()
      await this.#options.clock.sleep(checkIntervalMs, signal)
    }
  }

  async #look(): Promise<void> {
    const { files, logger, data } = this.#options
    const freeBytes = await files.freeBytes(data).catch(() => undefined)
    const wasLow = this.#isLow(this.#freeBytes)
    this.#freeBytes = freeBytes
    const isLow = this.#isLow(freeBytes)
    if (isLow && !wasLow) logger.warn('the disk has little room left', { data, freeBytes })
    if (wasLow && !isLow) logger.info('the disk has room again', { data, freeBytes })
  }

  #isLow(freeBytes: number | undefined): boolean {
    return freeBytes !== undefined && freeBytes < this.#options.settings.freeBytesWarn
  }
}
