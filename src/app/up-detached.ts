import { fork } from 'node:child_process'
import { join } from 'node:path'
import { QuestlogError } from '../core/errors.ts'
import { closeFile, openLogFile, requireWritableFolder } from '../core/host.ts'
import { programPath } from '../core/program.ts'
import { withCertificatesLater } from './certificates.ts'
import { fromPlainError } from './messages.ts'
import {
  checkOptions,
  logBytesMax,
  runLogPath,
  type StartMessage,
  type UpOptions,
} from './up-options.ts'

/** Starts a detached supervisor, waits until it is ready, and answers with its start screen. */
export async function startDetached(options: UpOptions): Promise<readonly string[]> {
  checkOptions(options)
  const log = openRunLog(options.data)
  const child = fork(programPath('supervisor-main', import.meta.url), [], {
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

function openRunLog(data: string): number {
  requireWritableFolder(join(data, 'run'))
  return openLogFile(runLogPath(data), logBytesMax)
}
