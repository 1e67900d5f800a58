import type { Excerpt } from './excerpt.ts'
import { SqlError } from './sql-error.ts'
import { locationOf, nodeField, textField, walk, type SyntaxNode } from './syntax-tree.ts'

/** Functions that a statement may read from. All others are refused, because DuckDB's table functions also switch logging, run other text, take raw pointers and write checkpoints. Those that open files reach the lake folder only (see `confineFiles`). */
const tableFunctions = new Set([
  'range',
  'generate_series',
  'unnest',
  'repeat',
  'repeat_row',
  'json_each',
  'json_tree',
  'histogram',
  'histogram_values',
  'summary',
  'read_parquet',
  'parquet_scan',
  'parquet_metadata',
  'parquet_file_metadata',
  'parquet_kv_metadata',
  'parquet_schema',
  'glob',
  'duckdb_functions',
  'duckdb_keywords',
  'duckdb_types',
  'duckdb_memory',
  'pg_timezone_names',
  'icu_calendar_names',
])

/** Functions that change something, or that outlive their statement on a connection that the next one uses. */
const refusedFunctions = new Set([
  'nextval',
  'currval',
  'setseed',
  'write_log',
  'getenv',
  'json_execute_serialized_sql',
  'query',
  'query_table',
])

/** Schemas in which the stream keeps what the tables are made of. */
export const innerSchemas: ReadonlySet<string> = new Set(['_fresh', '_counts'])

/** Trees that were looked over and do nothing but read: one comes again (tree-cache.ts). */
const harmless = new WeakSet<SyntaxNode>()

/**
 * Refuses a syntax tree of a SELECT that would do more than read. Throws SQL_REFUSED, or SQL_INVALID for parameters.
 * The tree is what DuckDB will run, so nothing can hide in comments, quotes or letter case.
 */
export function requireReading(tree: SyntaxNode, source: Excerpt): void {
  if (harmless.has(tree)) return
  for (const node of walk(tree)) {
    const place = () => source.place(locationOf(node))
    if (node['class'] === 'PARAMETER')
      throw new SqlError('SQL_INVALID', 'a statement can have no parameters', {
        place: place(),
        hint: 'write the value into the statement',
      })
    const type = textField(node, 'type')
    const functionName = textField(node, 'function_name').toLowerCase()
    if (functionName !== '' && refusedFunctions.has(functionName))
      throw new SqlError('SQL_REFUSED', `function ${functionName} is not served`, {
        place: place(),
      })
    if (type === 'TABLE_FUNCTION') requireTableFunction(node, source)
    if (type === 'BASE_TABLE' && innerSchemas.has(textField(node, 'schema_name').toLowerCase()))
      throw new SqlError(
        'SQL_REFUSED',
        `schema ${textField(node, 'schema_name')} is questlog's own`,
        { place: place(), hint: 'read the table itself: `show tables` lists them' },
      )
    const shown = textField(node, 'show_type')
    if (type === 'SHOW_REF' && shown !== 'DESCRIBE' && shown !== 'SUMMARY')
      throw new SqlError('SQL_REFUSED', 'SHOW is served as a statement of its own only')
  }
  harmless.add(tree)
}

function requireTableFunction(node: SyntaxNode, source: Excerpt): void {
  // Only the call itself makes the rows; its arguments are ordinary functions.
  const name = textField(nodeField(node, 'function'), 'function_name').toLowerCase()
  if (tableFunctions.has(name)) return
  throw new SqlError('SQL_REFUSED', `table function ${name} is not served`, {
    place: source.place(locationOf(node)),
  })
}
