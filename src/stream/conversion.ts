import { duckdbType, quoteName, quoteText, type Column, type ColumnType } from '../plan/columns.ts'
import { tableEventTypes, type Definition, type TableDefinition } from '../plan/definition.ts'

/**
 * From JSON to columns, as SQL. A micro-batch is staged as text, its JSON is parsed once into the fields that any table of the topic wants
 * (`parsed`: _partition, _offset, _ms, raw, id, f0, f1, …), and each table casts the fields it declares.
 * A misfit is "text not null, cast null".
 */
export interface TopicConversion {
  /** Declared event types of the topic. */
  readonly eventTypes: readonly string[]
  /** The expressions of f0, f1, …: the wanted fields of a JSON text as structs of text, NULL when it does not parse. */
  readonly parse: (json: string) => readonly string[]
  readonly tables: ReadonlyMap<string, TableConversion>
}

/** SQL over `parsed` for one table. */
export interface TableConversion {
  readonly columns: readonly Column[]
  /** The event types that the table takes. */
  readonly types: readonly string[]
  /** Whether the record's event type is one of them. */
  readonly matches: string
  /** Whether every declared parameter fits its type, and `where` and `set` can be computed. */
  readonly fits: string
  /** Whether the table's `where` is true. */
  readonly keeps: string
  /** A SELECT of the table's rows, its columns in order, from the records of `parsed` that meet a condition. */
  readonly selectRows: (condition: string) => string
  /** Name of the first parameter that does not fit, and why. */
  readonly misfitPath: string
  readonly misfitReason: string
}

/** The SQL of all tables of one topic. `topic` is used for the default event id `topic/partition/offset`. */
export function convertTopic(definition: Definition, topic: string): TopicConversion {
  const tables = definition.tables.filter((table) => table.topic === topic)
  const groups = groupNames([
    'event_type',
    ...tables.flatMap((table) => fieldColumns(table).map((column) => column.name)),
  ])
  const field = (name: string) =>
    `parsed.f${groups.findIndex((group) => group.has(name))}.${quoteName(name)}`
  const eventTypes = definition.events
    .filter((event) => event.topic === topic)
    .map((event) => event.type)
  return {
    eventTypes,
    parse: (json) =>
      groups.map((names) => `TRY(json_transform(${json}, ${quoteText(shape(names))}))`),
    tables: new Map(tables.map((table) => [table.name, convertTable(definition, table, field)])),
  }
}

/** The event's type, over `parsed`. */
export const eventTypeSql = 'parsed.f0."event_type"'

/** A struct's field names are compared without regard to case, JSON keys are not: names that differ only in case are parsed apart. */
function groupNames(names: readonly string[]): ReadonlySet<string>[] {
  const groups: { exact: Set<string>; lower: Set<string> }[] = []
  for (const name of new Set(names)) {
    const lower = name.toLowerCase()
    let group = groups.find((candidate) => !candidate.lower.has(lower))
    if (group === undefined) groups.push((group = { exact: new Set(), lower: new Set() }))
    group.exact.add(name)
    group.lower.add(lower)
  }
  return groups.map((group) => group.exact)
}

const shape = (names: ReadonlySet<string>) =>
  JSON.stringify(Object.fromEntries([...names].map((name) => [name, 'VARCHAR'])))

const derivedColumns: Readonly<Record<string, (topic: string) => string>> = {
  raw_event: () => 'parsed.raw',
  timestamp: () => `strftime(make_timestamp(parsed._ms * 1000), '%Y-%m-%d %H:%M:%S.%g')`,
  event_id: (topic) =>
    `coalesce(parsed.id, ${quoteText(`${topic}/`)} || parsed._partition || '/' || parsed._offset)`,
  _partition: () => 'parsed._partition',
  _offset: () => 'parsed._offset',
  _timestamp: () => 'make_timestamptz(parsed._ms * 1000)',
}

/** The columns that come from the event's JSON. */
function fieldColumns(table: TableDefinition): readonly Column[] {
  return table.columns.filter((column) => !(column.name in derivedColumns))
}

function convertTable(
  definition: Definition,
  table: TableDefinition,
  field: (name: string) => string,
): TableConversion {
  const types = tableEventTypes(definition, table)
  const value = (column: Column) =>
    derivedColumns[column.name]?.(table.topic) ?? castSql(field(column.name), column.type)
  const named = table.columns
    .map((column) => `${value(column)} AS ${quoteName(column.name)}`)
    .join(', ')
  const computed = Object.entries(table.set).map(
    ([name, expression]) => [name, castTo(table, name, expression)] as const,
  )
  const misfits = [
    ...typeMisfits(fieldColumns(table), field),
    ...missing(definition, table, types, field),
    ...failures(
      [...(table.where === null ? [] : [['where', table.where] as const]), ...computed],
      named,
    ),
  ]
  const replaced = table.columns.map(({ name }) => {
    const expression = computed.find(([column]) => column === name)?.[1]
    return expression === undefined ? quoteName(name) : `TRY(${expression}) AS ${quoteName(name)}`
  })
  const selectNamed = (condition: string) => `SELECT ${named} FROM parsed WHERE ${condition}`
  return {
    columns: table.columns,
    types,
    matches:
      types.length === 0
        ? 'false'
        : `coalesce(${eventTypeSql} IN (${types.map(quoteText).join(', ')}), false)`,
    fits:
      misfits.length === 0
        ? 'true'
        : `NOT (${misfits.map((misfit) => `coalesce(${misfit.condition}, false)`).join(' OR ')})`,
    keeps:
      table.where === null
        ? 'true'
        : `coalesce((SELECT TRY((${table.where})) FROM (SELECT ${named})), false)`,
    selectRows:
      computed.length === 0
        ? selectNamed
        : (condition) => `SELECT ${replaced.join(', ')} FROM (${selectNamed(condition)})`,
    misfitPath: caseOf(misfits, (misfit) => quoteText(misfit.path)),
    misfitReason: caseOf(misfits, (misfit) => misfit.reason),
  }
}

