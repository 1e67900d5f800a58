import { isReservedName, leadingColumns, systemColumns, type Column } from './columns.ts'
import type { EventDefinition, TableDefinition } from './definition.ts'
import { parseDuration } from './durations.ts'
import { describeValue, meantOr, type KeyPath, type Problems } from './problems.ts'
import { declaredColumns } from './table-columns.ts'

const tableKeys = [
  'from',
  'topic',
  'where',
  'set',
  'trigger',
  'startAt',
  'columns',
  'renamed',
  'dropped',
  'format',
] as const
const defaultTriggerMs = 10_000
const minTriggerMs = 100
const maxTriggerMs = 24 * 3_600_000

/** The tables in the order of the file. */
export function compileTables(
  value: unknown,
  events: readonly EventDefinition[],
  problems: Problems,
): TableDefinition[] {
  if (value === undefined) return []
  const tables = problems.object(value, ['tables'], 'an object of tables by name')
  return Object.entries(tables ?? {}).map(([name, config]) =>
    compileTable(name, config, events, problems),
  )
}

function compileTable(
  name: string,
  value: unknown,
  events: readonly EventDefinition[],
  problems: Problems,
): TableDefinition {
  const path = ['tables', name]
  if (!/^[a-z][a-z0-9_]{0,127}$/.test(name))
    problems.add(
      path,
      `${describeValue(name)} is no name for a table`,
      'use a-z, 0-9 and _, a letter first',
    )
  const config = problems.object(value, path, "table({ from: 'event_type', … })") ?? { from: '*' }
  problems.knownKeys(config, tableKeys, path)
  const source = compileSource(config, events, path, problems)
  const declared = declaredColumns(
    source.taken,
    path,
    problems,
    listOfNames(config.columns, [...path, 'columns'], problems),
  )
  return {
    name,
    topic: source.topic,
    events: source.types,
    where: compileSql(config.where, [...path, 'where'], problems),
    set: compileSet(config.set, declared, [...path, 'set'], problems),
    columns: [...leadingColumns, ...declared, ...systemColumns],
    ...compileFormer(config, declared, path, problems),
    ...compileFormat(config, path, problems),
    triggerMs: compileTrigger(config.trigger, [...path, 'trigger'], problems),
    from: problems.oneOf(config.startAt, ['earliest', 'latest'], [...path, 'startAt']),
  }
}

interface TableSource {
  readonly topic: string
  readonly types: readonly string[] | null
  /** The events themselves. */
  readonly taken: readonly EventDefinition[]
}

function compileSource(
  config: Record<string, unknown>,
  events: readonly EventDefinition[],
  path: KeyPath,
  problems: Problems,
): TableSource {
  const wanted = problems.text(config.topic, '', [...path, 'topic'])
  if (config.from === '*') return everyEvent(wanted, events, path, problems)
  const types = compileTypes(config.from, events, [...path, 'from'], problems)
  const taken = types.flatMap((type) => events.filter((event) => event.type === type))
  const topics = [...new Set(taken.map((event) => event.topic))]
  if (topics.length > 1)
    problems.add(
      [...path, 'from'],
      `its events lie on several topics: ${topics.join(', ')}`,
      'a table reads one topic: make one table for each, or give the events the same topic',
    )
  const topic = topics[0] ?? 'events'
  if (wanted !== '' && topics.length === 1 && wanted !== topic)
    problems.add([...path, 'topic'], `its events lie on ${topic}, not on ${wanted}`, 'remove topic')
  return { topic, types, taken }
}

function everyEvent(
  wanted: string,
  events: readonly EventDefinition[],
  path: KeyPath,
  problems: Problems,
): TableSource {
  const topics = [...new Set(events.map((event) => event.topic))]
  if (wanted !== '' && !topics.includes(wanted))
    problems.add(
      [...path, 'topic'],
      `no event lies on the topic ${wanted}`,
      meantOr(wanted, topics, `name one of ${topics.join(', ')}`),
    )
  if (wanted === '' && topics.length > 1)
    problems.add(
      [...path, 'from'],
      `* stands for every event of a topic, but there are several: ${topics.join(', ')}`,
      `add topic: '${topics[0] ?? ''}'`,
    )
  const topic = wanted === '' ? (topics[0] ?? 'events') : wanted
  return { topic, types: null, taken: events.filter((event) => event.topic === topic) }
}

function compileTypes(
  from: unknown,
  events: readonly EventDefinition[],
  path: KeyPath,
  problems: Problems,
): string[] {
  const names: readonly unknown[] = Array.isArray(from) ? from : [from]
  if (from === undefined || names.length === 0) {
    const first = events[0]?.type ?? 'event_type'
    problems.add(path, 'the table takes no event', `write from: '${first}', or '*' for every event`)
    return []
  }
  const declared = events.map((event) => event.type)
  const types = new Set<string>()
  for (const [index, name] of names.entries()) {
    const place = Array.isArray(from) ? [...path, index] : path
    if (typeof name === 'string' && declared.includes(name)) types.add(name)
    else if (name === '*') problems.add(place, '* stands alone', "write from: '*'")
    else
      problems.add(
        place,
        `there is no event ${describeValue(name)}`,
        meantOr(
          String(name),
          declared,
          `declare it under events, or name one of ${declared.join(', ')}`,
        ),
      )
  }
  return [...types]
}

