import { leadingColumns, systemColumns, type Column } from '../plan/columns.ts'
import { typeText } from '../plan/column-types.ts'
import { tableEventTypes, type Definition, type TableDefinition } from '../plan/definition.ts'
import { countOf, durationText } from '../plan/diff.ts'
import { evaluateInChild } from '../plan/evaluate-in-child.ts'

/** Evaluates a definition file and describes what it declares, for the terminal. Throws DEFINITION_INVALID with a line for each problem. */
export async function checkDefinition(path: string): Promise<{ lines: string[] }> {
  const printed: string[] = []
  const definition = await evaluateInChild(path, {
    onWarning: (line) => printed.push(`the file prints: ${line}`),
  })
  return { lines: [...describeDefinition(definition), ...printed] }
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
  const own = table.columns.slice(leadingColumns.length, -systemColumns.length)
  const where = table.where === null ? [] : [`  where ${table.where}`]
  const set = Object.entries(table.set).map(([column, sql]) => `  set ${column} = ${sql}`)
  return [
    `table ${table.name}: ${takes}, ${start}, commits every ${durationText(table.triggerMs)}`,
    `  columns ${[...leadingColumns, ...own, ...systemColumns].map(describeColumn).join(', ')}`,
    ...where,
    ...set,
  ]
}

function describeColumn(column: Column): string {
  return column.type.kind === 'string' ? column.name : `${column.name} ${typeText(column.type)}`
}
