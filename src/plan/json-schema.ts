import type { Column, ColumnType } from './columns.ts'
import { describeValue, isObject, type KeyPath, type Problems } from './problems.ts'
import { mergeTypes, typeText } from './column-types.ts'

const int32Min = -2_147_483_648
const int32Max = 2_147_483_647

/** The fields of an object schema as columns, and the names that must be there with a value. */
export interface SchemaFields {
  readonly columns: readonly Column[]
  readonly required: readonly string[]
}

/**
 * Columns for the properties of a JSON Schema (2020-12) of type object. A property without a column type gives a problem at
 * `[...path, name]`; so do names that are equal without regard to case.
 */
export function fieldsOfSchema(
  schema: Record<string, unknown>,
  path: KeyPath,
  problems: Problems,
): SchemaFields {
  const walk: Walk = { root: schema, problems, following: new Set() }
  const object = followReference(schema, path, walk)
  if (object === undefined) return { columns: [], required: [] }
  if (object.type !== 'object' || !isObject(object.properties ?? {})) {
    problems.add(
      path,
      `the parameters are ${typeof object.type === 'string' ? object.type : 'of no single type'}, but an event is an object`,
      'declare an object, such as z.object({ damage: z.number() })',
    )
    return { columns: [], required: [] }
  }
  const properties = isObject(object.properties) ? object.properties : {}
  const required: readonly unknown[] = Array.isArray(object.required) ? object.required : []
  return {
    columns: columnsOfProperties(object, path, walk),
    required: required.filter(
      (name): name is string => typeof name === 'string' && !allowsNull(properties[name]),
    ),
  }
}

interface Walk {
  readonly root: Record<string, unknown>
  readonly problems: Problems
  /** References that are being followed: one that comes again is recursive. */
  readonly following: Set<string>
}

function columnsOfProperties(schema: Record<string, unknown>, path: KeyPath, walk: Walk): Column[] {
  const columns: Column[] = []
  const taken = new Map<string, string>()
  const properties = isObject(schema.properties) ? schema.properties : {}
  for (const [name, property] of Object.entries(properties)) {
    const place = [...path, name]
    const same = taken.get(name.toLowerCase())
    if (same !== undefined) {
      walk.problems.add(
        place,
        `${name} and ${same} are one column: names are compared without regard to case`,
        'rename one of them',
      )
      continue
    }
    taken.set(name.toLowerCase(), name)
    const type = typeOfSchema(property, place, walk)
    if (type === undefined) continue
    const doc = isObject(property) ? property.description : undefined
    columns.push(typeof doc === 'string' ? { name, type, doc } : { name, type })
  }
  return columns
}

/** The column type of a schema, null allowed or not; undefined after a problem. */
function typeOfSchema(schema: unknown, path: KeyPath, walk: Walk): ColumnType | undefined {
  if (!isObject(schema)) return noType(path, walk)
  if (typeof schema.$ref === 'string') {
    const reference = schema.$ref
    const target = followReference(schema, path, walk)
    if (target === undefined) return undefined
    walk.following.add(reference)
    const type = typeOfSchema(target, path, walk)
    walk.following.delete(reference)
    return type
  }
  const choices = schema.anyOf ?? schema.oneOf
  if (Array.isArray(choices)) return typeOfChoices(choices, path, walk)
  if (Array.isArray(schema.type))
    return typeOfChoices(
      schema.type.map((type) => ({ ...schema, type })),
      path,
      walk,
    )
  const values = 'const' in schema ? [schema.const] : schema.enum
  if (Array.isArray(values) && (schema.type === undefined || schema.type === 'number'))
    return typeOfValues(values, path, walk)
  if (schema.type === undefined && Array.isArray(schema.allOf) && schema.allOf.length === 1)
    return typeOfSchema(schema.allOf[0], path, walk)
  return typeByName(schema, path, walk)
}

function typeByName(
  schema: Record<string, unknown>,
  path: KeyPath,
  walk: Walk,
): ColumnType | undefined {
  switch (schema.type) {
    case 'string':
      return stringType(schema)
    case 'boolean':
      return { kind: 'boolean' }
    case 'integer':
      return integerType(schema)
    case 'number':
      return { kind: 'double' }
    case 'array':
      return listType(schema, path, walk)
    case 'object':
      return objectType(schema, path, walk)
    case 'null':
      walk.problems.add(
        path,
        'is always null: it has no column type',
        'give it a type, or leave it out (it stays in raw_event)',
      )
      return undefined
    default:
      return noType(path, walk)
  }
}

function stringType(schema: Record<string, unknown>): ColumnType {
  if (schema.contentEncoding === 'base64') return { kind: 'binary' }
  switch (schema.format) {
    case 'date':
      return { kind: 'date' }
    case 'date-time':
      return { kind: 'timestamptz' }
    case 'uuid':
      return { kind: 'uuid' }
    default:
      return { kind: 'string' }
  }
}

/** A 32-bit integer when both bounds say so, else 64 bits: without bounds nobody has promised that it stays small. */
function integerType(schema: Record<string, unknown>): ColumnType {
  const low = bound(schema.minimum, schema.exclusiveMinimum)
  const high = bound(schema.maximum, schema.exclusiveMaximum)
  const fits = low !== undefined && high !== undefined && low >= int32Min && high <= int32Max
  return { kind: fits ? 'int' : 'long' }
}

