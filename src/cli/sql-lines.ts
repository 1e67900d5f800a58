import { get, type IncomingMessage } from 'node:http'
import { splitLines } from '../app/control-client.ts'
import { joinEndpoints, type Instance } from '../app/instance.ts'
import { QuestlogError } from '../core/errors.ts'
import { printLine } from './output.ts'

/**
 * Prints the lines that the lake answers on its SQL port: NDJSON of `{"line": …}` and a last `{"exit": code}`, which is the answer.
 * NOT_RUNNING when the lake is away.
 */
export async function printSqlLines(instances: readonly Instance[], path: string): Promise<number> {
  const { sql } = joinEndpoints(instances)
  if (sql === null) throw new QuestlogError('NOT_RUNNING', 'SQL is not served at the moment')
  const response = await open(`${sql}${path}`)
  let exit: number | undefined
  for await (const text of splitLines(response)) {
    const message = readLine(text)
    if (message.line !== undefined) printLine(message.line)
    exit = message.exit ?? exit
  }
  if (exit !== undefined) return exit
  throw new QuestlogError(
    'NOT_RUNNING',
    'the lake process ended before its answer was complete',
    {},
    {
      hint: 'ask again; `questlog ps` tells whether it is back',
    },
  )
}

function open(url: string): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    get(url, { agent: false }, resolve).on('error', (error) =>
      reject(
        new QuestlogError(
          'NOT_RUNNING',
          `nothing answers at ${url}: ${error.message}`,
          {},
          { cause: error, hint: 'see `questlog ps`; a process that died is started again' },
        ),
      ),
    )
  })
}

/** One message; an error of the server comes as `{"error": {"code", "message"}}` or as plain text. */
function readLine(text: string): { line?: string; exit?: number } {
  let message: unknown
  try {
    message = JSON.parse(text)
  } catch {
    throw new QuestlogError('INTERNAL', `unexpected answer: ${text.slice(0, 200)}`)
  }
  if (typeof message === 'object' && message !== null && 'error' in message)
    throw new QuestlogError('INTERNAL', JSON.stringify(message.error))
  return message as { line?: string; exit?: number } // the same program answers
}
