import { request, type IncomingMessage } from 'node:http'
import { parse as parseLossless } from 'lossless-json'
import { errorCatalog, QuestlogError, systemErrorCode, type ErrorCode } from '../core/errors.ts'
import { SqlError, type SqlErrorReport } from '../sql/sql-error.ts'
import { NumberCell, type Cell, type OutputColumn } from './table-output.ts'

/** A line of the answer of `POST /sql`; `error` lines are thrown. */
export type AnswerLine =
  | { readonly columns: readonly OutputColumn[] }
  | { readonly rows: readonly (readonly Cell[])[] }
  | { readonly stats: AnswerStats }

export interface AnswerStats {
  readonly rows: number
  readonly elapsedMs: number
  readonly waitedMs: number
  readonly stale: boolean
}

/**
 * Sends a script to the SQL endpoint and gives its answer line by line, no faster than they are taken.
 * Throws NOT_RUNNING when nothing answers or the answer breaks off, SQL_CANCELLED when the signal aborts, and what the endpoint answers.
 */
export async function* askSql(options: {
  readonly endpoint: string
  readonly sql: string
  readonly stale: boolean
  readonly signal: AbortSignal
}): AsyncGenerator<AnswerLine> {
  const { endpoint, sql, stale, signal } = options
  let isOver = false
  try {
    const response = await send(endpoint, JSON.stringify({ sql, stale }), signal)
    const isOurs = /json/.test(response.headers['content-type'] ?? '')
    for await (const line of readLines(response)) {
      if (!isOurs) throw foreignAnswer(endpoint)
      const value = parseLine(line)
      if (typeof value['error'] === 'object' && value['error'] !== null)
        throw readError(value['error'] as SqlErrorReport) // the endpoint's own form
      if (response.statusCode !== 200) throw foreignAnswer(endpoint)
      isOver = 'stats' in value
      yield value as unknown as AnswerLine // the endpoint's own form
    }
  } catch (error) {
    if (signal.aborted) throw new QuestlogError('SQL_CANCELLED', 'the statement was cancelled')
    if (error instanceof QuestlogError) throw error
    throw lostConnection(endpoint, error)
  }
  if (!isOver) throw lostConnection(endpoint, undefined)
}

function send(endpoint: string, body: string, signal: AbortSignal): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    // No timeout here: the endpoint bounds every statement, and a long one is silent until its first row.
    const outgoing = request(
      new URL('/sql', endpoint),
      { method: 'POST', headers: { 'content-type': 'application/json' }, signal, agent: false },
      resolve,
    )
    outgoing.on('error', reject)
    outgoing.end(body)
  })
}

async function* readLines(response: IncomingMessage): AsyncGenerator<string> {
  response.setEncoding('utf8')
  let pieces: string[] = []
  for await (const chunk of response) {
    const lines = String(chunk).split('\n')
    pieces.push(lines[0] ?? '')
    for (const next of lines.slice(1)) {
      const line = pieces.join('')
      if (line !== '') yield line
      pieces = [next]
    }
  }
  const last = pieces.join('')
  if (last !== '') yield last
}

function parseLine(line: string): Readonly<Record<string, unknown>> {
  // Fewer digits than this fit into a double as they are, and the plain parser is many times faster.
  const value: unknown = /\d{16}/.test(line)
    ? parseLossless(line, null, (digits) => new NumberCell(digits))
    : JSON.parse(line)
  return typeof value === 'object' && value !== null
    ? (value as Readonly<Record<string, unknown>>) // an object of parsed JSON
    : {}
}

function readError(report: SqlErrorReport): QuestlogError {
  const { message, hint, line, column, suggestions } = report
  const code: ErrorCode = report.code in errorCatalog ? report.code : 'INTERNAL'
  const place = line === null || column === null ? undefined : { line, column }
  return new SqlError(code, message, { place, suggestions, hint })
}

function lostConnection(endpoint: string, cause: unknown): QuestlogError {
  const code = systemErrorCode(cause)
  const isSilent = code === 'ECONNREFUSED' || code === 'ENOTFOUND' || code === 'EHOSTUNREACH'
  const address = new URL(endpoint).host
  return isSilent
    ? new QuestlogError('NOT_RUNNING', `nothing answers at ${address}`, {}, { cause })
    : new QuestlogError('NOT_RUNNING', `the answer of ${address} broke off`, {}, { cause })
}

function foreignAnswer(endpoint: string): QuestlogError {
  return new QuestlogError(
    'NOT_RUNNING',
    `what answers at ${new URL(endpoint).host} is not questlog's SQL port`,
    {},
    { hint: '`questlog ps` shows the address' },
  )
}