function castTo(table: TableDefinition, name: string, expression: string): string {
  const column = table.columns.find((candidate) => candidate.name === name)
  return column === undefined
    ? `(${expression})`
    : `CAST((${expression}) AS ${duckdbType(column.type)})`
}

/** Rows for which an expression of the definition throws. TRY gives NULL for them; the CASE inside gives no NULL otherwise. */
function failures(expressions: readonly (readonly [string, string])[], named: string): Misfit[] {
  return expressions.map(([name, expression]) => ({
    condition: `(SELECT TRY(CASE WHEN (${expression}) IS NULL THEN 0 ELSE 1 END) FROM (SELECT ${named})) IS NULL`,
    path: name,
    reason: quoteText(
      `${name === 'where' ? 'the condition of the table' : `the expression of column ${name}`} fails for this event`,
    ),
  }))
}

interface Misfit {
  readonly condition: string
  readonly path: string
  /** SQL expression of the reason. */
  readonly reason: string
}

function typeMisfits(columns: readonly Column[], field: (name: string) => string): Misfit[] {
  return columns
    .filter((column) => column.type.kind !== 'string')
    .map((column) => ({
      condition: `${field(column.name)} IS NOT NULL AND (${castSql(field(column.name), column.type)}) IS NULL`,
      path: column.name,
      reason: `${quoteText(`${column.name} does not fit ${typeName(column.type)}: `)} || left(${field(column.name)}, 100)`,
    }))
}

function missing(
  definition: Definition,
  table: TableDefinition,
  types: readonly string[],
  field: (name: string) => string,
): Misfit[] {
  const taken = definition.events.filter((event) => types.includes(event.type))
  const names = new Set(fieldColumns(table).map((column) => column.name))
  return taken.flatMap((event) =>
    event.required
      .filter((name) => names.has(name))
      .map((name) => ({
        condition: `${eventTypeSql} = ${quoteText(event.type)} AND ${field(name)} IS NULL`,
        path: name,
        reason: quoteText(`${name} is missing`),
      })),
  )
}

const caseOf = (misfits: readonly Misfit[], result: (misfit: Misfit) => string) =>
  misfits.length === 0
    ? 'NULL'
    : `CASE ${misfits.map((misfit) => `WHEN ${misfit.condition} THEN ${result(misfit)}`).join(' ')} END`

const typeName = (type: ColumnType) =>
  type.kind === 'decimal' ? `decimal(${type.precision},${type.scale})` : type.kind

/** The value of a text as a column's type, NULL when it does not fit. The collector checks by the same rules (plan/validation). */
function castSql(text: string, type: ColumnType): string {
  switch (type.kind) {
    case 'string':
      return text
    case 'boolean':
      return `CASE WHEN lower(${text}) IN ('true', '1') THEN true WHEN lower(${text}) IN ('false', '0') THEN false END`
    case 'int':
    case 'long':
      // A cast alone would round 5.7, and read 0x10 and 1_000.
      return `CASE WHEN regexp_full_match(${text}, '[+-]?[0-9]+(\\.0*)?([eE]\\+?[0-9]+)?') THEN TRY_CAST(${text} AS ${duckdbType(type)}) END`
    case 'double':
    case 'decimal':
      return `CASE WHEN regexp_full_match(${text}, '[+-]?([0-9]+(\\.[0-9]*)?|\\.[0-9]+)([eE][+-]?[0-9]+)?') THEN TRY_CAST(${text} AS ${duckdbType(type)}) END`
    case 'date':
      return `CASE WHEN regexp_full_match(${text}, '[0-9]{4}-[0-9]{2}-[0-9]{2}') THEN TRY_CAST(${text} AS DATE) END`
    case 'timestamp':
    case 'timestamptz':
      return `TRY_CAST(${text} AS ${duckdbType(type)})`
    case 'uuid':
      return `CAST(TRY_CAST(${text} AS UUID) AS VARCHAR)`
    case 'binary':
      return `TRY(from_base64(${text}))`
    case 'list':
    case 'struct':
      return `CASE WHEN ${text} LIKE '${type.kind === 'list' ? '[' : '{'}%' THEN TRY(json_transform(${text}, ${quoteText(JSON.stringify(nestedShape(type)))})) END`
    case 'map':
      return `CASE WHEN ${text} LIKE '{%' THEN TRY(json_transform(${text}, ${quoteText(JSON.stringify(nestedShape(type)))})) END`
  }
}

/** The structure that json_transform wants for a nested type. Inside it, what does not fit becomes NULL; raw_event keeps it. */
function nestedShape(type: ColumnType): unknown {
  switch (type.kind) {
    case 'list':
      return [nestedShape(type.element)]
    case 'struct':
      return Object.fromEntries(type.fields.map((field) => [field.name, nestedShape(field.type)]))
    default:
      return duckdbType(type)
  }
}
