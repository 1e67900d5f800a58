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
    const guard =
      <A extends unknown[], R>(name: string, work: (...args: A) => Promise<R>) =>
      async (...args: A): Promise<R> => {
        this.operations++
        if (this.operations >= this.dieAt)
          throw new Error(`died at operation ${this.operations}: ${name}`)
        const path = args.find((argument) => typeof argument === 'string' && this.refuses(argument))
        if (path !== undefined)
          throw Object.assign(new Error(`EACCES: ${name} ${String(path)}`), { code: 'EACCES' })
        return work(...args)
      }
    this.files = {
      ...realFiles,
      writeNew: guard('writeNew', realFiles.writeNew),
      link: guard('link', realFiles.link),
      rename: guard('rename', realFiles.rename),
      unlink: guard('unlink', realFiles.unlink),
      syncFile: guard('syncFile', realFiles.syncFile),
      syncFolder: guard('syncFolder', realFiles.syncFolder),
      makeFolder: guard('makeFolder', realFiles.makeFolder),
    }
  }

  get dead(): boolean {
    return this.operations >= this.dieAt
  }
}
