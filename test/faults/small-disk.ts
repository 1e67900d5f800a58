import { execFileSync } from 'node:child_process'
import { mkdtemp, rmdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** A real file system of a few megabytes in memory, mounted for one test. Only root may mount, and not in every container. */
export class SmallDisk {
  readonly folder: string

  private constructor(folder: string) {
    this.folder = folder
  }

  /** Undefined where mounting is not permitted. */
  static async mount(mebibytes: number): Promise<SmallDisk | undefined> {
    const folder = await mkdtemp(join(tmpdir(), 'questlog-disk-'))
    try {
      mount('-t', 'tmpfs', '-o', `size=${mebibytes}m`, 'tmpfs', folder)
      return new SmallDisk(folder)
    } catch {
      await rmdir(folder)
      return undefined
    }
  }

  /** Makes room, as deleting files or a larger volume does. */
  resize(mebibytes: number): void {
    mount('-o', `remount,size=${mebibytes}m`, this.folder)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Lazily: a process that is just ending may hold a file for a moment.
    execFileSync('umount', ['-l', this.folder])
    await rmdir(this.folder)
  }
}

function mount(...words: string[]): void {
  execFileSync('mount', words, { stdio: 'ignore' })
}
