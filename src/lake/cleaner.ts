import { relative } from 'node:path'
import type { Clock } from '../core/clock.ts'
import { systemErrorCode } from '../core/errors.ts'
import type { Files } from '../core/files.ts'
import { metadataFolder } from './location.ts'
import { ownSpec } from './metadata.ts'
import type { SnapshotPolicy } from './expiry.ts'
import { NamedFiles } from './named-files.ts'
import { listTableFiles, orphansAmong } from './orphans.ts'
import type { LakeTable } from './table.ts'
import { highestVersion } from './versions.ts'

export interface CleanerOptions {
  readonly files: Files
  readonly clock: Clock
  readonly table: LakeTable
  readonly snapshots: SnapshotPolicy
  readonly orphanAgeMsMin: number
  /** Gives a test whether everything that reads the table's files now has ended. */
  readonly readersNow: () => () => boolean
  /** Files that must stay although no snapshot names them: those of a commit under way, those that a view reads. */
  readonly isInUse: (path: string) => boolean
}

/** Files that only removed snapshots have named. */
interface Doomed {
  readonly paths: ReadonlySet<string>
  /** Not before this wall-clock time, nor before this monotonic time: a clock that was set says nothing about readers. */
  readonly notBeforeMs: number
  readonly notBeforeMonotonicMs: number
  readonly haveReadersEnded: () => boolean
}

/** Files go at the earliest so long after the commit that has removed their last snapshot. */
const removalDelayMs = 60_000
/** How often all files of a table are compared with what its snapshots name. An orphan goes when it was seen twice. */
const orphanScansPerAge = 24

/**
 * Gives up old snapshots of one table, and removes files that no snapshot names any more. A file goes only when the newest version of the table on
 * the disk, read after everything else, does not name it. What is left behind by a process that ends is removed as an orphan by a later one.
 */
export class Cleaner {
  readonly #options: CleanerOptions
  readonly #named: NamedFiles
  #table: LakeTable
  #doomed: Doomed[] = []
  #orphans: ReadonlySet<string> = new Set()
  #scannedMs: number | undefined

  constructor(options: CleanerOptions) {
    this.#options = options
    this.#table = options.table
    this.#named = new NamedFiles(options.files)
  }

  /** From now on the same table as this object has it. */
  use(table: LakeTable): void {
    this.#table = table
  }

  /** Files that wait for their removal. */
  get waiting(): number {
    return this.#doomed.reduce((sum, { paths }) => sum + paths.size, 0)
  }

  /** Removes the snapshots that the policy gives up from the table, and notes what they needed. Resolves to their number. */
  async expire(snapshots = this.#options.snapshots): Promise<number> {
    const { clock, readersNow } = this.#options
    const table = this.#table
    const expired = await table.expireSnapshots(snapshots)
    const last = expired.at(-1)
    if (last === undefined) return 0
    const haveReadersEnded = readersNow()
    this.#doomed.push({
      paths: await this.#named.of(
        expired.map(({ snapshot }) => snapshot),
        ownSpec(table.metadata),
      ),
      notBeforeMs: last.replacedAtMs + snapshots.ageMsMin,
      notBeforeMonotonicMs: clock.monotonicMs() + Math.min(removalDelayMs, snapshots.ageMsMin),
      haveReadersEnded,
    })
    return expired.length
  }

  /** Removes the files of removed snapshots whose time has come. Resolves to the number of files. */
  async removeExpired(): Promise<number> {
    const { clock } = this.#options
    const isDue = (doomed: Doomed) =>
      clock.nowMs() >= doomed.notBeforeMs &&
      clock.monotonicMs() >= doomed.notBeforeMonotonicMs &&
      doomed.haveReadersEnded()
    const due = this.#doomed.filter(isDue)
    if (due.length === 0) return 0
    const named = await this.#namedNow()
    if (named === undefined) return 0
    // A file of a snapshot that went long ago may be one that a later snapshot has named too, whose time has not come.
    const waiting = this.#doomed.filter((doomed) => !due.includes(doomed))
    const isKept = (path: string) =>
      named.has(path) || waiting.some((doomed) => doomed.paths.has(path))
    let removed = 0
    for (const doomed of due) {
      removed += await this.#remove([...doomed.paths].filter((path) => !isKept(path)))
      this.#doomed = this.#doomed.filter((other) => other !== doomed)
    }
    return removed
  }

  /** Removes old files that nothing names, if it is time to look for them. Resolves to the number of files. */
  async removeOrphans(): Promise<number> {
    const { files, clock, orphanAgeMsMin } = this.#options
    const nowMs = clock.monotonicMs()
    const isEarly =
      this.#scannedMs !== undefined && nowMs - this.#scannedMs < orphanAgeMsMin / orphanScansPerAge
    if (isEarly) return 0
    const paths = await listTableFiles(files, this.#table.folder)
    const named = await this.#namedNow()
    if (named === undefined) return 0
    const found = await orphansAmong(files, paths, named, clock.nowMs() - orphanAgeMsMin)
    const isDoomed = (path: string) => this.#doomed.some((doomed) => doomed.paths.has(path))
    const orphans = new Set([...found].filter((path) => !isDoomed(path)))
    const known = this.#orphans
    this.#orphans = orphans
    this.#scannedMs = nowMs
    return this.#remove([...orphans].filter((path) => known.has(path)))
  }

  /** What the newest version names; undefined while a commit of another writer, or one under way, makes it uncertain which one that is. */
  async #namedNow(): Promise<ReadonlySet<string> | undefined> {
    const { files } = this.#options
    const { metadata, version, folder } = this.#table
    if ((await highestVersion(files, metadataFolder(folder))) !== version) return undefined
    const snapshots = metadata.snapshots ?? []
    const named = await this.#named.of(snapshots, ownSpec(metadata))
    this.#named.forgetAllBut(snapshots)
    return named
  }

  async #remove(paths: readonly string[]): Promise<number> {
    const { files, isInUse } = this.#options
    let removed = 0
    for (const path of paths) {
      // Another engine may have added files that lie elsewhere: they are not ours.
      if (relative(this.#table.folder, path).startsWith('..') || isInUse(path)) continue
      try {
        await files.unlink(path)
        removed++
      } catch (error) {
        if (systemErrorCode(error) !== 'ENOENT') throw error
      }
    }
    return removed
  }
}
