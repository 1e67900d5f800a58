import { basename, dirname } from 'node:path'
import type { Files, ReadFile } from '../core/files.ts'
import { baseOffsetOf } from './layout.ts'
import type { SegmentIndex } from './segment-index.ts'

/** A segment that is open for reading, with what is known of its batch boundaries. */
export interface OpenSegment {
  readonly path: string
  readonly file: ReadFile
  readonly index: SegmentIndex
}

interface Entry {
  readonly opening: Promise<OpenSegment>
  users: number
  dropped: boolean
}

/** Keeps the segments that were used last open, at most so many; none is closed while it is used. */
export class OpenSegments {
  readonly #files: Files
  readonly #max: number
  /** Least recently used first. */
  readonly #entries = new Map<string, Entry>()

  constructor(files: Files, max: number) {
    this.#files = files
    this.#max = max
  }

  /** Does `work` with the segment at `path`; `loadIndex` gives its index when it is opened. */
  async use<T>(
    path: string,
    loadIndex: () => Promise<SegmentIndex>,
    work: (segment: OpenSegment) => Promise<T>,
  ): Promise<T> {
    const known = this.#entries.get(path)
    const entry = known ?? { opening: this.#open(path, loadIndex), users: 0, dropped: false }
    this.#entries.delete(path)
    this.#entries.set(path, entry)
    entry.users++
    try {
      return await work(await entry.opening)
    } finally {
      entry.users--
      await closeIdle(entry)
      await this.#dropOldest()
    }
  }

  async #open(path: string, loadIndex: () => Promise<SegmentIndex>): Promise<OpenSegment> {
    const index = await loadIndex()
    return { path, file: await this.#files.openRead(path), index }
  }

  async #dropOldest(): Promise<void> {
    const excess = this.#entries.size - this.#max
    if (excess > 0) await this.drop([...this.#entries.keys()].slice(0, excess))
  }

  /** Closes what is open in a folder; the next use opens it anew. */
  async forget(folder: string): Promise<void> {
    await this.drop([...this.#entries.keys()].filter((path) => path.startsWith(`${folder}/`)))
  }

  /** Closes the segments of a folder that begin below an offset. */
  async dropBelow(folder: string, offset: number): Promise<void> {
    const paths = [...this.#entries.keys()].filter((path) => dirname(path) === folder)
    await this.drop(paths.filter((path) => baseOffsetOf(basename(path)) < offset))
  }

  async close(): Promise<void> {
    await this.drop([...this.#entries.keys()])
  }

  /** Closes these, each when its last user is done. */
  async drop(paths: readonly string[]): Promise<void> {
    for (const path of paths) {
      const entry = this.#entries.get(path)
      if (entry === undefined) continue
      this.#entries.delete(path)
      entry.dropped = true
      await closeIdle(entry)
    }
  }
}

/** Closes a dropped entry that nobody uses; the last user of any other will come here. */
async function closeIdle(entry: Entry): Promise<void> {
  if (!entry.dropped || entry.users > 0) return
  const segment = await entry.opening.catch(() => undefined) // if it did not open, its user has the error
  await segment?.file.close()
}
