import { QuestlogError } from '../core/errors.ts'
import { highestId, objectsOf } from './metadata-updates.ts'
import type { PartitionSpec, TableMetadata } from './metadata.ts'
import type { TableSchema } from './schema.ts'

/** What another engine asks for when it creates a table (Iceberg REST specification, `CreateTableRequest`). */
export interface CreateRequest {
  readonly name: string
  readonly location?: string | null
  readonly schema: TableSchema
  readonly 'partition-spec'?: PartitionSpec | null
  readonly 'write-order'?: {
    readonly 'order-id': number
    readonly fields: readonly unknown[]
  } | null
  readonly properties?: Readonly<Record<string, string>> | null
  readonly 'stage-create'?: boolean
}

interface SourceField {
  readonly 'source-id': number
  readonly 'field-id'?: number
}

/** First id of a partition field (spec, "Partitioning"). */
const partitionIdMin = 1000

/** The metadata of an empty table as it was asked for; column ids are given anew, from 1 on, as the specification has it. REQUEST_MALFORMED */
export function metadataOf(
  request: CreateRequest,
  table: { readonly uuid: string; readonly location: string; readonly nowMs: number },
): TableMetadata {
  objectsOf(request.schema?.fields, 'the fields of the schema')
  objectsOf(request['partition-spec']?.fields ?? [], 'the fields of the partition spec')
  objectsOf(request['write-order']?.fields ?? [], 'the fields of the write order')
  const version = request.properties?.['format-version'] ?? '2'
  if (version !== '2')
    throw new QuestlogError(
      'REQUEST_MALFORMED',
      `format version ${version} is not kept here, only 2, which every engine reads`,
    )
  const ids = new Map<number, number>()
  const fields = withFreshIds(request.schema.fields, ids) as TableSchema['fields'] // only ids were changed
  const renumber = <T extends SourceField>(field: T): T => ({
    ...field,
    'source-id': ids.get(field['source-id']) ?? field['source-id'],
  })
  const spec = (request['partition-spec']?.fields ?? []).map((field, index) => ({
    ...renumber(field),
    'field-id': field['field-id'] ?? partitionIdMin + index,
  }))
  const order = (request['write-order']?.fields ?? []).map((field) =>
    renumber(field as SourceField),
  ) // an id and what to do with it
  const identifiers = (request.schema as { 'identifier-field-ids'?: readonly number[] })[
    'identifier-field-ids'
  ]
  const schema = {
    ...request.schema,
    'schema-id': 0,
    fields,
    ...(identifiers === undefined
      ? {}
      : { 'identifier-field-ids': identifiers.map((id) => ids.get(id) ?? id) }),
  }
  const { 'format-version': _, ...properties } = request.properties ?? {}
  return {
    ...emptyMetadata(table),
    'last-column-id': highestId(fields),
    schemas: [schema],
    'current-schema-id': 0,
    'partition-specs': [{ 'spec-id': 0, fields: spec }],
    'default-spec-id': 0,
    'last-partition-id': Math.max(partitionIdMin - 1, ...spec.map((field) => field['field-id'])),
    'sort-orders': [sortOrder(order)],
    'default-sort-order-id': order.length === 0 ? 0 : 1,
    properties,
  }
}

/** A table that has nothing yet, not even a schema: what the updates of a staged creation start from. */
export function emptyMetadata(table: {
  readonly uuid: string
  readonly location: string
  readonly nowMs: number
}): TableMetadata {
  return {
    'format-version': 2,
    'table-uuid': table.uuid,
    location: table.location,
    'last-sequence-number': 0,
    'last-updated-ms': table.nowMs,
    'last-column-id': 0,
    schemas: [],
    'current-schema-id': -1,
    'partition-specs': [],
    'default-spec-id': -1,
    'last-partition-id': partitionIdMin - 1,
    'sort-orders': [],
    'default-sort-order-id': 0,
    properties: {},
    'current-snapshot-id': -1,
    snapshots: [],
    'snapshot-log': [],
    'metadata-log': [],
    refs: {},
  }
}

function sortOrder(fields: readonly unknown[]): { 'order-id': number; fields: readonly unknown[] } {
  return { 'order-id': fields.length === 0 ? 0 : 1, fields }
}

type Json = Readonly<Record<string, unknown>>

/** All fields of a struct first, then what is nested in them, as Iceberg's own writers number them. Notes old → new in `ids`. */
function withFreshIds(fields: readonly unknown[], ids: Map<number, number>): unknown[] {
  let next = 1
  const take = (old: unknown): number => {
    const id = next++
    if (typeof old === 'number') ids.set(old, id)
    return id
  }
  const ofType = (type: unknown): unknown => {
    if (typeof type !== 'object' || type === null) return type
    const nested = type as Json // a JSON object
    if (nested['type'] === 'struct') return { ...nested, fields: ofFields(nested['fields']) }
    if (nested['type'] === 'list') {
      const id = take(nested['element-id'])
      return { ...nested, 'element-id': id, element: ofType(nested['element']) }
    }
    if (nested['type'] !== 'map') return nested
    const keyId = take(nested['key-id'])
    const valueId = take(nested['value-id'])
    return {
      ...nested,
      'key-id': keyId,
      'value-id': valueId,
      key: ofType(nested['key']),
      value: ofType(nested['value']),
    }
  }
  const ofFields = (list: unknown): unknown[] => {
    const given = objectsOf(list, 'the fields of a struct')
    const numbered = given.map((field) => ({ ...field, id: take(field['id']) }))
    return numbered.map((field) => ({ ...field, type: ofType((field as Json)['type']) }))
  }
  return ofFields(fields)
}
