import { duckdbType, type ColumnType } from './columns.ts'

/** The type that holds the values of both without loss: the same type, or `long` for `int` and `long`. Undefined when there is none. */
export function mergeTypes(a: ColumnType, b: ColumnType): ColumnType | undefined {
  if (JSON.stringify(plain(a)) === JSON.stringify(plain(b))) return a
  const kinds = [a.kind, b.kind]
  return kinds.includes('int') && kinds.includes('long') ? { kind: 'long' } : undefined
}

/** A type without the docs of its fields, which do not make it another type. */
function plain(type: ColumnType): unknown {
  switch (type.kind) {
    case 'list':
      return { kind: 'list', element: plain(type.element) }
    case 'map':
      return { kind: 'map', value: plain(type.value) }
    case 'struct':
      return {
        kind: 'struct',
        fields: type.fields.map((field) => [field.name, plain(field.type)]),
      }
    case 'decimal':
      return [type.kind, type.precision, type.scale]
    default:
      return type.kind
  }
}

/** A type as people read it: `long`, `list of string`, `struct(id string, at timestamptz)`. */
export function typeText(type: ColumnType): string {
  switch (type.kind) {
    case 'list':
      return `list of ${typeText(type.element)}`
    case 'map':
      return `map of ${typeText(type.value)}`
    case 'struct':
      return `struct(${type.fields.map((field) => `${field.name} ${typeText(field.type)}`).join(', ')})`
    case 'decimal':
      return duckdbType(type).toLowerCase()
    default:
      return type.kind
  }
}

/** The type of a fixed value. */
export function typeOfFixed(value: string | number | boolean): ColumnType {
  if (typeof value === 'string') return { kind: 'string' }
  if (typeof value === 'boolean') return { kind: 'boolean' }
  return { kind: Number.isSafeInteger(value) ? 'long' : 'double' }
}

/** Whether a fixed value can stand in a column of this type. */
export function fitsType(value: string | number | boolean, type: ColumnType): boolean {
  switch (type.kind) {
    case 'string':
      return true
    case 'boolean':
      return typeof value === 'boolean'
    case 'int':
      return typeof value === 'number' && Number.isInteger(value) && Math.abs(value) < 2 ** 31
    case 'long':
      return typeof value === 'number' && Number.isSafeInteger(value)
    case 'double':
    case 'decimal':
      return typeof value === 'number'
    case 'list':
    case 'map':
    case 'struct':
      return false
    default:
      return typeof value === 'string'
  }
}
