/** The type of a column. One map from here leads to every engine's name for it. */
export type ColumnType =
  | {
      readonly kind:
        | 'string'
        | 'boolean'
        | 'int'
        | 'long'
        | 'double'
        | 'date'
        | 'timestamp'
        | 'timestamptz'
        | 'uuid'
        | 'binary'
    }
  | { readonly kind: 'decimal'; readonly precision: number; readonly scale: number }
  | { readonly kind: 'list'; readonly element: ColumnType }
  | { readonly kind: 'map'; readonly value: ColumnType }
  | { readonly kind: 'struct'; readonly fields: readonly Column[] }

/** A column of a table, or a field of a struct. `name` is also the JSON key it is read from. */
export interface Column {
  readonly name: string
  readonly type: ColumnType
  readonly doc?: string
}

export const textType: ColumnType = { kind: 'string' }

/** The columns that every table starts with: the event as it lies on the log, its record time as UTC text, and the write-ups' headers. All text. */
export const leadingColumns: readonly Column[] = [
  'raw_event',
  'timestamp',
  'Accept',
  'Host',
  'User-Agent',
  'event_type',
].map((name) => ({ name, type: textType }))

/** questlog's own columns, last in every table. */
export const systemColumns: readonly Column[] = [
  {
    name: 'event_id',
    type: textType,
    doc: 'the id that the client gave, or topic/partition/offset',
  },
  { name: '_log_partition', type: { kind: 'int' }, doc: 'log partition' },
  { name: '_offset', type: { kind: 'long' }, doc: 'offset in the log partition' },
  { name: '_timestamp', type: { kind: 'timestamptz' }, doc: 'record time' },
]

/** Names that a field of an event can't take as a column: it stays in `raw_event` only. */
export function isReservedName(name: string): boolean {
  const lower = name.toLowerCase()
  return (
    lower === 'timestamp' || lower === 'raw_event' || lower === 'event_id' || lower.startsWith('_')
  )
}

/** A double-quoted SQL identifier. */
export function quoteName(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}

/** A single-quoted SQL string. */
export function quoteText(text: string): string {
  return `'${text.replaceAll("'", "''")}'`
}

/** Whose name of a type. */
export type TypeDialect = 'duckdb' | 'iceberg' | 'hive' | 'spark' | 'trino'

type PlainKind = Exclude<ColumnType['kind'], 'decimal' | 'list' | 'map' | 'struct'>

/**
 * The map of types. A `timestamptz` is an instant: Hive, which has none for Parquet files, and Spark call it timestamp and show it in the session's time zone.
 * A `uuid` is text everywhere: not every engine that reads Iceberg reads its uuid.
 */
const plainNames: Readonly<Record<PlainKind, Readonly<Record<TypeDialect, string>>>> = {
  string: named('VARCHAR', 'string', 'string', 'string', 'varchar'),
  boolean: named('BOOLEAN', 'boolean', 'boolean', 'boolean', 'boolean'),
  int: named('INTEGER', 'int', 'int', 'int', 'integer'),
  long: named('BIGINT', 'long', 'bigint', 'bigint', 'bigint'),
  double: named('DOUBLE', 'double', 'double', 'double', 'double'),
  date: named('DATE', 'date', 'date', 'date', 'date'),
  timestamp: named('TIMESTAMP', 'timestamp', 'timestamp', 'timestamp_ntz', 'timestamp(6)'),
  timestamptz: named(
    'TIMESTAMP WITH TIME ZONE',
    'timestamptz',
    'timestamp',
    'timestamp',
    'timestamp(6) with time zone',
  ),
  uuid: named('VARCHAR', 'string', 'string', 'string', 'varchar'),
  binary: named('BLOB', 'binary', 'binary', 'binary', 'varbinary'),
}

function named(duckdb: string, iceberg: string, hive: string, spark: string, trino: string) {
  return { duckdb, iceberg, hive, spark, trino }
}

/** An engine's name of a type, nested types included, as its SQL takes it (Iceberg's as its specification writes it). */
export function typeName(type: ColumnType, dialect: TypeDialect): string {
  const inner = (part: ColumnType) => typeName(part, dialect)
  const text = plainNames.string[dialect]
  switch (type.kind) {
    case 'decimal': {
      const { precision, scale } = type
      if (dialect === 'iceberg') return `decimal(${precision}, ${scale})`
      return `${dialect === 'duckdb' ? 'DECIMAL' : 'decimal'}(${precision},${scale})`
    }
    case 'list': {
      const element = inner(type.element)
      if (dialect === 'duckdb') return `${element}[]`
      if (dialect === 'trino') return `array(${element})`
      return dialect === 'iceberg' ? `list<${element}>` : `array<${element}>`
    }
    case 'map': {
      const value = inner(type.value)
      if (dialect === 'duckdb') return `MAP(${text}, ${value})`
      if (dialect === 'trino') return `map(${text}, ${value})`
      return dialect === 'iceberg' ? `map<${text}, ${value}>` : `map<${text},${value}>`
    }
    case 'struct':
      return structName(type.fields, dialect)
    default:
      return plainNames[type.kind][dialect]
  }
}

function structName(fields: readonly Column[], dialect: TypeDialect): string {
  const list = (separator: string, nameOf: (name: string) => string, between: string) =>
    fields
      .map(({ name, type }) => `${nameOf(name)}${separator}${typeName(type, dialect)}`)
      .join(between)
  switch (dialect) {
    case 'duckdb':
      return `STRUCT(${list(' ', quoteName, ', ')})`
    case 'iceberg':
      return `struct<${list(': ', (name) => name, ', ')}>`
    case 'trino':
      return `row(${list(' ', quoteIfNeeded, ', ')})`
    default:
      return `struct<${list(':', backquoteIfNeeded, ',')}>`
  }
}

const plainName = /^[a-z_][a-z0-9_]*$/

function quoteIfNeeded(name: string): string {
  return plainName.test(name.toLowerCase()) ? name.toLowerCase() : quoteName(name.toLowerCase())
}

function backquoteIfNeeded(name: string): string {
  return plainName.test(name.toLowerCase()) ? name : `\`${name.replaceAll('`', '``')}\``
}

/** DuckDB's name of a type, nested types included. */
export function duckdbType(type: ColumnType): string {
  return typeName(type, 'duckdb')
}

/** Iceberg's name of a primitive type (spec, "Primitive Types"). Nested types need field ids and are built by lake/schema. */
export function icebergPrimitive(type: ColumnType): string {
  if (type.kind === 'list' || type.kind === 'map' || type.kind === 'struct')
    throw new TypeError(`${type.kind} is not a primitive type`)
  return typeName(type, 'iceberg')
}
