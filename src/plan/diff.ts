import { isDeepStrictEqual } from 'node:util'
import { typeText } from './column-types.ts'
import type {
  Definition,
  EventDefinition,
  Route,
  TableDefinition,
  TopicDefinition,
} from './definition.ts'

/** What a new definition changes, one line for each thing; empty when nothing changes. Without a `before` everything is new. */
export function describeChange(before: Definition | undefined, after: Definition): string[] {
  return [
    ...topicLines(before?.topics ?? [], after.topics),
    ...routeLines(routesOf(before), routesOf(after)),
    ...eventLines(before?.events ?? [], after.events),
    ...tableLines(before?.tables ?? [], after.tables),
    ...settingLines(before?.settings ?? {}, after.settings),
    ...(before !== undefined && before.namespace !== after.namespace
      ? [`namespace is ${after.namespace} instead of ${before.namespace}: its tables start anew`]
      : []),
  ]
}

interface Pairs<T> {
  readonly added: readonly T[]
  readonly removed: readonly T[]
  readonly both: readonly (readonly [T, T])[]
}

function pairUp<T>(before: readonly T[], after: readonly T[], name: (item: T) => string): Pairs<T> {
  const old = new Map(before.map((item) => [name(item), item]))
  const current = new Set(after.map(name))
  return {
    added: after.filter((item) => !old.has(name(item))),
    removed: before.filter((item) => !current.has(name(item))),
    both: after.flatMap((item) => {
      const earlier = old.get(name(item))
      return earlier === undefined ? [] : [[earlier, item] as const]
    }),
  }
}

function topicLines(before: readonly TopicDefinition[], after: readonly TopicDefinition[]) {
  const { added, removed, both } = pairUp(before, after, (topic) => topic.name)
  return [
    ...added.map((topic) => `topic ${topic.name} added: ${countOf(topic.partitions, 'partition')}`),
    ...removed.map((topic) => `topic ${topic.name} is no longer declared: its events stay`),
    ...both.flatMap(([old, topic]) => [
      ...(old.partitions === topic.partitions
        ? []
        : [`topic ${topic.name}: ${old.partitions} → ${countOf(topic.partitions, 'partition')}`]),
      ...(isDeepStrictEqual(old.configs, topic.configs)
        ? []
        : [`topic ${topic.name}: configs ${configText(topic)}`]),
    ]),
  ]
}

function configText(topic: TopicDefinition): string {
  const entries = Object.entries(topic.configs)
  return entries.length === 0
    ? 'removed'
    : entries.map(([key, value]) => `${key}=${value}`).join(', ')
}

interface OwnedRoute extends Route {
  readonly type: string
}

function routesOf(definition: Definition | undefined): OwnedRoute[] {
  return (definition?.events ?? []).flatMap((event) =>
    event.routes.map((route) => ({ ...route, type: event.type })),
  )
}

function routeLines(before: readonly OwnedRoute[], after: readonly OwnedRoute[]): string[] {
  const name = (route: OwnedRoute) => `route ${route.method} ${route.path}`
  const { added, removed, both } = pairUp(before, after, name)
  return [
    ...added.map((route) => `${name(route)} added: ${route.type}`),
    ...removed.map((route) => `${name(route)} removed`),
    ...both.flatMap(([old, route]) => [
      ...(old.type === route.type
        ? []
        : [`${name(route)} is ${route.type} instead of ${old.type}`]),
      ...(old.reply === route.reply
        ? []
        : [`${name(route)} answers ${JSON.stringify(route.reply)}`]),
    ]),
  ]
}

const comparedEventParts = [
  'topic',
  'fixed',
  'params',
  'required',
  'headers',
  'key',
  'onInvalid',
] as const

function eventLines(before: readonly EventDefinition[], after: readonly EventDefinition[]) {
  const { added, removed, both } = pairUp(before, after, (event) => event.type)
  return [
    ...added
      .filter((event) => event.routes.length === 0)
      .map((event) => `event ${event.type} added: no route`),
    ...removed.map((event) => `event ${event.type} is no longer declared: what came stays`),
    ...both.flatMap(([old, event]) => {
      const changed = comparedEventParts.filter(
        (part) => !isDeepStrictEqual(old[part], event[part]),
      )
      return changed.length === 0 ? [] : [`event ${event.type} changed: ${changed.join(', ')}`]
    }),
  ]
}

