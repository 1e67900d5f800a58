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
  { name: '_partition', type: { kind: 'int' }, doc: 'log partition' },
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

const duckdbNames = {
  string: 'VARCHAR',
  boolean: 'BOOLEAN',
  int: 'INTEGER',
  long: 'BIGINT',
  double: 'DOUBLE',
  date: 'DATE',
  timestamp: 'TIMESTAMP',
  timestamptz: 'TIMESTAMP WITH TIME ZONE',
  uuid: 'VARCHAR', // the widest engine support; the lake declares it as string too
  binary: 'BLOB',
} as const

/** DuckDB's name of a type, nested types included. */
export function duckdbType(type: ColumnType): string {
  switch (type.kind) {
    case 'decimal':
      return `DECIMAL(${type.precision},${type.scale})`
    case 'list':
      return `${duckdbType(type.element)}[]`
    case 'map':
      return `MAP(VARCHAR, ${duckdbType(type.value)})`
    case 'struct':
      return `STRUCT(${type.fields.map((field) => `${quoteName(field.name)} ${duckdbType(field.type)}`).join(', ')})`
    default:
      return duckdbNames[type.kind]
  }
}

const icebergNames = {
  string: 'string',
  boolean: 'boolean',
  int: 'int',
  long: 'long',
  double: 'double',
  date: 'date',
  timestamp: 'timestamp',
  timestamptz: 'timestamptz',
  uuid: 'string',
  binary: 'binary',
} as const

/** Iceberg's name of a primitive type (spec, "Primitive Types"). Nested types need field ids and are built by lake/schema. */
export function icebergPrimitive(type: ColumnType): string {
  switch (type.kind) {
    case 'decimal':
      return `decimal(${type.precision}, ${type.scale})`
    case 'list':
    case 'map':
    case 'struct':
      throw new TypeError(`${type.kind} is not a primitive type`)
    default:
      return icebergNames[type.kind]
  }
}
