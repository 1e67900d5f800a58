import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { fetchStatus } from '../app/control-client.ts'
import { readInstances } from '../app/instance.ts'
import { QuestlogError } from '../core/errors.ts'
import { makeTemporaryFolder, removeFolder } from '../core/host.ts'
import type { PsJson } from './ps-format.ts'

const cli = fileURLToPath(new URL('./main.js', import.meta.url))
const exampleConfig = fileURLToPath(
  new URL('../../examples/w205/questlog.config.ts', import.meta.url),
)

/** The two processes that are ended by the demo, and come back. */
export interface Processes {
  readonly ingest: number
  readonly lake: number
}

/** A questlog of the demo's own, run by the real commands on free ports in a temporary data folder. */
export class DemoInstance {
  readonly data: string
  readonly collector: string
  readonly sql: string

  private constructor(data: string, endpoints: { collector: string; sql: string }) {
    this.data = data
    this.collector = endpoints.collector
    this.sql = endpoints.sql
  }

  /** `questlog up -d`. When it fails, nothing is left behind. */
  static async start(): Promise<DemoInstance> {
    const data = makeTemporaryFolder('questlog-demo-')
    try {
      await runCommand(
        ['up', '-d', '--config', exampleConfig, '--data', data].concat(
          ['collector', 'broker', 'sql'].map((name) => `--${name}-port=0`),
        ),
      )
      const { endpoints } = await readPs(data)
      const { collector, sql } = endpoints
      if (collector === null || sql === null)
        throw new QuestlogError('INTERNAL', '`questlog ps --json` names no collector or no sql')
      return new DemoInstance(data, { collector, sql })
    } catch (error) {
      await stop(data)
      removeFolder(data)
      throw error
    }
  }

  /** The pids of both processes by `questlog ps --json`; undefined while one of them is away. NOT_RUNNING when the supervisor is gone. */
  async processes(): Promise<Processes | undefined> {
    const { components } = await readPs(this.data)
    if (components.length === 0)
      throw new QuestlogError('NOT_RUNNING', `the supervisor of ${this.data} has ended`)
    return findProcesses(components)
  }

  /** The same, cheap enough to be asked twice a second. */
  async look(): Promise<Processes | 'away' | 'stopped'> {
    const [instance] = readInstances(this.data)
    if (instance === undefined) return 'stopped'
    try {
      return findProcesses((await fetchStatus(instance)).components) ?? 'away'
    } catch {
      return 'away'
    }
  }

  /** `questlog down`; may be called again. */
  async stop(): Promise<void> {
    await stop(this.data)
  }

  removeData(): void {
    removeFolder(this.data)
  }
}

function findProcesses(components: PsJson['components']): Processes | undefined {
  const pid = (name: string) =>
    components.find((part) => part.name === name && part.state === 'running')?.pid ?? undefined
  const [ingest, lake] = [pid('ingest'), pid('lake')]
  return ingest === undefined || lake === undefined ? undefined : { ingest, lake }
}

/** A supervisor that does not stop when it is asked is ended: its processes end with it. */
async function stop(data: string): Promise<void> {
  const running = readInstances(data)
  if (running.length === 0) return
  try {
    await runCommand(['down', '--data', data])
  } catch (error) {
    for (const { pid } of readInstances(data)) process.kill(pid, 'SIGKILL')
    throw error
  }
}

async function readPs(data: string): Promise<PsJson> {
  return JSON.parse(await runCommand(['ps', '--json', '--data', data])) as PsJson // its documented form
}

/** Runs one command of the CLI in a process of its own, which Ctrl-C does not reach; answers with its standard output. */
function runCommand(words: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [cli, ...words], {
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    })
    let output = ''
    let complaints = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text))
    child.stderr.setEncoding('utf8').on('data', (text: string) => (complaints += text))
    child.once('error', reject)
    child.once('close', (code, signal) => {
      if (code === 0) return resolve(output)
      const command = `questlog ${words.join(' ')}`
      const said = complaints.trim() === '' ? '' : `\n${complaints.trim()}`
      reject(new QuestlogError('INTERNAL', `\`${command}\` ended with ${signal ?? code}${said}`))
    })
  })
}
