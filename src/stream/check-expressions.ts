import type { DuckDBConnection } from '../core/duckdb.ts'
import { QuestlogError } from '../core/errors.ts'
import { duckdbType, quoteName } from '../plan/columns.ts'
import type { Definition, TableDefinition } from '../plan/definition.ts'
import { convertTopic } from './conversion.ts'

/**
 * Tries the SQL of a definition (`where` and `set` of its tables) on no rows. Throws DEFINITION_INVALID that names the table, the key and
 * DuckDB's reason. The connection's temporary table `parsed` is replaced.
 */
export async function checkExpressions(
  connection: DuckDBConnection,
  definition: Definition,
): Promise<void> {
  for (const topic of new Set(definition.tables.map((table) => table.topic))) {
    const conversion = convertTopic(definition, topic)
    for (const table of definition.tables.filter((candidate) => candidate.topic === topic))
      await checkTable(connection, table)
    const nothing =
      "SELECT 0::INTEGER AS _log_partition, 0::BIGINT AS _offset, 0::BIGINT AS _ms, ''::VARCHAR AS raw, ''::VARCHAR AS id WHERE false"
    await connection.run(`CREATE OR REPLACE TEMP TABLE parsed AS ${conversion.parse(nothing)}`)
    for (const { fits, misfitPath, misfitReason } of conversion.tables.values())
      await connection.run(`SELECT ${fits}, ${misfitPath}, ${misfitReason} FROM parsed`)
  }
}

async function checkTable(connection: DuckDBConnection, table: TableDefinition): Promise<void> {
  const expressions = [
    ...Object.entries(table.set).map(([column, text]) => ({ key: `set.${column}`, text })),
    ...(table.where === null ? [] : [{ key: 'where', text: table.where }]),
  ]
  const nothing = table.columns
    .map((column) => `NULL::${duckdbType(column.type)} AS ${quoteName(column.name)}`)
    .join(', ')
  for (const { key, text } of expressions) {
    try {
      await connection.run(`SELECT TRY((${text})) FROM (SELECT ${nothing}) WHERE false`)
    } catch (error) {
      const reason = error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error)
      throw new QuestlogError(
        'DEFINITION_INVALID',
        `tables.${table.name}.${key}: ${reason}`,
        { table: table.name, key },
        { cause: error },
      )
    }
  }
}
