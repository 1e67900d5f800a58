import { spawn, type ChildProcess } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs'
import { get } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { fetchStatus } from '../src/app/control-client.ts'
import { readInstances } from '../src/app/instance.ts'
import type { InstanceStatus } from '../src/app/roles.ts'
import { realClock } from '../src/core/clock.ts'
import { realFiles } from '../src/core/files.ts'
import { openTable, type LakeTable } from '../src/lake/table.ts'
import { atEnd, endWithBenchmark, memoryOf, waitFor } from './processes.ts'

const cli = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url))
export const exampleConfig = fileURLToPath(
  new URL('../examples/w205/questlog.config.ts', import.meta.url),
)

const startTimeoutMs = 30_000

export const componentNames = ['supervisor', 'ingest', 'lake'] as const
export type ComponentName = (typeof componentNames)[number]

export interface InstanceOptions {
  /** Path of a definition, or its text. */
  readonly config: string
  /** In the foreground with a line a request, into a file; otherwise `up -d`, without. */
  readonly accessLog?: boolean
}

/** A questlog of its own in a temporary folder on free ports, run by the real command. */
export class BenchInstance {
  readonly data: string
  readonly #folder: string
  readonly #config: string
  readonly #accessLog: boolean
  #ports = { collector: 0, sql: 0 }
  #pids = new Map<string, number>()
  readonly #withdraw: () => void

