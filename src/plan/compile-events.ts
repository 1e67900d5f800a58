import { leadingColumns, isReservedName, type Column } from './columns.ts'
import { fitsType, typeText } from './column-types.ts'
import { compileRoutes, RouteTable } from './compile-routes.ts'
import type { EventDefinition } from './definition.ts'
import { fieldsOfSchema } from './json-schema.ts'
import { jsonSchemaOf } from './params-schema.ts'
import { describeValue, isWellFormed, meantOr, type KeyPath, type Problems } from './problems.ts'

const eventKeys = [
  'topic',
  'route',
  'reply',
  'fixed',
  'params',
  'headers',
  'key',
  'onInvalid',
] as const

/** The events in the order of the file. `topics` are the declared ones; `events` needs no declaration. */
export function compileEvents(
  value: unknown,
  topics: readonly string[],
  problems: Problems,
): EventDefinition[] {
  const events = problems.object(value, ['events'], 'an object of events by event_type')
  const routes = new RouteTable()
  return Object.entries(events ?? {}).map(([type, config]) =>
    compileEvent(type, config, topics, routes, problems),
  )
}

function compileEvent(
  type: string,
  value: unknown,
  topics: readonly string[],
  routes: RouteTable,
  problems: Problems,
): EventDefinition {
  const path = ['events', type]
  checkType(type, path, problems)
  const config = problems.object(value, path, "event({ route: 'GET /…', … })") ?? {}
  problems.knownKeys(config, eventKeys, path)
  const declared = compileParams(config.params, [...path, 'params'], problems)
  const fixed = compileFixed(config.fixed, declared.params, [...path, 'fixed'], problems)
  return {
    type,
    topic: compileTopicName(config.topic, topics, [...path, 'topic'], problems),
    routes: compileRoutes(config.route, config.reply, path, routes, problems),
    fixed,
    ...declared,
    headers: problems.flag(config.headers, true, [...path, 'headers']),
    key: compileKey(config.key, [...path, 'key'], problems),
    onInvalid: problems.oneOf(config.onInvalid, ['set-aside', 'reject'], [...path, 'onInvalid']),
  }
}

function checkType(type: string, path: KeyPath, problems: Problems): void {
  const plain = isWellFormed(type) && !/\p{Control}/u.test(type) && type.trim() === type
  if (plain && type.length >= 1 && type.length <= 200 && type !== '*') return
  problems.add(
    path,
    `${describeValue(type)} is no event_type`,
    'use 1 to 200 characters without line breaks or spaces around them; * stands for all events',
  )
}

function compileTopicName(
  value: unknown,
  topics: readonly string[],
  path: KeyPath,
  problems: Problems,
): string {
  const topic = problems.text(value, 'events', path)
  if (topic !== 'events' && !topics.includes(topic))
    problems.add(
      path,
      `there is no topic ${topic}`,
      meantOr(topic, ['events', ...topics], `add it: topics: { '${topic}': { partitions: 1 } }`),
    )
  return topic
}

function compileKey(value: unknown, path: KeyPath, problems: Problems): string | null {
  if (value === undefined || value === null) return null
  const key = problems.text(value, '', path)
  if (key === '' && typeof value === 'string')
    problems.add(path, 'is empty', "name a field, such as key: 'Host'")
  return key === '' ? null : key
}

type DeclaredParams = Pick<EventDefinition, 'params' | 'required' | 'schema'>

function compileParams(value: unknown, path: KeyPath, problems: Problems): DeclaredParams {
  const none = { params: [], required: [], schema: null }
  if (value === undefined) return none
  const schema = jsonSchemaOf(value, path, problems)
  if (schema === undefined) return none
  const { columns, required } = fieldsOfSchema(schema, path, problems)
  for (const column of columns) checkParam(column, [...path, column.name], problems)
  return { params: columns, required, schema }
}

function checkParam(column: Column, path: KeyPath, problems: Problems): void {
  checkFieldName(column.name, path, problems)
  if (leadingColumns.some(({ name }) => name === column.name) && column.type.kind !== 'string')
    problems.add(
      path,
      `${column.name} is a text column of every table, but is declared as ${typeText(column.type)}`,
      'declare it as text, or leave it out: the column is there without it',
    )
}

/** Rules for a field that becomes a column. The reserved names come first: they are leading columns too. */
function checkFieldName(name: string, path: KeyPath, problems: Problems): void {
  if (isReservedName(name)) {
    problems.add(
      path,
      `${name} is reserved for questlog's own columns`,
      'rename it, or leave it out: the field stays in raw_event',
    )
    return
  }
  const leading = leadingColumns.find((column) => column.name.toLowerCase() === name.toLowerCase())
  if (leading !== undefined && leading.name !== name)
    problems.add(
      path,
      `${name} and the column ${leading.name} differ in case only`,
      `write ${leading.name} for the header, or rename it`,
    )
  if (name === '' || name.length > 128 || !isWellFormed(name) || /[\p{Control}]/u.test(name))
    problems.add(
      path,
      `${describeValue(name)} is no name for a column`,
      'use 1 to 128 characters without line breaks',
    )
}

function compileFixed(
  value: unknown,
  params: readonly Column[],
  path: KeyPath,
  problems: Problems,
): Record<string, string | number | boolean> {
  if (value === undefined) return {}
  const object = problems.object(value, path, 'an object of fields with their values') ?? {}
  const kept: [string, string | number | boolean][] = []
  const seen = new Map(params.map((column) => [column.name.toLowerCase(), column.name]))
  for (const [name, field] of Object.entries(object)) {
    const place = [...path, name]
    const same = seen.get(name.toLowerCase())
    seen.set(name.toLowerCase(), name)
    if (name === 'event_type') {
      problems.add(place, 'the event_type is the name of the event', 'remove it')
    } else if (same !== undefined && same !== name) {
      problems.add(place, `${name} and ${same} differ in case only`, `write ${same}, or rename it`)
    } else if (!isFixedValue(field)) {
      const fix = 'write a text, a number, true or false'
      problems.add(place, `is ${describeValue(field)}, but must be one plain value`, fix)
    } else {
      checkFieldName(name, place, problems)
      checkFixedType(
        field,
        params.find((column) => column.name === name),
        place,
        problems,
      )
      kept.push([name, field])
    }
  }
  return Object.fromEntries(kept)
}

function isFixedValue(value: unknown): value is string | number | boolean {
  if (typeof value === 'string') return isWellFormed(value)
  return typeof value === 'boolean' || (typeof value === 'number' && Number.isFinite(value))
}

function checkFixedType(
  value: string | number | boolean,
  column: Column | undefined,
  path: KeyPath,
  problems: Problems,
): void {
  if (column === undefined || fitsType(value, column.type)) return
  problems.add(
    path,
    `${describeValue(value)} does not fit the declared type ${typeText(column.type)}`,
    'change the value, or the type under params',
  )
}
