import { availableParallelism } from 'node:os'
import {
  DuckDBInstance,
  JsonDuckDBValueConverter,
  type DuckDBConnection,
  type DuckDBMaterializedResult,
  type DuckDBValue,
  type Json,
} from '@duckdb/node-api'

export type { DuckDBConnection } from '@duckdb/node-api'

export interface DuckdbOptions {
  readonly memoryMiB: number
  /** 0 = one less than the machine has cores, at least 1. */
  readonly threads: number
  /** Folder for temporary files, and how much of it may be used. */
  readonly temporaryFolder: string
  readonly temporaryMiB: number
}

/** Opens an in-memory DuckDB without extensions from outside. Times without a zone are read as UTC. */
export async function openDuckdb(options: DuckdbOptions): Promise<DuckDBInstance> {
  const instance = await DuckDBInstance.create(':memory:', {
    memory_limit: `${options.memoryMiB}MiB`,
    checkpoint_threshold: '1TB',
    threads: String(options.threads || Math.max(1, availableParallelism() - 1)),
    temp_directory: options.temporaryFolder,
    autoinstall_known_extensions: 'false',
    autoload_known_extensions: 'false',
    // The system keeps what was read of local files. DuckDB would keep it once more, of files that are gone too.
    enable_external_file_cache: 'false',
  })
  const connection = await instance.connect()
  await connection.run("SET GLOBAL TimeZone = 'UTC'")
  // Given with the others when the database is made, DuckDB shows the limit and does not keep it.
  await connection.run(`SET GLOBAL max_temp_directory_size = '${options.temporaryMiB}MiB'`)
  connection.closeSync()
  return instance
}

/** Runs a statement wherever it is to run, and answers with its rows as plain JSON values (64-bit integers as text). */
export type Query = (sql: string) => Promise<Record<string, Json>[]>

export function queryOf(source: DuckDBConnection | Query): Query {
  return typeof source === 'function' ? source : (sql) => queryRows(source, sql)
}

/** All rows of a statement as plain JSON values (64-bit integers as text). For small results. */
export async function queryRows(
  connection: DuckDBConnection,
  sql: string,
  values?: DuckDBValue[],
): Promise<Record<string, Json>[]> {
  return rowsOf(await connection.run(sql, values))
}

/** The rows of a small result that is in memory already. Reading them as a stream would go to another thread and back twice. */
export function rowsOf(result: DuckDBMaterializedResult): Record<string, Json>[] {
  const names = result.deduplicatedColumnNames()
  const rows: Record<string, Json>[] = []
  for (let index = 0; index < result.chunkCount; index++) {
    const chunk = result.getChunk(index)
    for (let row = 0; row < chunk.rowCount; row++)
      rows.push(
        Object.fromEntries(
          chunk
            .convertRowValues(row, JsonDuckDBValueConverter)
            .map((value, column) => [names[column] ?? '', value]),
        ),
      )
  }
  return rows
}

/** A value of such a row as text; `null` as "null". */
export function cellText(row: Readonly<Record<string, Json>> | undefined, name: string): string {
  const value = row?.[name] ?? null
  return typeof value === 'string' ? value : JSON.stringify(value)
}

/** Takes statements whose results nobody reads. */
export interface StatementSink {
  run(sql: string): Promise<unknown>
}

/** Runs what `work` gives to its sink in one transaction and as one text: one trip to DuckDB's thread instead of one for each. Nothing is run before `work` has ended. */
export async function inOneText<T>(
  connection: DuckDBConnection,
  work: (sink: StatementSink) => Promise<T>,
): Promise<T> {
  const statements: string[] = []
  const result = await work({ run: async (sql) => void statements.push(sql) })
  if (statements.length === 0) return result
  try {
    await connection.run(['BEGIN TRANSACTION', ...statements, 'COMMIT'].join(';\n'))
    return result
  } catch (error) {
    await connection.run('ROLLBACK').catch(() => {})
    throw error
  }
}

/** Runs `work` in one transaction: committed when it resolves, rolled back when it throws. */
export async function inTransaction<T>(
  connection: DuckDBConnection,
  work: () => Promise<T>,
): Promise<T> {
  await connection.run('BEGIN TRANSACTION')
  try {
    const result = await work()
    await connection.run('COMMIT')
    return result
  } catch (error) {
    // A failed COMMIT has already ended the transaction, then there is nothing to roll back.
    await connection.run('ROLLBACK').catch(() => {})
    throw error
  }
}