  /** Nothing is started yet: what lies in `data` before `up` is found by it. */
  constructor(options: InstanceOptions) {
    this.#folder = mkdtempSync(join(tmpdir(), 'questlog-bench-'))
    this.data = join(this.#folder, 'data')
    this.#accessLog = options.accessLog === true
    this.#config = options.config
    if (options.config.includes('\n')) {
      this.#config = join(this.#folder, 'questlog.config.ts')
      writeFileSync(this.#config, options.config)
    }
    this.#withdraw = atEnd(() => this.remove())
  }

  static async start(options: InstanceOptions): Promise<BenchInstance> {
    const instance = new BenchInstance(options)
    await instance.up()
    return instance
  }

  get collectorPort(): number {
    return this.#ports.collector
  }

  get sqlPort(): number {
    return this.#ports.sql
  }

  get brokerPort(): number {
    const broker = readInstances(this.data)[0]?.endpoints.broker
    return Number(broker?.split(':').at(-1))
  }

  /** Process ids as of the last `up`. */
  pid(name: ComponentName): number {
    const pid = this.#pids.get(name)
    if (pid === undefined) throw new Error(`${name} does not run`)
    return pid
  }

  /**
   * Starts it, on the ports of its last run. Resolves when collector and SQL both say that they are ready: to the time since the command
   * was given, milliseconds.
   */
  async up(): Promise<number> {
    const { collector, sql } = this.#ports
    const words = ['up', '--config', this.#config, '--data', this.data]
    words.push(`--collector-port=${collector}`, `--sql-port=${sql}`, '--broker-port=0')
    const output = openSync(join(this.#folder, 'output'), 'a')
    const startMs = performance.now()
    const child = spawn(process.execPath, [cli, ...words, ...(this.#accessLog ? [] : ['-d'])], {
      stdio: ['ignore', output, output],
    })
    closeSync(output)
    endWithBenchmark(child)
    const failed = new Promise<never>((_resolve, reject) => {
      child.once('exit', (code) => {
        if (code !== 0) reject(new Error(`questlog up ended with ${code}: see ${this.#folder}`))
      })
    })
    const ready = this.#ready(collector === 0)
    await Promise.race([ready, failed])
    const elapsedMs = performance.now() - startMs
    await this.#ended(child)
    const { components } = await this.status()
    this.#pids = new Map(components.map(({ name, pid }) => [name, pid ?? 0]))
    return elapsedMs
  }

  /** `up -d` returns when all is ready; the foreground stays. */
  async #ended(child: ChildProcess): Promise<void> {
    if (this.#accessLog || child.exitCode !== null) return
    await new Promise<void>((resolve) => {
      child.once('exit', () => resolve())
    })
  }

  async #ready(portsAreNew: boolean): Promise<void> {
    if (portsAreNew)
      this.#ports = await waitFor('the ports', startTimeoutMs, async () => {
        const { collector, sql } = readInstances(this.data)[0]?.endpoints ?? nowhere
        if (collector === null || sql === null) return undefined
        return { collector: portOf(collector), sql: portOf(sql) }
      })
    for (const port of [this.#ports.collector, this.#ports.sql])
      await waitFor(
        'the start',
        startTimeoutMs,
        async () => ((await fetchCode(port, '/_questlog/ready')) === 200 ? true : undefined),
        5,
      )
  }

  async status(): Promise<InstanceStatus> {
    const [instance] = readInstances(this.data)
    if (instance === undefined) throw new Error('questlog does not run')
    return fetchStatus(instance)
  }

  /** Resolves when every answered event is in its tables. */
  async level(timeoutMs = 60_000): Promise<void> {
    await waitFor('level tables', timeoutMs, async () => {
      const { topics, tables } = await this.status()
      const isLevel =
        topics.every((topic) => topic.inFlight === 0) &&
        tables.every((table) => table.lagRecords === 0)
      return isLevel ? true : undefined
    })
  }

  /** Bytes of log that wait for the tables. */
  async backlogBytes(): Promise<number> {
    const response = await fetch(`http://127.0.0.1:${this.collectorPort}/_questlog/metrics`)
    const value = /^questlog_backlog_bytes (\S+)$/m.exec(await response.text())?.[1]
    return Number(value)
  }

  /** Memory of the processes now, bytes. */
  memory(): Record<ComponentName, { resident: number; proportional: number }> {
    const of = (name: ComponentName) => {
      const memory = memoryOf(this.pid(name))
      return {
        resident: memory?.residentBytes ?? Number.NaN,
        proportional: memory?.proportionalBytes ?? Number.NaN,
      }
    }
    return { supervisor: of('supervisor'), ingest: of('ingest'), lake: of('lake') }
  }

  /** `questlog down`. */
  async down(): Promise<void> {
    const child = spawn(process.execPath, [cli, 'down', '--data', this.data], { stdio: 'ignore' })
    await new Promise((resolve) => {
      child.once('exit', resolve)
    })
  }

  /** Ends all three processes with -9, the supervisor first, so that it starts nothing again. */
  async kill(): Promise<void> {
    for (const name of componentNames) killIfThere(this.pid(name))
    await waitFor('the end of the processes', 10_000, async () =>
      componentNames.some((name) => memoryOf(this.pid(name)) !== undefined) ? undefined : true,
    )
  }

  /** A table of the lake, as it is on the disk. */
  async openTable(name: string): Promise<LakeTable> {
    const lakeFolder = join(this.data, 'lake')
    const table = await openTable({
      files: realFiles,
      clock: realClock,
      lakeFolder,
      namespace: 'default',
      name,
    })
    if (table === undefined) throw new Error(`there is no table ${name}`)
    return table
  }

  /** Stops it and removes its data. */
  async remove(): Promise<void> {
    this.#withdraw()
    if (readInstances(this.data).length > 0) await this.down()
    for (const { pid } of readInstances(this.data)) killIfThere(pid)
    rmSync(this.#folder, { recursive: true, force: true })
  }
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It has ended by itself.
  }
}

const nowhere = { collector: null, sql: null }

const portOf = (address: string) => Number(new URL(address).port)

/** The status that a GET is answered with; undefined when nothing answers. */
function fetchCode(port: number, path: string): Promise<number | undefined> {
  return new Promise((resolve) => {
    get({ host: '127.0.0.1', port, path, agent: false }, (response) => {
      response.resume()
      resolve(response.statusCode)
    }).once('error', () => resolve(undefined))
  })
}
