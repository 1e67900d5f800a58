import { resolve } from 'node:path'
import { defineCommand } from 'citty'
import { joinEndpoints } from '../../app/instance.ts'
import { realClock } from '../../core/clock.ts'
import { QuestlogError } from '../../core/errors.ts'
import { realFiles } from '../../core/files.ts'
import { findInstances, requireInstances } from '../locate.ts'
import { exitCodes, writeOut } from '../output.ts'

const outputs = ['table', 'json', 'ndjson', 'csv'] as const

export const sqlCommand = defineCommand({
  args: {
    statement: {
      type: 'positional',
      required: false,
      description: 'the statement, or several with ;',
    },
    execute: { type: 'string', alias: 'e', valueHint: 'SQL', description: 'the same as an option' },
    file: {
      type: 'string',
      alias: 'f',
      valueHint: 'FILE',
      description: 'a file with statements; - = standard input',
    },
    output: {
      type: 'string',
      alias: 'o',
      default: 'table',
      valueHint: outputs.join('|'),
      description: 'form of the result',
    },
    stale: {
      type: 'boolean',
      description: 'answer at once, without waiting for what was answered before',
    },
    data: { type: 'string', valueHint: 'DIR', description: 'data folder' },
  },
  async run({ args, data }) {
    const values = data as ReadonlyMap<string, readonly string[]> // run-command hands over every value of repeated options
    const output = outputs.find((name) => name === args.output)
    if (output === undefined)
      throw new QuestlogError('USAGE', `-o is "${args.output}", but must be ${outputs.join(', ')}`)
    const sql = await readStatements(args.statement, values.get('execute') ?? [], args.file)
    const { sql: endpoint } = joinEndpoints(requireInstances(args.data))
    if (endpoint === null) throw new QuestlogError('NOT_RUNNING', 'SQL is not served at the moment')
    const { runSql } = await import('../sql.ts')
    return runSql({
      endpoint,
      sql,
      output,
      stale: args.stale === true,
      write: writeOut,
      writeError: (text) => process.stderr.write(text),
      signal: cancelOnInterrupt(),
      isSupervised: () => findInstances(args.data).length > 0,
      clock: realClock,
    })
  },
})

async function readStatements(
  word: string | undefined,
  executed: readonly string[],
  file: string | undefined,
): Promise<string> {
  const parts = [...(word === undefined ? [] : [word]), ...executed]
  if (parts.length > 0 && file !== undefined)
    throw new QuestlogError('USAGE', 'give statements as words or with -f, not both')
  if (parts.length > 0) return parts.join(';\n')
  if (file !== undefined && file !== '-') return readFile(file)
  if (file === undefined && process.stdin.isTTY)
    throw new QuestlogError(
      'USAGE',
      'there is no statement',
      {},
      {
        hint: 'questlog sql "select count(*) from events"',
      },
    )
  return readInput()
}

async function readFile(file: string): Promise<string> {
  try {
    return (await realFiles.readAll(resolve(file))).toString('utf8')
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    throw new QuestlogError('USAGE', `${file} can't be read: ${reason}`, { file }, { cause: error })
  }
}

async function readInput(): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) chunks.push(chunk)
  return Buffer.concat(chunks).toString('utf8')
}

/** The first Ctrl-C cancels the statement, a second one ends the command. */
function cancelOnInterrupt(): AbortSignal {
  const cancel = new AbortController()
  process.on('SIGINT', () => {
    if (cancel.signal.aborted) process.exit(exitCodes.interrupted)
    cancel.abort()
  })
  return cancel.signal
}
