import { openDuckdb, queryRows, type DuckDBConnection, type DuckdbOptions } from '../core/duckdb.ts'
import { removeFolder } from '../core/host.ts'
import type { MergingAnswer, MergingRequest } from './merging-process.ts'
import { toPlainError } from './messages.ts'

// The program of a process that merges files for the lake process: `merging-process.ts` starts it with the options of its DuckDB in the environment.
const text = process.env['QUESTLOG_MERGING']
if (text === undefined || process.send === undefined) {
  process.stderr.write('this program is started by the lake process\n')
  process.exit(2)
}
process.title = 'questlog merging'
// Ctrl-C and the end of a terminal reach the whole group: the lake process says when this one ends.
process.on('SIGINT', () => {})
process.on('SIGHUP', () => {})
// A plain exit would wait for the statement that runs.
process.on('disconnect', () => process.kill(process.pid, 'SIGKILL'))
process.on('message', (message) => void answer(message as MergingRequest)) // of the same version

const options = JSON.parse(text) as DuckdbOptions // likewise
let connection: Promise<DuckDBConnection> | undefined

async function answer({ sql }: MergingRequest): Promise<void> {
  let answered: MergingAnswer
  try {
    connection ??= connect()
    answered = { rows: await queryRows(await connection, sql) }
  } catch (error) {
    answered = { error: toPlainError(error) }
  }
  process.send?.(answered)
}

async function connect(): Promise<DuckDBConnection> {
  removeFolder(options.temporaryFolder) // what a killed one has left
  return (await openDuckdb(options)).connect()
}
