import { execFileSync } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const source = new URL('failing-sync.c', import.meta.url).pathname

/** A library that makes every fsync and fdatasync of the ingest process fail with EIO while a file exists. */
export class FailingSync {
  /** For the processes that are to be tried. */
  readonly environment: Readonly<Record<string, string>>
  readonly #folder: string
  readonly #flag: string

  private constructor(folder: string) {
    this.#folder = folder
    this.#flag = join(folder, 'failing')
    this.environment = {
      LD_PRELOAD: join(folder, 'failing-sync.so'),
      QUESTLOG_TEST_FAILING_SYNC: this.#flag,
    }
  }

  /** Undefined where there is no C compiler, or no LD_PRELOAD. */
  static async build(): Promise<FailingSync | undefined> {
    if (process.platform !== 'linux') return undefined
    const folder = await mkdtemp(join(tmpdir(), 'questlog-failing-sync-'))
    const built = new FailingSync(folder)
    const library = join(folder, 'failing-sync.so')
    try {
      execFileSync('cc', ['-shared', '-fPIC', '-O1', '-o', library, source, '-ldl'], {
        stdio: 'ignore',
      })
      return built
    } catch {
      await rm(folder, { recursive: true, force: true })
      return undefined
    }
  }

  /** The environment with which every sync takes longer by so much. */
  slowedBy(microseconds: number): Readonly<Record<string, string>> {
    return { ...this.environment, QUESTLOG_TEST_SYNC_DELAY_US: String(microseconds) }
  }

  /** From now on every sync fails. */
  async begin(): Promise<void> {
    await writeFile(this.#flag, '')
  }

  async end(): Promise<void> {
    await rm(this.#flag, { force: true })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.#folder, { recursive: true, force: true })
  }
}
