import {
  duckdbType,
  quoteName,
  quoteText,
  textType,
  type Column,
  type ColumnType,
} from '../plan/columns.ts'
import { tableEventTypes, type Definition, type TableDefinition } from '../plan/definition.ts'
import { buildVerdict, type Verdict } from './verdict.ts'

/**
 * From JSON to columns, as SQL. A micro-batch is staged as bytes; its JSON is parsed once into the fields that any table of the topic wants
 * (f0, f1, …), each field is cast once to every type that a table gives it (v0, v1, …), and each record is judged once for all tables (verdict.ts).
 * `parsed` has it all: _log_partition, _offset, _ms, raw, id, then those. A misfit is "text not null, cast null".
 */
export interface TopicConversion {
  /** Declared event types of the topic. */
  readonly eventTypes: readonly string[]
  /** A SELECT with the columns of `parsed` from a relation with those of `staged`; `json` is the text that is parsed, by default the record's own. */
  readonly parse: (source: string, json?: string) => string
  /** The same with fewer columns and one SELECT less, for small batches: those of `staged` and of `values`, and what `verdict.whole` needs. */
  readonly parseWhole: (source: string) => string
  /** Columns of `parsed` that hold values of tables, by name, with their SQL types. */
  readonly values: readonly { readonly name: string; readonly type: string }[]
  readonly verdict: Verdict
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
  /** The table's value of a column; of one that its definition does not name, NULL. */
  readonly value: (column: Column) => string
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
  const casts = new Casts(tables.flatMap(fieldColumns), field)
  const parts = tables.map((table) => convertTable(definition, table, { field, casts }))
  const verdict = buildVerdict(parts.map((part) => part.rules))
  const computed = parts.flatMap((part) => part.computed)
  const select = (items: readonly string[], from: string) =>
    `SELECT ${items.join(', ')} FROM (${from}) AS parsed`
  const castFields = (source: string, json: string) => {
    const fields = groups.map(
      (names, index) => `TRY(json_transform(${json}, ${quoteText(shape(names))})) AS f${index}`,
    )
    return select(['parsed.*', ...casts.select()], select(['parsed.*', ...fields], source))
  }
  const judged = [...computed.map(({ name, sql }) => `${sql} AS ${name}`), ...verdict.levels[0]]
  return {
    eventTypes,
    parse: (source, json = 'parsed.raw') => {
      const others = ['parsed.*', `${isIn(eventTypes)} AS declared`, ...judged]
      return select(
        [`parsed.* EXCLUDE (${verdict.inner.join(', ')})`, ...verdict.levels[1]],
        select(others, castFields(source, json)),
      )
    },
    parseWhole: (source) => {
      const kept = [...stagedNames, ...casts.columns().map(({ name }) => name)]
      return select(
        [...kept.map((name) => `parsed.${name}`), ...judged],
        castFields(source, 'parsed.raw'),
      )
    },
    values: [...casts.columns(), ...computed],
    verdict,
    tables: new Map(parts.map((part) => [part.name, part.conversion])),
  }
}

/** Columns of every relation that is parsed. */
export const stagedNames: readonly string[] = ['_log_partition', '_offset', '_ms', 'raw', 'id']

/** The event's type, over `parsed`. */
export const eventTypeSql = 'parsed.f0."event_type"'

/** Whether the event's type is one of these. */
const isIn = (types: readonly string[]) =>
  types.length === 0
    ? 'false'
    : `coalesce(${eventTypeSql} IN (${types.map(quoteText).join(', ')}), false)`

/** Every field as every type that a table gives it: tables that agree share the cast. */
class Casts {
  readonly #byKey = new Map<string, { readonly name: string; readonly column: Column }>()
  readonly #field: (name: string) => string

  constructor(columns: readonly Column[], field: (name: string) => string) {
    this.#field = field
    for (const column of columns) {
      const key = castKey(column)
      if (!this.#byKey.has(key)) this.#byKey.set(key, { name: `v${this.#byKey.size}`, column })
    }
  }

  /** Column of `parsed` that holds the value. */
  of(column: Column): string {
    return `parsed.${this.#byKey.get(castKey(column))?.name ?? ''}`
  }

  columns(): { name: string; type: string }[] {
    return [...this.#byKey.values()].map(({ name, column }) => ({
      name,
      type: duckdbType(column.type),
    }))
  }

  select(): string[] {
    return [...this.#byKey.values()].map(
      ({ name, column: { name: source, type } }) =>
        `CAST(${castSql(this.#field(source), type)} AS ${duckdbType(type)}) AS ${name}`,
    )
  }
}

const castKey = ({ name, type }: Column) => `${name} ${JSON.stringify(type)}`

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
    `coalesce(parsed.id, ${quoteText(`${topic}/`)} || parsed._log_partition || '/' || parsed._offset)`,
  _log_partition: () => 'parsed._log_partition',
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
  { field, casts }: { field: (name: string) => string; casts: Casts },
) {
  const types = tableEventTypes(definition, table)
  const plain = (column: Column) => derivedColumns[column.name]?.(table.topic) ?? casts.of(column)
  const named = table.columns
    .map((column) => `${plain(column)} AS ${quoteName(column.name)}`)
    .join(', ')
  const sets = Object.entries(table.set).map(
    ([name, expression]) => [name, castTo(table, name, expression)] as const,
  )
  const computed = sets.map(([name, expression], index) => ({
    name: quoteName(`${table.name}.${index}`),
    type: duckdbType(table.columns.find((column) => column.name === name)?.type ?? textType),
    column: name,
    sql: `(SELECT TRY(${expression}) FROM (SELECT ${named}))`,
  }))
  const typed = fieldColumns(table).filter((column) => column.type.kind !== 'string')
  const others = [
    ...missing(definition, table, types, field),
    ...failures(
      [...(table.where === null ? [] : [['where', table.where] as const]), ...sets],
      named,
    ),
  ]
  const misfits = [...typeMisfits(typed, field, casts), ...others]
  const keeps =
    table.where === null
      ? 'true'
      : `coalesce((SELECT TRY((${table.where})) FROM (SELECT ${named})), false)`
  const names = new Set(table.columns.map((column) => column.name))
  const conversion: TableConversion = {
    columns: table.columns,
    types,
    matches: isIn(types),
    fits:
      misfits.length === 0
        ? 'true'
        : `NOT (${misfits.map((misfit) => `coalesce(${misfit.condition}, false)`).join(' OR ')})`,
    keeps,
    value: (column) => {
      if (!names.has(column.name)) return `CAST(NULL AS ${duckdbType(column.type)})`
      const own = computed.find((each) => each.column === column.name)
      return own === undefined ? plain(column) : `parsed.${own.name}`
    },
    misfitPath: caseOf(misfits, (misfit) => quoteText(misfit.path)),
    misfitReason: caseOf(misfits, (misfit) => misfit.reason),
  }
  const rules = { types, misfits: misfits.map((misfit) => misfit.condition), keeps }
  return { name: table.name, conversion, computed, rules }
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

function typeMisfits(
  columns: readonly Column[],
  field: (name: string) => string,
  casts: Casts,
): Misfit[] {
  return columns.map((column) => ({
    condition: `${field(column.name)} IS NOT NULL AND ${casts.of(column)} IS NULL`,
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
