import { QuestlogError } from '../core/errors.ts'
import {
  duckdbType,
  icebergPrimitive,
  quoteName,
  quoteText,
  type Column,
  type ColumnType,
} from '../plan/columns.ts'

/** Iceberg schemas as they stand in metadata (spec, Appendix C, "Schemas"). Every column and every nested field has an id that it keeps for good. */
export type IcebergType = string | IcebergStruct | IcebergList | IcebergMap

export interface IcebergField {
  readonly id: number
  readonly name: string
  readonly required: boolean
  readonly type: IcebergType
  readonly doc?: string
}

export interface IcebergStruct {
  readonly type: 'struct'
  readonly fields: readonly IcebergField[]
}

export interface IcebergList {
  readonly type: 'list'
  readonly 'element-id': number
  readonly element: IcebergType
  readonly 'element-required': boolean
}

export interface IcebergMap {
  readonly type: 'map'
  readonly 'key-id': number
  readonly key: IcebergType
  readonly 'value-id': number
  readonly value: IcebergType
  readonly 'value-required': boolean
}

export interface TableSchema extends IcebergStruct {
  readonly 'schema-id': number
}

/** The fields of a new schema and the highest id in use. */
export interface FieldsWithIds {
  readonly fields: readonly IcebergField[]
  readonly lastColumnId: number
}

/**
 * Gives columns their ids: a column that is in `current` (names match without regard to case), or was under the name that `renamed` has for it (old by new one), keeps
 * its id, others get new ones above `lastColumnId`. Allowed changes: a column is added, left out or moved; int → long, float → double, a decimal of more digits; a field is added to a struct.
 * Throws EVOLUTION_REFUSED, with the reason and a way out, for every other change.
 */
export function assignIds(
  current: readonly IcebergField[],
  lastColumnId: number,
  columns: readonly Column[],
  renamed: Renamed = {},
): FieldsWithIds {
  let last = lastColumnId
  const nextId = () => ++last
  const fields = resolveFields(columns, withNewNames(current, columns, renamed), [], nextId)
  return { fields, lastColumnId: last }
}

/** Old names of columns by their new ones. A rename that was made before changes nothing. */
export type Renamed = Readonly<Record<string, string>>

/** The columns that a table with these is to have. */
export type WantedColumns = (existing: readonly Column[]) => readonly Column[]

/** Whether a schema already has what `wanted` asks for: given its columns, that answers with the same. */
export function hasColumns(schema: IcebergStruct, wanted: WantedColumns, renamed?: Renamed) {
  try {
    const { fields } = assignIds(schema.fields, 0, wanted(columnsOf(schema)), renamed)
    return JSON.stringify(fields) === JSON.stringify(schema.fields)
  } catch (error) {
    if (error instanceof QuestlogError && error.code === 'EVOLUTION_REFUSED') return false
    throw error
  }
}

function withNewNames(
  current: readonly IcebergField[],
  columns: readonly Column[],
  renamed: Renamed,
): readonly IcebergField[] {
  const has = (fields: readonly { name: string }[], name: string) =>
    fields.some((field) => field.name.toLowerCase() === name.toLowerCase())
  const newNames = new Map<string, string>()
  for (const [name, former] of Object.entries(renamed)) {
    if (!has(current, former) || has(columns, former)) continue
    if (has(current, name))
      throw refused(
        [former],
        `can not be called ${name}: the table has both`,
        `leave it as it is, or drop it: dropped: ['${former}']`,
      )
    newNames.set(former.toLowerCase(), name)
  }
  return current.map((field) => ({
    ...field,
    name: newNames.get(field.name.toLowerCase()) ?? field.name,
  }))
}

