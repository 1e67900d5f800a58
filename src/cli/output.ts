import { asQuestlogError, type ErrorCode, type QuestlogError } from '../core/errors.ts'

/** Exit codes of every command. docs/reference/cli.md lists the same. */
export const exitCodes = {
  ok: 0,
  failed: 1,
  usage: 2,
  definitionInvalid: 3,
  notRunning: 4,
  interrupted: 130,
} as const

const codeOfError: Partial<Record<ErrorCode, number>> = {
  USAGE: exitCodes.usage,
  HOST_REFUSED: exitCodes.usage,
  DEFINITION_INVALID: exitCodes.definitionInvalid,
  SETTING_INVALID: exitCodes.definitionInvalid,
  EVOLUTION_REFUSED: exitCodes.definitionInvalid,
  NOT_RUNNING: exitCodes.notRunning,
}

export function exitCodeOf(error: QuestlogError): number {
  return codeOfError[error.code] ?? exitCodes.failed
}

/** Data goes to standard output. */
export function printLine(line: string): void {
  process.stdout.write(`${line}\n`)
}

export function printLines(lines: readonly string[]): void {
  if (lines.length > 0) process.stdout.write(`${lines.join('\n')}\n`)
}

/** Waits while whoever reads our output is slow. */
export function writeOut(data: string | Uint8Array): Promise<void> {
  return new Promise((resolve) => {
    if (process.stdout.write(data)) resolve()
    else process.stdout.once('drain', resolve)
  })
}

/** Words about the work go to standard error. */
export function printWord(line: string): void {
  process.stderr.write(`${line}\n`)
}

/** `error[CODE]: message`, then what to do. */
export function formatError(error: unknown): string {
  const { code, message, hint, cause } = asQuestlogError(error)
  const stack = code === 'INTERNAL' && cause instanceof Error ? `\n${cause.stack ?? ''}` : ''
  return `error[${code}]: ${message}\n  ${hint}${stack}`
}

/** A reader that went away (`| head`) is no error: the command ends quietly. */
export function endQuietlyOnClosedPipe(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      process.exit(error.code === 'EPIPE' ? exitCodes.ok : exitCodes.failed)
    })
  }
}
