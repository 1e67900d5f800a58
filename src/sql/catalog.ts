import type { DuckDBInstance } from '@duckdb/node-api'
import { queryRows, type DuckDBConnection } from '../core/duckdb.ts'
import { QuestlogError } from '../core/errors.ts'
import { quoteText } from '../plan/columns.ts'
import type { VisibleNames } from './duckdb-error.ts'
import { ownNamespace } from './statements.ts'
import type { NamedTables } from './syntax-tree.ts'

/** The views that the stream maintains, as they are now. Keys are names in lower case, values as they are spelled. */
export interface Views {
  readonly tables: ReadonlyMap<string, string>
  /** Tables whose rows are counted already. */
  readonly counted: ReadonlySet<string>
}

export async function readViews(connection: DuckDBConnection, namespace: string): Promise<Views> {
  const rows = await queryRows(
    connection,
    `SELECT schema_name AS schema, view_name AS name FROM duckdb_views() WHERE schema_name IN (${quoteText(namespace)}, '_counts')`,
  )
  const tables = new Map<string, string>()
  const counted = new Set<string>()
  for (const row of rows) {
    const name = textOf(row, 'name')
    if (row['schema'] === namespace) tables.set(name.toLowerCase(), name)
    else counted.add(name.toLowerCase())
  }
  return { tables, counted }
}

function textOf(row: Readonly<Record<string, unknown>>, name: string): string {
  const value = row[name]
  return typeof value === 'string' ? value : ''
}

/** The tables that must be caught up before a statement may start; null = all, when the names do not tell for sure. */
export function tablesToWaitFor(
  named: NamedTables,
  views: Views,
  namespace: string,
): readonly string[] | null {
  const names = new Set<string>()
  for (const { catalog, schema, name } of named.tables) {
    const isOurs = schema === '' || schema.toLowerCase() === namespace.toLowerCase()
    const table = isOurs && catalog === '' ? views.tables.get(name.toLowerCase()) : undefined
    if (table !== undefined) names.add(table)
    else if (schema !== '' || catalog !== '' || !named.defined.has(name.toLowerCase())) return null
  }
  return [...names]
}

/** The tables of the namespace, and the columns of those that the statement names. */
export async function readVisibleNames(
  connection: DuckDBConnection,
  namespace: string,
  named: NamedTables,
): Promise<VisibleNames> {
  const { tables } = await readViews(connection, namespace)
  const wanted = named.tables.map((table) => quoteText(table.name.toLowerCase()))
  if (wanted.length === 0) return { tables: [...tables.values()], columns: [] }
  const rows = await queryRows(
    connection,
    `SELECT DISTINCT column_name AS name FROM duckdb_columns() WHERE schema_name IN (${quoteText(namespace)}, ${quoteText(ownNamespace)}) AND lower(table_name) IN (${wanted.join(', ')})`,
  )
  return { tables: [...tables.values()], columns: rows.map((row) => textOf(row, 'name')) }
}

/**
 * Confines DuckDB's reach into the file system to the lake folder, for every connection and for good: DuckDB does not let
 * it be widened again while the instance lives. Writing there stays possible, for the stream writes its data files so.
 */
export async function confineFiles(instance: DuckDBInstance, lakeFolder: string): Promise<void> {
  const folder = lakeFolder.endsWith('/') ? lakeFolder : `${lakeFolder}/`
  const connection = await instance.connect()
  try {
    const [row] = await queryRows(
      connection,
      "SELECT current_setting('enable_external_access') AS open, array_to_string(current_setting('allowed_directories'), chr(10)) AS folders",
    )
    if (row?.['open'] === true) {
      await connection.run(`SET GLOBAL allowed_directories = [${quoteText(folder)}]`)
      await connection.run('SET GLOBAL enable_external_access = false')
    } else if (
      !textOf(row ?? {}, 'folders')
        .split('\n')
        .includes(folder)
    )
      throw new QuestlogError('INTERNAL', `DuckDB is confined to another folder than ${folder}`)
  } finally {
    connection.closeSync()
  }
}