function resolveFields(
  columns: readonly Column[],
  current: readonly IcebergField[],
  path: readonly string[],
  nextId: () => number,
): IcebergField[] {
  const byName = new Map(current.map((field) => [field.name.toLowerCase(), field]))
  const seen = new Set<string>()
  return columns.map((column) => {
    const key = column.name.toLowerCase()
    if (seen.has(key))
      throw refused([...path, column.name], 'is there twice', 'names differ in more than case')
    seen.add(key)
    const old = byName.get(key)
    return {
      id: old?.id ?? nextId(),
      name: column.name,
      required: old?.required ?? false,
      type: resolveType(column.type, old?.type, [...path, column.name], nextId),
      ...(column.doc === undefined ? {} : { doc: column.doc }),
    }
  })
}

function resolveType(
  type: ColumnType,
  old: IcebergType | undefined,
  path: readonly string[],
  nextId: () => number,
): IcebergType {
  const same = typeof old === 'object' && old.type === type.kind ? old : undefined
  if (old !== undefined && same === undefined && (typeof old === 'object' || isNested(type)))
    throw cannotBecome(path, old, type.kind)
  switch (type.kind) {
    case 'list': {
      const list = same?.type === 'list' ? same : undefined
      return {
        type: 'list',
        'element-id': list?.['element-id'] ?? nextId(),
        element: resolveType(type.element, list?.element, [...path, 'element'], nextId),
        'element-required': false,
      }
    }
    case 'map': {
      const map = same?.type === 'map' ? same : undefined
      return {
        type: 'map',
        'key-id': map?.['key-id'] ?? nextId(),
        key: 'string',
        'value-id': map?.['value-id'] ?? nextId(),
        value: resolveType(type.value, map?.value, [...path, 'value'], nextId),
        'value-required': false,
      }
    }
    case 'struct': {
      const fields = same?.type === 'struct' ? same.fields : []
      refuseLostFields(fields, type.fields, path)
      return { type: 'struct', fields: resolveFields(type.fields, fields, path, nextId) }
    }
    default: {
      const name = icebergPrimitive(type)
      if (typeof old === 'string' && old !== name && !widens(old, name))
        throw cannotBecome(path, old, name)
      return name
    }
  }
}

/** DuckDB reads the fields inside a struct by name and can't read one of which no field is left; a name that came back would show old values. So none may go. */
function refuseLostFields(
  current: readonly IcebergField[],
  next: readonly Column[],
  path: readonly string[],
): void {
  const kept = new Set(next.map((field) => field.name.toLowerCase()))
  const lost = current.find((field) => !kept.has(field.name.toLowerCase()))
  if (lost !== undefined)
    throw refused(
      [...path, lost.name],
      'is part of a nested column and can not be left out',
      'keep it (it is null where an event does not have it), or start a new table',
    )
}

function isNested(type: ColumnType): boolean {
  return type.kind === 'list' || type.kind === 'map' || type.kind === 'struct'
}

/** Iceberg v2's type promotions (spec, "Schema Evolution"). */
function widens(from: string, to: string): boolean {
  if (from === 'int' && to === 'long') return true
  if (from === 'float' && to === 'double') return true
  const old = parseDecimal(from)
  const next = parseDecimal(to)
  if (old === undefined || next === undefined) return false
  return old.scale === next.scale && old.precision < next.precision
}

function cannotBecome(path: readonly string[], old: IcebergType, next: string): QuestlogError {
  const name = typeof old === 'string' ? old : old.type
  return refused(
    path,
    `is ${name} in the table and can not become ${next}`,
    `declare it as ${name} again, or give the new column another name`,
  )
}

function refused(path: readonly string[], reason: string, hint: string): QuestlogError {
  const column = path.join('.')
  return new QuestlogError('EVOLUTION_REFUSED', `column ${column} ${reason}`, { column }, { hint })
}

function parseDecimal(name: string): { precision: number; scale: number } | undefined {
  const match = /^decimal\(\s*(\d+)\s*,\s*(\d+)\s*\)$/.exec(name)
  return match === null ? undefined : { precision: Number(match[1]), scale: Number(match[2]) }
}

