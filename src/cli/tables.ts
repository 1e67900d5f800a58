import { join } from 'node:path'
import { requestTableWork } from '../app/control-client.ts'
import { realClock } from '../core/clock.ts'
import { QuestlogError } from '../core/errors.ts'
import { realFiles } from '../core/files.ts'
import { listTables } from '../lake/catalog.ts'
import type { LakeTable } from '../lake/table.ts'
import { openTable } from '../lake/table.ts'
import { nearestName } from '../plan/nearest.ts'
import type { TableWork, TableWorkDone } from '../stream/maintenance.ts'
import { findInstances, requireData } from './locate.ts'
import { writeOut } from './output.ts'
import { sqlOutputs, startOutput, type SqlOutput } from './sql-output.ts'
import { NumberCell, type Cell, type OutputColumn } from './table-output.ts'

/** Arguments of all `tables` commands. */
export const tablesArguments = {
  data: { type: 'string', valueHint: 'DIR', description: 'data folder' },
} as const

export const tableArgument = {
  type: 'positional',
  required: true,
  description: 'the table, with its namespace before it when several have it: default.events',
} as const

export const outputArgument = {
  type: 'string',
  alias: 'o',
  default: 'table',
  valueHint: sqlOutputs.join('|'),
  description: 'form of the output',
} as const

type TableName = { readonly namespace: string; readonly name: string }

/** All tables of a data folder as they are committed, whether questlog runs or not. */
export async function readTables(data: string | undefined): Promise<LakeTable[]> {
  const lakeFolder = join(requireData(data), 'lake')
  const names = await listTables(realFiles, lakeFolder)
  const tables = await Promise.all(names.map((name) => open(lakeFolder, name)))
  return tables.filter((table) => table !== undefined)
}

/** The table that a word names. TABLE_UNKNOWN with the nearest name; USAGE when several namespaces have it. */
export async function readTable(data: string | undefined, word: string): Promise<LakeTable> {
  const lakeFolder = join(requireData(data), 'lake')
  const found = findTable(await listTables(realFiles, lakeFolder), word)
  const table = await open(lakeFolder, found)
  if (table === undefined) throw unknownTable(word, [])
  return table
}

function open(lakeFolder: string, { namespace, name }: TableName) {
  return openTable({ files: realFiles, clock: realClock, lakeFolder, namespace, name })
}

export function findTable(tables: readonly TableName[], word: string): TableName {
  const found = tables.filter(
    ({ namespace, name }) => name === word || `${namespace}.${name}` === word,
  )
  const [first, second] = found
  if (first === undefined) throw unknownTable(word, tables)
  if (second === undefined) return first
  const full = found.map(({ namespace, name }) => `${namespace}.${name}`)
  throw new QuestlogError(
    'USAGE',
    `there are ${found.length} tables ${word}: ${full.join(', ')}`,
    {},
    { hint: `write ${full[0]}` },
  )
}

function unknownTable(word: string, tables: readonly TableName[]): QuestlogError {
  const near = nearestName(
    word,
    tables.map(({ name }) => name),
  )
  return new QuestlogError(
    'TABLE_UNKNOWN',
    `there is no table ${word}`,
    { table: word },
    { hint: near === undefined ? 'see `questlog tables list`' : `did you mean ${near}?` },
  )
}

/** Does it in the running lake process; when none runs, here. */
export async function workOnTable(
  data: string | undefined,
  word: string,
  work: (name: TableName) => TableWork,
): Promise<TableWorkDone> {
  const folder = requireData(data)
  const wanted = work(findTable(await listTables(realFiles, join(folder, 'lake')), word))
  const owner = findInstances(folder).find(({ roles }) => roles.includes('lake'))
  if (owner !== undefined) return requestTableWork(owner, wanted)
  const { maintainStopped } = await import('../app/stopped-tables.ts')
  return maintainStopped(realFiles, realClock, folder, wanted)
}

/** Prints rows as `questlog sql` does. */
export async function printRows(
  output: string,
  columns: readonly OutputColumn[],
  rows: readonly (readonly Cell[])[],
): Promise<void> {
  const out = await startOutput(parseOutput(output), columns, writeOut)
  await out.add(rows)
  await out.end()
}

function parseOutput(text: string): SqlOutput {
  const output = sqlOutputs.find((name) => name === text)
  if (output !== undefined) return output
  throw new QuestlogError('USAGE', `-o is "${text}", but must be ${sqlOutputs.join(', ')}`)
}

export const textColumn = (name: string): OutputColumn => ({ name, type: 'varchar' })
export const numberColumn = (name: string): OutputColumn => ({ name, type: 'bigint' })

/** A 64-bit id with all its digits. */
export function idCell(id: number | bigint | string): NumberCell {
  return new NumberCell(String(id))
}

export function timeText(timestampMs: number): string {
  return new Date(timestampMs).toISOString().replace('T', ' ').replace('Z', ' UTC')
}
