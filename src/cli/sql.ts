import type { Clock } from '../core/clock.ts'
import { asQuestlogError, errorCatalog, QuestlogError, type ErrorCode } from '../core/errors.ts'
import { SqlError } from '../sql/sql-error.ts'
import { askSql, type AnswerLine, type AnswerStats } from './sql-client.ts'
import { startOutput, type ResultOutput, type SqlOutput } from './sql-output.ts'
import { displayWidth, type Write } from './table-output.ts'

export interface RunSqlOptions {
  /** `http://127.0.0.1:<port>` of the SQL port. */
  readonly endpoint: string
  readonly sql: string
  readonly output: SqlOutput
  /** Answer at once, without waiting for what was answered before. */
  readonly stale: boolean
  readonly write: Write
  readonly writeError: (text: string) => void
  /** Aborting it cancels the statement. */
  readonly signal: AbortSignal
  /** Whether the supervisor lives: then a process that does not answer is about to be started again, and it is asked again. */
  readonly isSupervised: () => boolean
  readonly clock: Clock
}

const patienceMs = 15_000
const askAgainMs = 100

/** `askSql`, asked again as long as nothing has come and the process that should answer is being started. */
async function* askPatiently(options: RunSqlOptions): AsyncGenerator<AnswerLine> {
  const endMs = options.clock.monotonicMs() + patienceMs
  for (;;) {
    let hasBegun = false
    try {
      for await (const line of askSql(options)) {
        hasBegun = true
        yield line
      }
      return
    } catch (error) {
      const isAway = error instanceof QuestlogError && awayCodes.has(error.code)
      if (!isAway || hasBegun || options.clock.monotonicMs() > endMs || !options.isSupervised())
        throw error
      await options.clock.sleep(askAgainMs, options.signal)
    }
  }
}

const awayCodes: ReadonlySet<ErrorCode> = new Set(['NOT_RUNNING', 'SHUTTING_DOWN'])

/** Runs a script on the SQL endpoint and prints its results. Resolves with the exit code: 0, 1 for a failed statement, 4 when nothing answers, 130 when it was cancelled. */
export async function runSql(options: RunSqlOptions): Promise<number> {
  const { output: form, write } = options
  let output: ResultOutput | undefined
  try {
    for await (const line of askPatiently(options)) {
      if ('columns' in line) output = await startOutput(form, line.columns, write)
      else if ('rows' in line) await output?.add(line.rows)
      else {
        await output?.end()
        if (form === 'table') await write(`${statsLine(line.stats)}\n`)
      }
    }
    return 0
  } catch (error) {
    const known = asQuestlogError(error)
    options.writeError(formatSqlError(known, options.sql))
    if (options.signal.aborted) return 130
    return known.code === 'NOT_RUNNING' ? 4 : 1
  }
}

function statsLine({ elapsedMs, stale }: AnswerStats): string {
  const time =
    elapsedMs < 1000 ? `${Math.round(elapsedMs)} ms` : `${(elapsedMs / 1000).toFixed(2)} s`
  return stale
    ? `${time} · stale: the latest answers may be missing`
    : `${time} · everything answered before this statement is included`
}

/** An error as lines for the terminal: what, where in the statement, what may have been meant, what to do. */
export function formatSqlError(error: QuestlogError, sql: string): string {
  const { place, suggestions } =
    error instanceof SqlError ? error : { place: undefined, suggestions: [] }
  const where = place === undefined ? '' : `line ${place.line}:${place.column}: `
  const lines = [`error[${error.code}]: ${where}${error.message}`]
  const text = place === undefined ? undefined : sql.split('\n')[place.line - 1]
  if (place !== undefined && text !== undefined) lines.push(...pointAt(text, place.column))
  if (suggestions.length > 0) lines.push(`  did you mean ${suggestions.join(' or ')}?`)
  // The general advice for a wrong statement says nothing that the lines above do not.
  const isObvious = error.code === 'SQL_INVALID' && error.hint === errorCatalog.SQL_INVALID.hint
  if (!isObvious) lines.push(`  ${error.hint}`)
  return `${lines.join('\n')}\n`
}

const excerptWidth = 100

/** The line and a caret under its column; of a long line only what is near. */
function pointAt(line: string, column: number): string[] {
  const characters = Array.from(line.replaceAll(/\p{Cc}/gu, ' '))
  const index = Math.min(column - 1, characters.length)
  const start = Math.max(0, Math.min(index - excerptWidth / 2, characters.length - excerptWidth))
  const shown = characters.slice(start, start + excerptWidth).join('')
  const before = characters.slice(start, index).join('')
  return [`  ${shown}`, `  ${' '.repeat(displayWidth(before))}^`]
}