function tableLines(before: readonly TableDefinition[], after: readonly TableDefinition[]) {
  const { added, removed, both } = pairUp(before, after, (table) => table.name)
  return [
    ...added.map((table) =>
      table.from === 'earliest'
        ? `table ${table.name} added: fills itself from the beginning`
        : `table ${table.name} added: starts with the next event`,
    ),
    ...added
      .filter((table) => table.format === 'hive')
      .map(({ name }) => `table ${name} is also published as a folder, exports/${name}`),
    ...removed.map(
      (table) =>
        `table ${table.name} is no longer declared: its files stay${table.format === 'hive' ? `, and so does exports/${table.name}` : ''}`,
    ),
    ...both.flatMap(([old, table]) => changeOfTable(old, table)),
  ]
}

function changeOfTable(old: TableDefinition, table: TableDefinition): string[] {
  const { added, removed, both } = pairUp(old.columns, table.columns, (column) =>
    column.name.toLowerCase(),
  )
  const renamed = Object.entries(table.renamed ?? {}).filter(
    ([name, former]) => old.renamed?.[name] !== former,
  )
  const newNames = new Set(renamed.map(([name]) => name))
  const formerNames = new Set(renamed.map(([, former]) => former.toLowerCase()))
  const dropped = (table.dropped ?? []).filter((name) => old.dropped?.includes(name) !== true)
  const droppedNames = new Set(dropped.map((name) => name.toLowerCase()))
  const parts: string[] = []
  if (!isDeepStrictEqual([old.topic, old.events], [table.topic, table.events]))
    parts.push(`takes ${table.events?.join(', ') ?? `every event of ${table.topic}`}`)
  if (old.where !== table.where)
    parts.push(table.where === null ? 'no where' : `where ${table.where}`)
  if (!isDeepStrictEqual(old.set, table.set)) parts.push('set changed')
  if (old.triggerMs !== table.triggerMs)
    parts.push(`commits every ${durationText(table.triggerMs)}`)
  if (old.format !== table.format)
    parts.push(
      table.format === 'hive'
        ? `is also published as a folder, exports/${table.name}`
        : `exports/${table.name} stays as it is and no longer follows the table`,
    )
  return [
    ...renamed.map(([name, former]) => `column ${former} of ${table.name} is called ${name} now`),
    ...dropped.map((name) => `column ${name} of ${table.name} dropped: it is no longer shown`),
    ...added
      .filter(({ name }) => !newNames.has(name))
      .map((column) => `column ${column.name} (${typeText(column.type)}) added to ${table.name}`),
    ...removed
      .filter(({ name }) => {
        const key = name.toLowerCase()
        return !formerNames.has(key) && !droppedNames.has(key)
      })
      .map((column) => `column ${column.name} of ${table.name} is no longer filled`),
    ...both
      .filter(([before, after]) => typeText(before.type) !== typeText(after.type))
      .map(
        ([before, after]) =>
          `column ${after.name} of ${table.name}: ${typeText(before.type)} → ${typeText(after.type)}`,
      ),
    ...(parts.length === 0 ? [] : [`table ${table.name}: ${parts.join('; ')}`]),
  ]
}

function settingLines(
  before: Readonly<Record<string, unknown>>,
  after: Readonly<Record<string, unknown>>,
): string[] {
  const names = new Set([...Object.keys(before), ...Object.keys(after)])
  return [...names]
    .filter((name) => !isDeepStrictEqual(before[name], after[name]))
    .map((name) =>
      Object.hasOwn(after, name)
        ? `setting ${name} is ${JSON.stringify(after[name])}`
        : `setting ${name} is its default again`,
    )
}

/** `10 s`, `500 ms`, `2 min`, `1 h`. */
export function durationText(durationMs: number): string {
  if (durationMs % 3_600_000 === 0) return `${durationMs / 3_600_000} h`
  if (durationMs % 60_000 === 0) return `${durationMs / 60_000} min`
  return durationMs % 1000 === 0 ? `${durationMs / 1000} s` : `${durationMs} ms`
}

/** `1 partition`, `3 partitions`. */
export function countOf(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`
}
