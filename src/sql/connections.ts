import type { DuckDBInstance, DuckDBPreparedStatement } from '@duckdb/node-api'
import { rowsOf, type DuckDBConnection } from '../core/duckdb.ts'
import { quoteName, quoteText } from '../plan/columns.ts'
import { explainFailure, readFailure, type VisibleNames } from './duckdb-error.ts'
import { SqlError } from './sql-error.ts'

/** A connection that is set up for statements of users. */
export interface SqlConnection {
  readonly duckdb: DuckDBConnection
  /** DuckDB's own syntax tree of a text (`json_serialize_sql`), parsed. */
  readonly serialize: (sql: string) => Promise<unknown>
}

/** Keeps connections for the next statement. The caller bounds how many are in use. */
export class ConnectionPool {
  readonly #instance: DuckDBInstance
  readonly #namespace: string
  readonly #idle: SqlConnection[] = []
  #isClosed = false

  constructor(instance: DuckDBInstance, namespace: string) {
    this.#instance = instance
    this.#namespace = namespace
  }

  async take(): Promise<SqlConnection> {
    return this.#idle.pop() ?? this.#open()
  }

  /** Takes a connection back whose last transaction has ended well. */
  put(connection: SqlConnection): void {
    if (this.#isClosed) this.drop(connection)
    else this.#idle.push(connection)
  }

  /** Gives a connection up: whatever state it was left in goes with it. */
  drop(connection: SqlConnection): void {
    connection.duckdb.closeSync()
  }

  close(): void {
    this.#isClosed = true
    for (const connection of this.#idle.splice(0)) this.drop(connection)
  }

  async #open(): Promise<SqlConnection> {
    const duckdb = await this.#instance.connect()
    try {
      await duckdb.run(
        `SET search_path = ${quoteText(quoteName(this.#namespace))}; SET TimeZone = 'UTC'; SET errors_as_json = true`,
      )
      const parser = await duckdb.prepare('SELECT json_serialize_sql($1::VARCHAR) AS tree')
      return { duckdb, serialize: (sql) => serializeWith(parser, sql) }
    } catch (error) {
      duckdb.closeSync()
      throw error
    }
  }
}

/** About 100,000 values in a list. A syntax tree is many times larger than its text, and reading it holds up everything else in the process. */
const treeCharactersMax = 16 * 1024 * 1024

const noNames: VisibleNames = { tables: [], columns: [] }

async function serializeWith(parser: DuckDBPreparedStatement, sql: string): Promise<unknown> {
  parser.bindVarchar(1, sql)
  const result = await parser.run().catch((error: unknown) => {
    const failure = readFailure(error)
    if (failure === undefined) throw error
    throw explainFailure(failure, { sql, place: () => undefined }, noNames, error)
  })
  const text = rowsOf(result)[0]?.['tree']
  if (typeof text !== 'string') throw new TypeError('json_serialize_sql gave no text')
  if (text.length > treeCharactersMax)
    throw new SqlError('SQL_INVALID', 'the statement has too many parts', {
      hint: 'split it, or join with a table instead of listing values',
    })
  return JSON.parse(text)
}
