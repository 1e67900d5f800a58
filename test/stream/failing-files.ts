import { realFiles, type Files } from '../../src/core/files.ts'

/** The machine's file system, with an operation that fails: once the given one is reached, every change fails, as after the death of the process. */
export class FailingFiles {
  /** Changes that were made so far. */
  operations = 0
  /** The change at which the process dies; what is done before it stays done. */
  dieAt = Number.POSITIVE_INFINITY
  /** Paths whose changes fail while this returns true. */
  refuses: (path: string) => boolean = () => false
  readonly files: Files

  constructor() {
    const guard = async <R>(path: string, work: () => Promise<R>): Promise<R> => {
      this.operations++
      if (this.operations >= this.dieAt)
        throw new Error(`died at operation ${this.operations}: ${path}`)
      if (this.refuses(path)) throw Object.assign(new Error(`EACCES: ${path}`), { code: 'EACCES' })
      return work()
    }
    this.files = {
      ...realFiles,
      writeNew: (path, bytes, named) => guard(path, () => realFiles.writeNew(path, bytes, named)),
      link: (existing, path) => guard(path, () => realFiles.link(existing, path)),
      rename: (from, to) => guard(to, () => realFiles.rename(from, to)),
      unlink: (path) => guard(path, () => realFiles.unlink(path)),
      syncFile: (path) => guard(path, () => realFiles.syncFile(path)),
      syncFolder: (path) => guard(path, () => realFiles.syncFolder(path)),
      makeFolder: (path) => guard(path, () => realFiles.makeFolder(path)),
    }
  }

  get dead(): boolean {
    return this.operations >= this.dieAt
  }
}