function bound(inclusive: unknown, exclusive: unknown): number | undefined {
  if (typeof inclusive === 'number') return inclusive
  return typeof exclusive === 'number' ? exclusive : undefined
}

function listType(
  schema: Record<string, unknown>,
  path: KeyPath,
  walk: Walk,
): ColumnType | undefined {
  if (schema.prefixItems !== undefined) {
    walk.problems.add(
      path,
      'is a tuple: a list has elements of one type',
      'declare z.array(…) of one type, or an object with a name for each element',
    )
    return undefined
  }
  const element = typeOfSchema(schema.items, [...path, 'items'], walk)
  return element === undefined ? undefined : { kind: 'list', element }
}

function objectType(
  schema: Record<string, unknown>,
  path: KeyPath,
  walk: Walk,
): ColumnType | undefined {
  const properties = isObject(schema.properties) ? Object.keys(schema.properties) : []
  if (properties.length > 0) {
    const before = walk.problems.list.length
    const fields = columnsOfProperties(schema, path, walk)
    return walk.problems.list.length > before ? undefined : { kind: 'struct', fields }
  }
  const values = schema.additionalProperties
  if (isObject(values) && Object.keys(values).length > 0) {
    const value = typeOfSchema(values, path, walk)
    return value === undefined ? undefined : { kind: 'map', value }
  }
  walk.problems.add(
    path,
    'is an object without declared properties: it has no column type',
    'declare its properties, or z.record(z.string(), …) for a map, or leave it out (it stays in raw_event)',
  )
  return undefined
}

function typeOfChoices(
  choices: readonly unknown[],
  path: KeyPath,
  walk: Walk,
): ColumnType | undefined {
  const present = choices.filter((choice) => !isNullSchema(choice))
  if (present.length === 0) return typeByName({ type: 'null' }, path, walk)
  let merged: ColumnType | undefined
  for (const choice of present) {
    const type = typeOfSchema(choice, path, walk)
    if (type === undefined) return undefined
    const both = merged === undefined ? type : mergeTypes(merged, type)
    if (both === undefined) {
      walk.problems.add(
        path,
        `is ${merged === undefined ? '' : typeText(merged)} or ${typeText(type)}: a column has one type`,
        'declare one type; of several kinds of objects make one with optional properties',
      )
      return undefined
    }
    merged = both
  }
  return merged
}

function allowsNull(schema: unknown): boolean {
  if (!isObject(schema)) return false
  const choices = [schema.anyOf, schema.oneOf].flat().filter((choice) => choice !== undefined)
  const types = [schema.type].flat()
  const values = [schema.enum].flat()
  return types.includes('null') || values.includes(null) || choices.some(allowsNull)
}

function isNullSchema(schema: unknown): boolean {
  return isObject(schema) && (schema.type === 'null' || schema.const === null)
}

function typeOfValues(
  values: readonly unknown[],
  path: KeyPath,
  walk: Walk,
): ColumnType | undefined {
  const present = values.filter((value) => value !== null)
  if (present.length > 0) {
    if (present.every((value) => typeof value === 'string')) return { kind: 'string' }
    if (present.every((value) => typeof value === 'boolean')) return { kind: 'boolean' }
    if (present.every((value) => typeof value === 'number')) return numbersType(present)
  }
  walk.problems.add(
    path,
    `its values ${present.slice(0, 3).map(describeValue).join(', ')} are not of one plain type`,
    'list texts, numbers or booleans only',
  )
  return undefined
}

function numbersType(values: readonly number[]): ColumnType {
  if (!values.every((value) => Number.isSafeInteger(value))) return { kind: 'double' }
  return { kind: values.every((value) => value >= int32Min && value <= int32Max) ? 'int' : 'long' }
}

function noType(path: KeyPath, walk: Walk): undefined {
  walk.problems.add(
    path,
    'has no type: a column needs one',
    'give it a type, or leave it out (undeclared fields stay in raw_event)',
  )
  return undefined
}

/** The schema itself, or what its `$ref` (a JSON pointer into the same document) names. */
function followReference(
  schema: Record<string, unknown>,
  path: KeyPath,
  walk: Walk,
): Record<string, unknown> | undefined {
  const reference = schema.$ref
  if (typeof reference !== 'string') return schema
  if (reference === '#' || walk.following.has(reference)) {
    walk.problems.add(
      path,
      'contains itself: a column has a fixed depth',
      'declare as many levels as you need, or leave it out (it stays in raw_event)',
    )
    return undefined
  }
  let target: unknown = walk.root
  for (const part of reference.replace(/^#\//, '').split('/')) {
    const key = decodeURIComponent(part).replaceAll('~1', '/').replaceAll('~0', '~')
    target = isObject(target) && Object.hasOwn(target, key) ? target[key] : undefined
  }
  if (reference.startsWith('#/') && isObject(target)) return target
  walk.problems.add(
    path,
    `refers to ${reference}, which is not in this schema`,
    'define it under $defs of the same schema',
  )
  return undefined
}