/** Null when it was left out. */
function listOfNames(value: unknown, path: KeyPath, problems: Problems): readonly string[] | null {
  if (value === undefined) return null
  if (Array.isArray(value) && value.every((name) => typeof name === 'string'))
    return [...new Set(value)]
  const fix = `write ${String(path.at(-1))}: ['damage', 'color']`
  problems.add(path, `is ${describeValue(value)}, not a list of names`, fix)
  return null
}

/** What becomes of columns that the table has from earlier definitions. */
function compileFormer(
  config: Record<string, unknown>,
  declared: readonly Column[],
  path: KeyPath,
  problems: Problems,
): Pick<TableDefinition, 'renamed' | 'dropped'> {
  const names = new Map(declared.map(({ name }) => [name.toLowerCase(), name]))
  const isFormer = (name: string, place: KeyPath): boolean => {
    const isOwn = isReservedName(name) || leadingColumns.some((column) => column.name === name)
    if (isOwn) problems.add(place, `${name} is in every table and stays`, 'remove it')
    else if (names.has(name.toLowerCase()))
      problems.add(place, `${name} is a column of the table now`, 'name a former column')
    return !isOwn && !names.has(name.toLowerCase())
  }
  const renamed: [string, string][] = []
  const pairs =
    config.renamed === undefined
      ? {}
      : problems.object(config.renamed, [...path, 'renamed'], "{ newName: 'oldName' }")
  for (const [name, value] of Object.entries(pairs ?? {})) {
    const place = [...path, 'renamed', name]
    const old = problems.text(value, '', place)
    if (names.get(name.toLowerCase()) !== name)
      problems.add(
        place,
        `the table has no column ${name}`,
        meantOr(name, [...names.values()], 'declare it under params of one of its events'),
      )
    else if (isFormer(old, place)) renamed.push([name, old])
  }
  const dropped = listOfNames(config.dropped, [...path, 'dropped'], problems) ?? []
  const former = new Set(renamed.map(([, old]) => old.toLowerCase()))
  for (const [index, name] of dropped.entries()) {
    if (!isFormer(name, [...path, 'dropped', index]) || !former.has(name.toLowerCase())) continue
    problems.add([...path, 'dropped', index], `${name} is renamed`, 'drop it or rename it')
  }
  if (former.size < renamed.length)
    problems.add([...path, 'renamed'], 'a former column has two new names', 'keep one of them')
  return {
    ...(renamed.length === 0 ? {} : { renamed: Object.fromEntries(renamed) }),
    ...(dropped.length === 0 ? {} : { dropped }),
  }
}

function compileFormat(
  config: Record<string, unknown>,
  path: KeyPath,
  problems: Problems,
): Pick<TableDefinition, 'format'> {
  const format = problems.oneOf(config.format, ['iceberg', 'hive'], [...path, 'format'])
  if (format === 'iceberg') return {}
  if (config.renamed !== undefined)
    problems.add(
      [...path, 'renamed'],
      "programs that read a folder go by the names in its files: no column of a table with format 'hive' can be renamed",
      'declare the new name as a further column, or begin anew with a table of its own',
    )
  return { format }
}

function compileSql(value: unknown, path: KeyPath, problems: Problems): string | null {
  if (value === undefined) return null
  const sql = problems.text(value, '-', path).trim()
  if (sql === '') problems.add(path, 'is empty', 'write a SQL expression, or remove it')
  return sql
}

function compileSet(
  value: unknown,
  declared: readonly Column[],
  path: KeyPath,
  problems: Problems,
): Record<string, string> {
  if (value === undefined) return {}
  const object = problems.object(value, path, 'an object of SQL expressions by column') ?? {}
  const free = [...leadingColumns, ...declared]
    .map((column) => column.name)
    .filter((name) => !isReservedName(name))
  const kept: [string, string][] = []
  for (const [name, expression] of Object.entries(object)) {
    const place = [...path, name]
    const sql = compileSql(expression, place, problems)
    if (free.includes(name)) kept.push([name, sql ?? ''])
    else if (isReservedName(name))
      problems.add(place, `${name} is questlog's own column and stays as it is`, 'remove it')
    else
      problems.add(
        place,
        `the table has no column ${name}`,
        meantOr(name, free, 'declare it under params of one of its events'),
      )
  }
  return Object.fromEntries(kept)
}

function compileTrigger(value: unknown, path: KeyPath, problems: Problems): number {
  if (value === undefined) return defaultTriggerMs
  const triggerMs = parseDuration(value)
  if (triggerMs !== undefined) {
    if (triggerMs >= minTriggerMs && triggerMs <= maxTriggerMs) return triggerMs
    problems.add(path, `${describeValue(value)} is out of range`, 'write from 100ms to 24h')
  } else {
    const fix = "write '10s', '500ms', '1m' or '1h'"
    problems.add(path, `is ${describeValue(value)}, but must be a time with its unit`, fix)
  }
  return defaultTriggerMs
}
