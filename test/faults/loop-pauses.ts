import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { slowness } from './pace.ts'

const probe = new URL('loop-probe.mjs', import.meta.url).pathname

/** How long the event loop of an instance's ingest was busy in one go: by the probe, in processor time. */
export class LoopPauses {
  /** For the processes of the instance. */
  readonly environment: Readonly<Record<string, string>>
  readonly #path: string
  #slowness = 1

  constructor(folder: string) {
    this.#path = join(folder, 'longest')
    this.environment = { NODE_OPTIONS: `--import=${probe}`, QUESTLOG_TEST_LOOP_PROBE: this.#path }
  }

  /** The longest pause during some work, milliseconds. */
  async longest(work: () => Promise<unknown>): Promise<number> {
    await rm(this.#path, { force: true }) // from here on the probe counts
    await work()
    for (;;) {
      const text = await readFile(this.#path, 'utf8').catch(() => '')
      if (text !== '') return Number(text) // the probe has looked since
    }
  }

  /** The same, or the shortest of three where the first two were long: what is no accident comes again. */
  async shortest(work: () => Promise<unknown>): Promise<number> {
    let pauseMs = Infinity
    for (let time = 0; time < 3 && pauseMs >= this.limitMs; time++)
      pauseMs = Math.min(pauseMs, await this.longest(work))
    return pauseMs
  }

  /** Looks how fast the machine is now; the slowest moment counts. */
  notePace(): void {
    this.#slowness = Math.max(this.#slowness, slowness())
  }

  /** Pauses are shorter than this on the machine on which it was set, longer on a slower one. */
  get limitMs(): number {
    return 50 * this.#slowness
  }
}
