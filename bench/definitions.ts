import { eventFields } from './events.ts'

/** The table of `batchDefinition`. */
export const batchTable = 'purchases'
/** Small, so that a round of seconds meets it: what does not grow beyond it does not grow in an hour. */
export const backlogLimit = 128 * 1024 * 1024

const jsonTypes = { VARCHAR: 'string', BIGINT: 'integer', DOUBLE: 'number' } as const

const { event_type: _named, ...parameters } = eventFields

const properties = Object.fromEntries(
  Object.entries(parameters).map(([name, type]) => [name, { type: jsonTypes[type] }]),
)

/** One event type with typed parameters, one table; no route: it comes by `POST /events`. Commits are due by size long before the trigger, but on a slow machine. */
export const batchDefinition = `
import { defineConfig, event, table } from 'questlog'

export default defineConfig({
  settings: { backlogBytesMax: ${backlogLimit} },
  events: {
    purchase: event({ params: ${JSON.stringify({ type: 'object', properties })} }),
  },
  tables: { ${batchTable}: table({ from: 'purchase', trigger: '2s' }) },
})
`

/** Event types with a route each, and a table for each; they commit often, so that every run has commits. */
export function manyTablesDefinition(types: readonly string[]): string {
  const events = types.map(
    (type) =>
      `${type}: event({ route: 'GET /${type}', reply: 'ok\\n', params: { type: 'object', properties: { number: { type: 'integer' } } } })`,
  )
  const tables = types.map((type) => `${type}: table({ from: '${type}', trigger: '2s' })`)
  return `
import { defineConfig, event, table } from 'questlog'

export default defineConfig({
  events: {
    ${events.join(',\n    ')},
  },
  tables: {
    ${tables.join(',\n    ')},
  },
})
`
}

/** Tables of purchases that read a topic of their own, on which nothing lies: their rows are written before the start. */
export function queryDefinition(names: readonly string[]): string {
  return `
import { defineConfig, event, table } from 'questlog'

export default defineConfig({
  topics: { past: {} },
  events: {
    purchase_sword: event({
      topic: 'past',
      params: { type: 'object', properties: { color: { type: 'string' }, damage: { type: 'integer' } } },
    }),
  },
  tables: { ${names.map((name) => `${name}: table({ from: 'purchase_sword' })`).join(', ')} },
})
`
}

/** One table that commits as often as it may, with maintenance all the while; `batchDefinition`'s events. */
export const oftenDefinition = `
import { defineConfig, event, table } from 'questlog'

export default defineConfig({
  settings: { maintenanceIntervalMs: 500 },
  events: {
    purchase: event({ params: ${JSON.stringify({ type: 'object', properties })} }),
  },
  tables: { ${batchTable}: table({ from: 'purchase', trigger: '100ms' }) },
})
`

/** `manyTablesDefinition` of one type, beside tables of `queryDefinition`, none of which is merged unless a command says so. */
export function mergingDefinition(type: string, past: readonly string[]): string {
  return `
import { defineConfig, event, table } from 'questlog'

export default defineConfig({
  settings: { maintenanceIntervalMs: 86_400_000 },
  topics: { past: {} },
  events: {
    ${type}: event({ route: 'GET /${type}', reply: 'ok\\n', params: { type: 'object', properties: { number: { type: 'integer' } } } }),
    purchase_sword: event({
      topic: 'past',
      params: { type: 'object', properties: { color: { type: 'string' }, damage: { type: 'integer' } } },
    }),
  },
  tables: {
    ${type}: table({ from: '${type}', trigger: '2s' }),
    ${past.map((name) => `${name}: table({ from: 'purchase_sword' })`).join(',\n    ')},
  },
})
`
}