/** The columns of a schema. Throws FORMAT_UNKNOWN for a type that questlog has no column type for (another engine added it). */
export function columnsOf(struct: IcebergStruct): Column[] {
  return struct.fields.map((field) => ({
    name: field.name,
    type: columnType(field.type, field.name),
    ...(field.doc === undefined ? {} : { doc: field.doc }),
  }))
}

const primitives: ReadonlyMap<string, ColumnType> = new Map(
  (
    [
      'string',
      'boolean',
      'int',
      'long',
      'double',
      'date',
      'timestamp',
      'timestamptz',
      'binary',
    ] as const
  ).map((kind) => [kind, { kind }]),
)

function columnType(type: IcebergType, name: string): ColumnType {
  if (typeof type === 'object') {
    if (type.type === 'struct') return { kind: 'struct', fields: columnsOf(type) }
    if (type.type === 'list') return { kind: 'list', element: columnType(type.element, name) }
    if (type.key === 'string') return { kind: 'map', value: columnType(type.value, name) }
  } else {
    const decimal = parseDecimal(type)
    if (decimal !== undefined) return { kind: 'decimal', ...decimal }
    const primitive = primitives.get(type === 'float' ? 'double' : type)
    if (primitive !== undefined) return primitive
  }
  const shown = JSON.stringify(type)
  throw new QuestlogError(
    'FORMAT_UNKNOWN',
    `column ${name} has the type ${shown}, which questlog can't read`,
    { column: name, type: shown },
    { hint: 'read the table with the engine that added the column, or drop the column there' },
  )
}

/** A column without further parts: what a Parquet file has statistics for. */
export interface Leaf {
  readonly id: number
  /** Iceberg's name of the primitive type. */
  readonly type: string
  /** The quoted path under which DuckDB returns statistics, such as `"device"."os"`. */
  readonly key: string
  /** Inside a list or a map: there is not one value a row, so counts and bounds say nothing about rows. */
  readonly repeated: boolean
}

export function leavesOf(struct: IcebergStruct): Leaf[] {
  return struct.fields.flatMap((field) =>
    leaves(field.id, field.type, quoteName(field.name), false),
  )
}

function leaves(id: number, type: IcebergType, key: string, repeated: boolean): Leaf[] {
  if (typeof type === 'string') return [{ id, type, key, repeated }]
  return children(type).flatMap((child) =>
    leaves(
      child.id,
      child.type,
      `${key}.${quoteName(child.name)}`,
      repeated || type.type !== 'struct',
    ),
  )
}

/** The parts of a nested type under the names that Parquet gives them. */
function children(type: Exclude<IcebergType, string>) {
  if (type.type === 'struct') return type.fields
  if (type.type === 'list') return [{ id: type['element-id'], name: 'element', type: type.element }]
  return [
    { id: type['key-id'], name: 'key', type: type.key },
    { id: type['value-id'], name: 'value', type: type.value },
  ]
}

/** DuckDB's FIELD_IDS option for COPY. */
export function fieldIdsSql(struct: IcebergStruct): string {
  return `{${struct.fields.map(fieldIdSql).join(', ')}}`
}

function fieldIdSql(field: Pick<IcebergField, 'id' | 'name' | 'type'>): string {
  const name = quoteName(field.name)
  if (typeof field.type === 'string') return `${name}: ${field.id}`
  const parts = children(field.type).map(fieldIdSql)
  return `${name}: {${[`__duckdb_field_id: ${field.id}`, ...parts].join(', ')}}`
}

/** The map for read_parquet's `schema` option: columns by field id, whatever they were called when the file was written; null where it has none. */
export function readSchemaSql(struct: IcebergStruct): string {
  const entries = struct.fields.map((field) => {
    const type = quoteText(duckdbType(columnType(field.type, field.name)))
    return `${field.id}: {name: ${quoteText(field.name)}, type: ${type}, default_value: NULL}`
  })
  return `MAP {${entries.join(', ')}}`
}
