import { tmpdir } from 'node:os'
import { QuestlogError } from '../core/errors.ts'
import { leadingColumns, systemColumns, type Column } from '../plan/columns.ts'
import { typeText } from '../plan/column-types.ts'
import { tableEventTypes, type Definition, type TableDefinition } from '../plan/definition.ts'
import { countOf, durationText } from '../plan/diff.ts'
import { evaluateInChild } from '../plan/evaluate-in-child.ts'
import { problemInFile } from '../plan/problem-lines.ts'

/** Evaluates a definition file and describes what it declares, for the terminal. Throws DEFINITION_INVALID with a line for each problem. */
export async function checkDefinition(path: string): Promise<{ lines: string[] }> {
  const printed: string[] = []
  const definition = await evaluateInChild(path, {
    onWarning: (line) => printed.push(`the file prints: ${line}`),
  })
  await checkSql(path, definition)
  return { lines: [...describeDefinition(definition), ...printed] }
}

/** Tries `where` and `set` on DuckDB, as the stream does before it takes a definition. */
async function checkSql(path: string, definition: Definition): Promise<void> {
  const hasSql = (table: TableDefinition) =>
    table.where !== null || Object.keys(table.set).length > 0
  if (!definition.tables.some(hasSql)) return
  const { openDuckdb } = await import('../core/duckdb.ts') // slow to load, and most files need none
  const { checkExpressions } = await import('../stream/check-expressions.ts')
  const instance = await openDuckdb({
    memoryMiB: 256,
    threads: 1,
    temporaryFolder: tmpdir(),
    temporaryMiB: 0,
  })
  const connection = await instance.connect()
  try {
    await checkExpressions(connection, definition)
  } catch (error) {
    throw await withPlace(path, error)
  } finally {
    connection.closeSync()
    instance.closeSync()
  }
}

/** The error of an expression with the place where it is written. */
async function withPlace(path: string, error: unknown): Promise<unknown> {
  if (!(error instanceof QuestlogError) || error.code !== 'DEFINITION_INVALID') return error
  const { table, key } = error.facts
  if (typeof table !== 'string' || typeof key !== 'string') return error
  // `set.User-Agent` is the key User-Agent of set.
  const keys = key.startsWith('set.') ? ['set', key.slice('set.'.length)] : [key]
  const problem = {
    path: ['tables', table, ...keys],
    message: error.message.replace(/^tables\.\S+: /, ''),
    fix: 'correct the SQL',
  }
  return problemInFile(path, problem, error)
}

/** Topics, routes and tables with their columns, a line each. */
export function describeDefinition(definition: Definition): string[] {
  const topics = definition.topics.map((topic) => {
    const configs = Object.entries(topic.configs).map(([key, value]) => `, ${key}=${value}`)
    return `topic ${topic.name}: ${countOf(topic.partitions, 'partition')}${configs.join('')}`
  })
  const tables = definition.tables.flatMap((table) => describeTable(definition, table))
  return [...topics, '', ...describeRoutes(definition), '', ...tables]
}

function describeRoutes(definition: Definition): string[] {
  const rows = definition.events.flatMap((event) => {
    const routes = event.routes.map((route) => ({
      route: `${route.method} ${route.path}`,
      answer: countOf(Buffer.byteLength(route.reply), 'byte'),
    }))
    const shown = routes.length > 0 ? routes : [{ route: 'POST /events', answer: 'no own route' }]
    return shown.map((row) => ({ ...row, type: event.type }))
  })
  const routeWidth = Math.max(0, ...rows.map((row) => row.route.length))
  const typeWidth = Math.max(0, ...rows.map((row) => row.type.length))
  return rows.map(
    ({ route, type, answer }) =>
      `route ${route.padEnd(routeWidth)}  ${type.padEnd(typeWidth)}  ${answer}`,
  )
}

function describeTable(definition: Definition, table: TableDefinition): string[] {
  const types = tableEventTypes(definition, table)
  const takes = table.events === null ? `every event of ${table.topic}` : types.join(', ')
  const start = table.from === 'earliest' ? 'from the beginning' : 'from the next event'
  const published = table.format === 'hive' ? `, published as exports/${table.name}` : ''
  const own = table.columns.slice(leadingColumns.length, -systemColumns.length)
  const where = table.where === null ? [] : [`  where ${table.where}`]
  const set = Object.entries(table.set).map(([column, sql]) => `  set ${column} = ${sql}`)
  return [
    `table ${table.name}: ${takes}, ${start}, commits every ${durationText(table.triggerMs)}${published}`,
    `  columns ${[...leadingColumns, ...own, ...systemColumns].map(describeColumn).join(', ')}`,
    ...where,
    ...set,
  ]
}

function describeColumn(column: Column): string {
  return column.type.kind === 'string' ? column.name : `${column.name} ${typeText(column.type)}`
}
