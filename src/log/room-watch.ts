import type { Clock } from '../core/clock.ts'
import type { Files } from '../core/files.ts'
import type { Logger } from '../core/logger.ts'

/** How often a full disk is looked at, and what must be free until it is called full no more. */
const checkIntervalMs = 1_000
const freeBytesMin = 1024 * 1024

export interface RoomWatchOptions {
  readonly files: Files
  readonly clock: Clock
  readonly logger: Logger
  readonly folder: string
  /** Said with each line of the log file. */
  readonly facts: Readonly<Record<string, string | number>>
  /** Called when a full disk has room again. */
  readonly onRoom: () => Promise<void>
}

/** Knows whether the disk is full. Clients may stay away while it is, sent elsewhere by `/ready`: so it is not left to an append to find out that there is room. */
export class RoomWatch {
  readonly #options: RoomWatchOptions
  readonly #stopping = new AbortController()
  #isFull = false
  #watch: Promise<void> | undefined

  constructor(options: RoomWatchOptions) {
    this.#options = options
  }

  get isFull(): boolean {
    return this.#isFull
  }

  /** A write failed for lack of room. */
  full(): void {
    if (!this.#isFull) this.#options.logger.warn('the disk is full', this.#options.facts)
    this.#isFull = true
    this.#watch ??= this.#run()
  }

  /** A write found room. */
  room(): void {
    if (this.#isFull) this.#options.logger.info('the disk has room again', this.#options.facts)
    this.#isFull = false
  }

  async #run(): Promise<void> {
    const { clock, files, folder, onRoom } = this.#options
    while (this.#isFull) {
      await clock.sleep(checkIntervalMs, this.#stopping.signal)
      if (this.#stopping.signal.aborted) break
      const freeBytes = await files.freeBytes(folder).catch(() => 0)
      if (freeBytes < freeBytesMin) continue
      this.room()
      await onRoom()
    }
    this.#watch = undefined
  }

  async close(): Promise<void> {
    this.#stopping.abort('the log is closing')
    await this.#watch
  }
}
