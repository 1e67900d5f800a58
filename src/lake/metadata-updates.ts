import { QuestlogError } from '../core/errors.ts'
import {
  withoutSnapshots,
  type Long,
  type PartitionSpec,
  type Snapshot,
  type TableMetadata,
} from './metadata.ts'
import type { TableSchema } from './schema.ts'

/** One change of a table's metadata, as the REST catalog's commits hold them (Iceberg REST specification, `TableUpdate`). */
export interface MetadataUpdate {
  readonly action: string
  readonly [name: string]: unknown
}

/** What must hold for a commit (Iceberg REST specification, `TableRequirement`). */
export interface CommitRequirement {
  readonly type: string
  readonly [name: string]: unknown
}

/** `-1` as an id means the one that an earlier update of the same commit has added. */
const lastAdded = -1

type Refs = NonNullable<TableMetadata['refs']>

/** What an update changes: the metadata, and which ids the commit has added so far. */
interface Draft {
  metadata: TableMetadata
  schemaId: number
  specId: number
  orderId: number
}

/** Applies the updates of a commit in their order. REQUEST_MALFORMED for one that is not known, or that names what is not there. */
export function applyUpdates(
  metadata: TableMetadata,
  updates: readonly MetadataUpdate[],
  nowMs: number,
): TableMetadata {
  const draft: Draft = {
    metadata,
    schemaId: metadata['current-schema-id'],
    specId: metadata['default-spec-id'],
    orderId: metadata['default-sort-order-id'],
  }
  for (const update of updates) {
    const apply = Object.hasOwn(appliers, update.action) ? appliers[update.action] : undefined
    if (apply === undefined) throw malformed(`the update "${update.action}" is not served`)
    apply(draft, update, nowMs)
  }
  return draft.metadata
}

type Applier = (draft: Draft, update: MetadataUpdate, nowMs: number) => void

const appliers: Readonly<Record<string, Applier>> = {
  'assign-uuid'(draft, update) {
    const uuid = textOf(update, 'uuid')
    if (draft.metadata['table-uuid'] !== uuid) set(draft, { 'table-uuid': uuid })
  },
  'upgrade-format-version'(_draft, update) {
    if (update['format-version'] !== 2)
      throw malformed('only format version 2 is kept here: every engine reads it')
  },
  'add-schema': addSchema,
  'set-current-schema'(draft, update) {
    const id = chosen(update, 'schema-id', draft.schemaId)
    requireId(draft.metadata.schemas, 'schema-id', id)
    set(draft, { 'current-schema-id': id })
  },
  'add-spec': addSpec,
  'set-default-spec'(draft, update) {
    const id = chosen(update, 'spec-id', draft.specId)
    requireId(draft.metadata['partition-specs'], 'spec-id', id)
    set(draft, { 'default-spec-id': id })
  },
  'add-sort-order'(draft, update) {
    const order = objectOf(update, 'sort-order') as { 'order-id': number; fields?: unknown[] } // its id is checked below
    const known = draft.metadata['sort-orders']
    const same = known.find((each) =>
      isSame(withoutKey(each, 'order-id'), withoutKey(order, 'order-id')),
    )
    const next = Math.max(0, ...known.map((each) => each['order-id'])) + 1
    const isUnsorted = (order.fields ?? []).length === 0
    draft.orderId = same?.['order-id'] ?? (isUnsorted ? 0 : next)
    if (same === undefined)
      set(draft, { 'sort-orders': [...known, { ...order, 'order-id': draft.orderId }] })
  },
  'set-default-sort-order'(draft, update) {
    const id = chosen(update, 'sort-order-id', draft.orderId)
    requireId(draft.metadata['sort-orders'], 'order-id', id)
    set(draft, { 'default-sort-order-id': id })
  },
  'add-snapshot': addSnapshot,
  'set-snapshot-ref': setRef,
  'remove-snapshot-ref'(draft, update) {
    const name = textOf(update, 'ref-name')
    const refs = Object.fromEntries(
      Object.entries(draft.metadata.refs ?? {}).filter(([each]) => each !== name),
    )
    set(draft, { refs, ...(name === 'main' ? { 'current-snapshot-id': -1 } : {}) })
  },
  'remove-snapshots'(draft, update) {
    draft.metadata = withoutSnapshots(
      draft.metadata,
      new Set(listOf(update, 'snapshot-ids') as Long[]), // compared only
    )
  },
  'set-location'(draft, update) {
    set(draft, { location: textOf(update, 'location') })
  },
  'set-properties'(draft, update) {
    const changes = objectOf(update, 'updates') as Record<string, string> // written back as they came
    set(draft, { properties: { ...draft.metadata.properties, ...changes } })
  },
  'remove-properties'(draft, update) {
    const removed = new Set(listOf(update, 'removals'))
    const kept = Object.entries(draft.metadata.properties ?? {}).filter(
      ([name]) => !removed.has(name),
    )
    set(draft, { properties: Object.fromEntries(kept) })
  },
  'set-statistics': (draft, update) => setStatistics(draft, update, 'statistics', 'statistics'),
  'set-partition-statistics': (draft, update) =>
    setStatistics(draft, update, 'partition-statistics', 'partition-statistics'),
  'remove-statistics': (draft, update) => removeStatistics(draft, update, 'statistics'),
  'remove-partition-statistics': (draft, update) =>
    removeStatistics(draft, update, 'partition-statistics'),
  'remove-partition-specs'(draft, update) {
    const removed = new Set(listOf(update, 'spec-ids'))
    if (removed.has(draft.metadata['default-spec-id']))
      throw malformed('the default partition spec can not be removed')
    const specs = draft.metadata['partition-specs'].filter((spec) => !removed.has(spec['spec-id']))
    set(draft, { 'partition-specs': specs })
  },
  'remove-schemas'(draft, update) {
    const removed = new Set(listOf(update, 'schema-ids'))
    if (removed.has(draft.metadata['current-schema-id']))
      throw malformed('the current schema can not be removed')
    set(draft, {
      schemas: draft.metadata.schemas.filter((schema) => !removed.has(schema['schema-id'])),
    })
  },
}

