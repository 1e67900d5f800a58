import { join } from 'node:path'
import { realClock } from '../core/clock.ts'
import { realFiles } from '../core/files.ts'
import { createLineWriter, exists, openLogFile, type LineWriter } from '../core/host.ts'
import { createLogger, type Logger } from '../core/logger.ts'
import { programPath } from '../core/program.ts'
import { toPlainError } from './messages.ts'
import { planDefinitions } from './plan-definitions.ts'
import { startScreen } from './screen.ts'
import { startSupervisor, type Supervisor } from './supervisor.ts'
import {
  checkOptions,
  logBytesMax,
  runLogPath,
  type StartMessage,
  type UpOptions,
} from './up-options.ts'

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
    roleEntry: (role) => programPath('role-main', import.meta.url, role),
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
