import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { Agent, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { waitFor } from './commands.ts'

const run = promisify(execFile)
const repository = new URL('../..', import.meta.url).pathname

export interface CommandResult {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** Runs `bin/questlog` with these arguments to its end. */
export async function questlog(...args: string[]): Promise<CommandResult> {
  return questlogIn({}, ...args)
}

/** The same, with more in its environment: settings, a library to load. */
async function questlogIn(
  environment: Readonly<Record<string, string>>,
  ...args: string[]
): Promise<CommandResult> {
  try {
    const { stdout, stderr } = await run(
      process.execPath,
      [join(repository, 'bin/questlog'), ...args],
      { maxBuffer: 64 * 1024 * 1024, env: { ...process.env, ...environment } },
    )
    return { code: 0, stdout, stderr }
  } catch (error) {
    const failed = error as { code?: number; stdout?: string; stderr?: string } // what execFile rejects with
    return {
      code: typeof failed.code === 'number' ? failed.code : 1,
      stdout: failed.stdout ?? '',
      stderr: failed.stderr ?? String(error),
    }
  }
}

/** What `ps --json` answers: docs/reference/cli.md. */
export interface Status {
  readonly endpoints: {
    readonly collector: string
    readonly broker: string | null
    readonly sql: string
  }
  readonly components: readonly {
    readonly name: string
    readonly state: string
    readonly pid: number | null
    readonly uptimeMs: number
  }[]
  readonly topics: readonly {
    readonly name: string
    readonly kept: number
    readonly inTables: number
    readonly filtered: number
    readonly deadLetters: number
    readonly unrouted: number
    readonly inFlight: number
    readonly removed: number
  }[]
}

export interface Answer {
  readonly status: number
  readonly receipt: string | undefined
  readonly retryAfter: string | undefined
  readonly body: string
}

export interface InstanceOptions {
  /** A folder for the data that is there already and stays; a temporary one is made and removed. */
  readonly folder?: string
  /** Added to the environment of the processes. */
  readonly environment?: Readonly<Record<string, string>>
}

/** A real instance on free ports in a temporary data folder, commanded as a person would. */
export class Instance {
  readonly data: string
  readonly config: string
  endpoints: Status['endpoints'] = { collector: '', broker: null, sql: '' }
  // A connection that was idle for two seconds is not used again: the collector closes it after five, and a request may just be on its way then.
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 32, timeout: 2_000 })
  readonly #environment: Readonly<Record<string, string>>
  readonly #temporary: string | undefined

  private constructor(config: string, { folder, environment = {} }: InstanceOptions, own?: string) {
    this.data = join(folder ?? own ?? '', 'data')
    this.config = config
    this.#environment = environment
    this.#temporary = own
  }

  static async start(
    config = join(repository, 'examples/w205/questlog.config.ts'),
    options: InstanceOptions = {},
  ): Promise<Instance> {
    const own =
      options.folder === undefined ? await mkdtemp(join(tmpdir(), 'questlog-e2e-')) : undefined
    const instance = new Instance(config, options, own)
    await instance.up()
    return instance
  }

  /** Starts it, on the same ports as before if it ran before. */
  async up(...more: readonly string[]): Promise<void> {
    const port = (address: string) => (address === '' ? '0' : new URL(address).port)
    const { collector, broker, sql } = this.endpoints
    const ports = ['--collector-port', port(collector), '--sql-port', port(sql)]
    ports.push('--broker-port', broker?.split(':').at(-1) ?? '0')
    const result = await questlogIn(
      this.#environment,
      'up',
      '-d',
      '--data',
      this.data,
      '--config',
      this.config,
      ...ports,
      ...more,
    )
    if (result.code !== 0) throw new Error(`up failed: ${result.stdout}${result.stderr}`)
    this.endpoints = (await this.status()).endpoints
  }

  async status(): Promise<Status> {
    const result = await questlog('ps', '--json', '--data', this.data)
    if (result.code !== 0) throw new Error(`ps failed: ${result.stderr}`)
    return JSON.parse(result.stdout) as Status
  }

  /** Waits for one that is just being started again. */
  pid(component: string): Promise<number> {
    return waitFor(`${component} runs`, 120_000, async () => {
      const { components } = await this.status()
      return components.find(({ name }) => name === component)?.pid ?? undefined
    })
  }

  /** Figures of the topics, which come from lake: it may be away or busy for a moment. */
  topics(): Promise<Status['topics']> {
    return waitFor('lake gives figures', 120_000, async () => {
      const { topics } = await this.status()
      return topics.length > 0 && topics
    })
  }

  /** Ends a component as a power cut would: without a chance to do anything. */
  async kill(component: string): Promise<void> {
    process.kill(await this.pid(component), 'SIGKILL')
  }

  /** One request to the collector. Rejects when no answer comes. */
  send(
    path: string,
    options: { method?: string; headers?: Record<string, string>; body?: string } = {},
  ): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const outgoing = request(
        new URL(path, this.endpoints.collector),
        { method: options.method ?? 'GET', headers: options.headers ?? {}, agent: this.#agent },
        (response) => {
          const parts: Buffer[] = []
          response.on('data', (part: Buffer) => parts.push(part))
          response.on('error', reject)
          response.on('end', () => {
            const receipt = response.headers['questlog-receipt']
            resolve({
              status: response.statusCode ?? 0,
              receipt: typeof receipt === 'string' ? receipt : undefined,
              retryAfter: response.headers['retry-after'],
              body: Buffer.concat(parts).toString(),
            })
          })
        },
      )
      outgoing.on('error', reject)
      outgoing.end(options.body)
    })
  }

  /** Rows of a statement over `POST /sql`. Asks again while the process is away or catching up. */
  async sql(statement: string): Promise<unknown[][]> {
    for (;;) {
      const lines = await fetch(new URL('/sql', this.endpoints.sql), {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ sql: statement }),
      })
        .then((response) => response.text())
        .then((text) =>
          text
            .trim()
            .split('\n')
            .map(
              (line) =>
                JSON.parse(line) as {
                  rows?: unknown[][]
                  error?: { code: string; message: string }
                  stats?: object
                },
            ),
        )
        .catch(() => [])
      const error = lines.find((line) => line.error !== undefined)?.error
      if (error !== undefined && error.code !== 'CATCHING_UP')
        throw new Error(`${error.code}: ${error.message}`)
      if (lines.some((line) => line.stats !== undefined))
        return lines.flatMap((line) => line.rows ?? [])
    }
  }

  /** What `questlog ps` shows to a person. */
  async ps(): Promise<string> {
    return (await questlog('ps', '--data', this.data)).stdout
  }

  async audit(): Promise<CommandResult> {
    return questlog('audit', '--data', this.data)
  }

  async down(): Promise<CommandResult> {
    return questlog('down', '--data', this.data)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#agent.destroy()
    await this.down()
    if (this.#temporary !== undefined) await rm(this.#temporary, { recursive: true, force: true })
  }
}
