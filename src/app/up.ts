import { fork } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { realClock } from '../core/clock.ts'
import { QuestlogError } from '../core/errors.ts'
import { realFiles } from '../core/files.ts'
import {
  closeFile,
  createLineWriter,
  exists,
  openLogFile,
  readTextIfThere,
  requireWritableFolder,
  type LineWriter,
} from '../core/host.ts'
import { createLogger, type Logger } from '../core/logger.ts'
import { withCertificatesLater } from './certificates.ts'
import { fromPlainError, toPlainError } from './messages.ts'
import { planDefinitions } from './plan-definitions.ts'
import type { Address, PlainError, RoleName } from './roles.ts'
import { startScreen } from './screen.ts'
import { startSupervisor, type Supervisor } from './supervisor.ts'

const logBytesMax = 8 * 1024 * 1024

/** What `questlog up` was asked for. Plain data: it crosses to the detached process as JSON. */
export interface UpOptions {
  /** Absolute paths. */
  readonly data: string
  readonly config: string
  readonly cwd: string
  readonly host: string
  readonly insecure: boolean
  readonly collectorPort: number
  readonly brokerPort: number
  readonly sqlPort: number
  /** What Kafka clients are told to connect to; null = the address that they have reached. */
  readonly advertised: Address | null
  readonly roles: readonly RoleName[]
  readonly repair: boolean
  readonly version: string
}

/** A detached `up` tells how its start ended with one message. */
type StartMessage = { readonly started: readonly string[] } | { readonly failed: PlainError }

/** Runs until Ctrl-C, SIGTERM or `questlog down`. Resolves to the exit code. */
export async function runForeground(options: UpOptions): Promise<number> {
  checkOptions(options)
  const writer = createLineWriter(1)
  const write = (line: string) => writer.line(line)
  const log = openSupervisorLog(options.data)
  const supervisor = await start(options, {
    accessLog: true,
    screen: (text) => write(` * ${text}`),
    logger: log.logger,
  })
  for (const line of await describeStart(options, supervisor, false)) write(line)
  supervisor.onStopLine(write)
  const onSignal = stopOnSignals(supervisor, () => write(''))
  await supervisor.done
  await Promise.all([writer.flush(), log.flush()])
  return onSignal.exitCode
}

/** Starts a detached supervisor, waits until it is ready, and answers with its start screen. */
export async function startDetached(options: UpOptions): Promise<readonly string[]> {
  checkOptions(options)
  const log = openRunLog(options.data)
  const child = fork(fileURLToPath(new URL('./supervisor-main.js', import.meta.url)), [], {
    detached: true,
    cwd: options.cwd,
    stdio: ['ignore', log, log, 'ipc'],
    env: { ...withCertificatesLater(process.env), QUESTLOG_UP: JSON.stringify(options) },
  })
  closeFile(log)
  const message = await new Promise<StartMessage>((resolve, reject) => {
    child.once('message', (first) => resolve(first as StartMessage)) // runDetached sends nothing else
    child.once('error', reject)
    child.once('exit', (code, signal) =>
      reject(
        new QuestlogError(
          'INTERNAL',
          `the supervisor ended while it was starting (${signal ?? code})`,
          {},
          {
            hint: `see ${runLogPath(options.data)}`,
          },
        ),
      ),
    )
  })
  if (child.connected) child.disconnect()
  child.unref()
  if ('failed' in message) throw fromPlainError(message.failed)
  return message.started
}

/** The life of the detached supervisor. */
export async function runDetached(options: UpOptions): Promise<void> {
  process.title = 'questlog supervisor'
  const log = openSupervisorLog(options.data)
  const tell = (message: StartMessage) =>
    new Promise<void>((resolve) => {
      if (process.connected) process.send?.(message, undefined, undefined, () => resolve())
      else resolve()
    })
  try {
    const supervisor = await start(options, { ...log, accessLog: false, screen: () => {} })
    stopOnSignals(supervisor, () => {})
    await tell({ started: await describeStart(options, supervisor, true) })
    if (process.connected) process.disconnect()
    await supervisor.done
    await log.flush()
    process.exit(0)
  } catch (error) {
    await tell({ failed: toPlainError(error) })
    process.exit(1)
  }
}

function start(
  options: UpOptions,
  view: { accessLog: boolean; screen: (text: string) => void; logger: Logger },
): Promise<Supervisor> {
  const { data, config } = options
  return startSupervisor({
    ...options,
    accessLog: view.accessLog,
    screen: view.screen,
    roleEntry: fileURLToPath(new URL('./role-main.js', import.meta.url)),
    definitions: planDefinitions(realFiles, data, config, view.screen),
    clock: realClock,
    files: realFiles,
    logger: view.logger,
    environment: process.env,
  })
}

/** Lines of `run/supervisor.log`. The folder is made by the start; what comes before it has nowhere to go. */
function openSupervisorLog(data: string): { logger: Logger; flush: () => Promise<void> } {
  let writer: LineWriter | undefined
  const logger = createLogger(
    'supervisor',
    () => realClock.nowMs(),
    (line) => {
      if (!exists(join(data, 'run'))) return
      writer ??= createLineWriter(openLogFile(runLogPath(data), logBytesMax))
      writer.line(line)
    },
  )
  return { logger, flush: async () => writer?.flush() }
}

async function describeStart(
  options: UpOptions,
  supervisor: Supervisor,
  detached: boolean,
): Promise<readonly string[]> {
  const { definition, definitionVersion, endpoints } = supervisor
  if (definition === undefined) return []
  const kept = await supervisor.countOnLog()
  return startScreen({ ...options, definition, definitionVersion, kept, endpoints, detached })
}

/** The first signal drains, a second one ends everything at once. */
function stopOnSignals(
  supervisor: Supervisor,
  stopping: () => void,
): { readonly exitCode: number } {
  const result = { exitCode: 0 }
  let signals = 0
  const onSignal = () => {
    signals++
    if (signals === 1) {
      stopping()
      void supervisor.stop()
      return
    }
    result.exitCode = 130
    supervisor.killNow()
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, onSignal)
  return result
}

function checkOptions({ host, insecure, data, config }: UpOptions): void {
  if (!isLoopback(host) && !insecure)
    throw new QuestlogError(
      'HOST_REFUSED',
      `${host} can be reached from other machines, and nothing on these ports asks for a password`,
      { host },
    )
  if (readTextIfThere(config) === undefined)
    throw new QuestlogError(
      'DEFINITION_INVALID',
      `there is no definition file ${config}`,
      { file: config },
      { hint: 'write one with `questlog init`, or name yours with --config FILE' },
    )
  try {
    requireWritableFolder(data)
  } catch (error) {
    throw new QuestlogError(
      'DATA_UNUSABLE',
      `the data folder ${data} can't be written: ${error instanceof Error ? error.message : String(error)}`,
      { data },
      { cause: error },
    )
  }
}

/** 127.0.0.0/8, ::1 and localhost. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(?:\.\d{1,3}){3}$/.test(host)
}

function runLogPath(data: string): string {
  return join(data, 'run', 'supervisor.log')
}

function openRunLog(data: string): number {
  requireWritableFolder(join(data, 'run'))
  return openLogFile(runLogPath(data), logBytesMax)
}