function addSchema(draft: Draft, update: MetadataUpdate): void {
  const schema = objectOf(update, 'schema') as unknown as TableSchema // its ids are read below, the rest is kept as it came
  objectsOf(schema.fields, 'the fields of a schema')
  const known = draft.metadata.schemas
  const same = known.find((each) => isSame(each.fields, schema.fields))
  if (same !== undefined) {
    draft.schemaId = same['schema-id']
    return
  }
  draft.schemaId = Math.max(-1, ...known.map((each) => each['schema-id'])) + 1
  const told = update['last-column-id']
  const lastColumnId = Math.max(
    draft.metadata['last-column-id'],
    highestId(schema.fields),
    typeof told === 'number' ? told : 0,
  )
  set(draft, {
    schemas: [...known, { ...schema, 'schema-id': draft.schemaId }],
    'last-column-id': lastColumnId,
  })
}

function addSpec(draft: Draft, update: MetadataUpdate): void {
  const given = objectOf(update, 'spec') as unknown as PartitionSpec // its fields are checked below
  const known = draft.metadata['partition-specs']
  let last = draft.metadata['last-partition-id']
  objectsOf(given.fields, 'the fields of a partition spec')
  const fields = given.fields.map((field) => {
    const id = typeof field['field-id'] === 'number' ? field['field-id'] : last + 1
    last = Math.max(last, id)
    return { ...field, 'field-id': id }
  })
  const same = known.find((spec) => isSame(spec.fields, fields))
  if (same !== undefined) {
    draft.specId = same['spec-id']
    return
  }
  draft.specId = Math.max(-1, ...known.map((spec) => spec['spec-id'])) + 1
  const spec = { 'spec-id': draft.specId, fields }
  set(draft, { 'partition-specs': [...known, spec], 'last-partition-id': last })
}

function addSnapshot(draft: Draft, update: MetadataUpdate): void {
  const snapshot = objectOf(update, 'snapshot') as unknown as Snapshot // its numbers are checked below
  const { metadata } = draft
  const { summary } = snapshot
  if (typeof snapshot['manifest-list'] !== 'string' || typeof (summary ?? '') !== 'object')
    throw malformed('a snapshot needs a manifest-list and a summary')
  const number = snapshot['sequence-number']
  if (metadata.snapshots?.some((each) => each['snapshot-id'] === snapshot['snapshot-id']) === true)
    throw malformed(`snapshot ${snapshot['snapshot-id']} is there already`)
  if (typeof number !== 'number' || number <= metadata['last-sequence-number'])
    throw new QuestlogError(
      'COMMIT_CONFLICT',
      `snapshot ${snapshot['snapshot-id']} has sequence number ${number}, the table is at ${metadata['last-sequence-number']}`,
    )
  set(draft, {
    snapshots: [...(metadata.snapshots ?? []), snapshot],
    'last-sequence-number': number,
  })
}

function setRef(draft: Draft, update: MetadataUpdate, nowMs: number): void {
  const name = textOf(update, 'ref-name')
  const { action: _, 'ref-name': __, ...ref } = update
  const id = update['snapshot-id'] as Long // compared only
  const { metadata } = draft
  if (metadata.snapshots?.some((each) => each['snapshot-id'] === id) !== true)
    throw malformed(`there is no snapshot ${String(id)} for the reference ${name}`)
  const refs: Refs = { ...metadata.refs, [name]: ref as Refs[string] }
  if (name !== 'main') return set(draft, { refs })
  const isNew = metadata['current-snapshot-id'] !== id
  const log = metadata['snapshot-log'] ?? []
  const entry = { 'timestamp-ms': nowMs, 'snapshot-id': id }
  set(draft, {
    refs,
    'current-snapshot-id': id,
    'snapshot-log': isNew ? [...log, entry] : log,
  })
}

type StatisticsKey = 'statistics' | 'partition-statistics'

