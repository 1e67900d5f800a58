import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { runCommand, runOrThrow, waitFor, type CommandResult } from '../support/commands.ts'
import { repositoryRoot } from '../support/tidy-source.ts'

interface Component {
  readonly name: string
  readonly state: string
  readonly pid: number | null
}

/** What `questlog ps --json` promises, as far as these tests need it. */
export interface Status {
  readonly endpoints: { readonly collector: string | null; readonly sql: string | null }
  readonly components: readonly Component[]
  readonly topics: readonly {
    readonly name: string
    readonly kept: number
    readonly inTables: number
    readonly filtered: number
    readonly deadLetters: number
    readonly unrouted: number
    readonly inFlight: number
  }[]
}

/** A fresh clone of what is committed, with its packages installed, and a data folder beside it. */
export class Checkout {
  readonly folder: string
  readonly data: string
  readonly #parent: string
  readonly #environment: NodeJS.ProcessEnv
  ports = { collector: 0, sql: 0 }

  private constructor(parent: string) {
    this.#parent = parent
    this.folder = join(parent, 'questlog')
    this.data = join(parent, 'data')
    // Settings of the machine that runs the tests must not reach the system under test.
    const foreign = /^(?:QUESTLOG_|VITEST|NODE_ENV$|NODE_OPTIONS$|npm_)/
    const kept = Object.entries(process.env).filter(([name]) => !foreign.test(name))
    this.#environment = { ...Object.fromEntries(kept), XDG_RUNTIME_DIR: parent }
  }

  static async clone(): Promise<Checkout> {
    const checkout = new Checkout(mkdtempSync(join(tmpdir(), 'questlog-acceptance-')))
    const cwd = checkout.#parent
    await runOrThrow(
      'git',
      ['-c', 'safe.directory=*', 'clone', '--quiet', repositoryRoot, checkout.folder],
      { cwd },
    )
    await checkout.run('npm', ['ci', '--no-audit', '--no-fund'])
    return checkout
  }

  /** Runs a program in the checkout; throws when it fails. */
  run(program: string, words: readonly string[]): Promise<string> {
    return runOrThrow(program, words, this.#options(600_000))
  }

  /** Runs `bin/questlog`; throws when it fails. */
  questlog(...words: string[]): Promise<string> {
    return runOrThrow('bin/questlog', words, this.#options(600_000))
  }

  tryQuestlog(...words: string[]): Promise<CommandResult> {
    return runCommand('bin/questlog', words, this.#options(600_000))
  }

  /** `up -d` with the example's definition. */
  up(): Promise<string> {
    const { collector, sql } = this.ports
    return this.questlog(
      'up',
      '-d',
      '--data',
      this.data,
      '--config',
      'examples/w205/questlog.config.ts',
      '--collector-port',
      String(collector),
      '--sql-port',
      String(sql),
      '--broker-port',
      '0',
    )
  }

  async status(): Promise<Status> {
    return JSON.parse(await this.questlog('ps', '--json', '--data', this.data)) as Status // a documented contract
  }

  /** The one value that a statement gives, as text. */
  async ask(statement: string): Promise<string> {
    const [, value = ''] = (await this.csv(statement)).split('\n')
    return value
  }

  csv(statement: string): Promise<string> {
    return this.questlog('sql', '--data', this.data, '-o', 'csv', statement)
  }

  /** Waits for one that is just being started again. */
  pidOf(component: string): Promise<number> {
    return waitFor(`${component} runs`, 120_000, async () => {
      const { components } = await this.status()
      return components.find(({ name }) => name === component)?.pid ?? undefined
    })
  }

  /** Ends a component with -9 and waits until another process has taken its place and answers. */
  async killAndWait(component: string): Promise<void> {
    const before = await this.pidOf(component)
    process.kill(before, 'SIGKILL')
    await waitFor(`${component} is back`, 300_000, async () => {
      const found = (await this.status()).components.find(({ name }) => name === component)
      return (
        found !== undefined &&
        found.state === 'running' &&
        found.pid !== null &&
        found.pid !== before
      )
    })
  }

  edit(path: string, change: (text: string) => string): void {
    const file = join(this.folder, path)
    const before = readFileSync(file, 'utf8')
    const after = change(before)
    if (after === before) throw new Error(`nothing changed in ${path}`)
    writeFileSync(file, after)
  }

  /** Paths of all files in the data folder, from there. */
  dataFiles(): string[] {
    return readdirSync(this.data, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => relative(this.data, join(entry.parentPath, entry.name)))
  }

  /** Ends what still runs and removes everything. */
  async remove(): Promise<void> {
    const { components } = await this.status().catch(() => ({ components: [] as Component[] }))
    if (components.length > 0) await this.tryQuestlog('down', '--data', this.data)
    rmSync(this.#parent, { recursive: true, force: true, maxRetries: 5 })
  }

  #options(timeoutMs: number) {
    return { cwd: this.folder, environment: this.#environment, timeoutMs }
  }
}