function setStatistics(
  draft: Draft,
  update: MetadataUpdate,
  key: StatisticsKey,
  field: string,
): void {
  const added = objectOf(update, field) as unknown as NonNullable<
    TableMetadata['statistics']
  >[number] // kept as it came
  const others = (draft.metadata[key] ?? []).filter(
    (each) => each['snapshot-id'] !== added['snapshot-id'],
  )
  set(draft, { [key]: [...others, added] })
}

function removeStatistics(draft: Draft, update: MetadataUpdate, key: StatisticsKey): void {
  const id = update['snapshot-id']
  set(draft, {
    [key]: (draft.metadata[key] ?? []).filter((each) => each['snapshot-id'] !== id),
  })
}

/**
 * Throws COMMIT_CONFLICT for the first requirement that does not hold; `metadata` is undefined while there is no table. REQUEST_MALFORMED for one that is not known.
 */
export function checkRequirements(
  metadata: TableMetadata | undefined,
  requirements: readonly CommitRequirement[],
): void {
  for (const requirement of requirements) {
    const { type } = requirement
    if (type === 'assert-create') {
      if (metadata !== undefined) throw conflict('the table exists')
      continue
    }
    if (metadata === undefined) throw conflict('the table does not exist')
    const check = Object.hasOwn(checks, type) ? checks[type] : undefined
    if (check === undefined) throw malformed(`the requirement "${type}" is not served`)
    const [wanted, actual] = check(metadata, requirement)
    if (wanted !== actual) throw conflict(`${type}: it is ${String(actual)}, not ${String(wanted)}`)
  }
}

type Check = (
  metadata: TableMetadata,
  requirement: CommitRequirement,
) => readonly [unknown, unknown]

const sameNumber =
  (wanted: string, key: keyof TableMetadata): Check =>
  (metadata, requirement) => [requirement[wanted], metadata[key]]

const checks: Readonly<Record<string, Check>> = {
  'assert-table-uuid': sameNumber('uuid', 'table-uuid'),
  'assert-last-assigned-field-id': sameNumber('last-assigned-field-id', 'last-column-id'),
  'assert-current-schema-id': sameNumber('current-schema-id', 'current-schema-id'),
  'assert-last-assigned-partition-id': sameNumber(
    'last-assigned-partition-id',
    'last-partition-id',
  ),
  'assert-default-spec-id': sameNumber('default-spec-id', 'default-spec-id'),
  'assert-default-sort-order-id': sameNumber('default-sort-order-id', 'default-sort-order-id'),
  'assert-ref-snapshot-id': (metadata, requirement) => {
    const ref = metadata.refs?.[String(requirement['ref'])]
    const wanted = requirement['snapshot-id'] ?? null
    return [wanted === -1 ? null : wanted, ref?.['snapshot-id'] ?? null]
  },
}

/** The highest field id of a schema, nested fields included. */
export function highestId(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0
  if (Array.isArray(value)) return Math.max(0, ...value.map(highestId))
  return Object.entries(value).reduce((highest, [key, part]) => {
    const isId = ['id', 'element-id', 'key-id', 'value-id'].includes(key)
    return Math.max(highest, isId && typeof part === 'number' ? part : highestId(part))
  }, 0)
}

function set(draft: Draft, changes: Partial<TableMetadata>): void {
  draft.metadata = { ...draft.metadata, ...changes }
}

function chosen(update: MetadataUpdate, name: string, last: number): number {
  const id = update[name]
  if (typeof id !== 'number') throw malformed(`the update "${update.action}" needs ${name}`)
  return id === lastAdded ? last : id
}

function requireId<K extends string>(
  items: readonly Readonly<Record<K, unknown>>[],
  key: K,
  id: number,
): void {
  if (!items.some((item) => item[key] === id)) throw malformed(`there is no ${key} ${id}`)
}

function textOf(update: MetadataUpdate, name: string): string {
  const value = update[name]
  if (typeof value === 'string') return value
  throw malformed(`the update "${update.action}" needs ${name}`)
}

function objectOf(update: MetadataUpdate, name: string): Record<string, unknown> {
  const value = update[name]
  if (typeof value === 'object' && value !== null && !Array.isArray(value))
    return value as Record<string, unknown> // checked
  throw malformed(`the update "${update.action}" needs ${name}`)
}

function listOf(update: MetadataUpdate, name: string): unknown[] {
  const value = update[name]
  if (Array.isArray(value)) return value
  throw malformed(`the update "${update.action}" needs ${name}`)
}

/** A list of JSON objects, as a request must hold it under this name. REQUEST_MALFORMED */
export function objectsOf(value: unknown, name: string): Record<string, unknown>[] {
  const isObject = (item: unknown) => typeof item === 'object' && item !== null
  if (Array.isArray(value) && value.every(isObject)) return value as Record<string, unknown>[] // checked
  throw malformed(`${name} must be a list of objects`)
}

function withoutKey(value: object, key: string): object {
  return Object.fromEntries(Object.entries(value).filter(([each]) => each !== key))
}

function isSame(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b)
}

function malformed(message: string): QuestlogError {
  return new QuestlogError('REQUEST_MALFORMED', message)
}

function conflict(message: string): QuestlogError {
  return new QuestlogError('COMMIT_CONFLICT', message)
}
