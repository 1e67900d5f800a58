import { parse, stringify } from 'lossless-json'
import { QuestlogError } from '../core/errors.ts'
import { dayPartition } from './location.ts'
import type { IcebergField, TableSchema } from './schema.ts'

/** A 64-bit number of a metadata file: a number where that is exact, else a bigint. So `===` compares two of them. */
export type Long = number | bigint

/** Table metadata, Iceberg v2 (spec, Appendix C, "Table Metadata and Snapshots"). Keys that we do not know are kept as they are. */
export interface TableMetadata {
  readonly 'format-version': 2
  readonly 'table-uuid': string
  readonly location: string
  readonly 'last-sequence-number': number
  readonly 'last-updated-ms': number
  readonly 'last-column-id': number
  readonly schemas: readonly TableSchema[]
  readonly 'current-schema-id': number
  readonly 'partition-specs': readonly PartitionSpec[]
  readonly 'default-spec-id': number
  readonly 'last-partition-id': number
  readonly 'sort-orders': readonly { readonly 'order-id': number }[]
  readonly 'default-sort-order-id': number
  readonly properties?: Readonly<Record<string, string>>
  readonly 'current-snapshot-id'?: Long
  readonly snapshots?: readonly Snapshot[]
  readonly 'snapshot-log'?: readonly { 'timestamp-ms': number; 'snapshot-id': Long }[]
  readonly 'metadata-log'?: readonly { 'timestamp-ms': number; 'metadata-file': string }[]
  readonly refs?: Readonly<Record<string, { 'snapshot-id': Long; type: string }>>
  /** Files that other engines have written about snapshots. */
  readonly statistics?: readonly StatisticsFile[]
  readonly 'partition-statistics'?: readonly StatisticsFile[]
}

interface StatisticsFile {
  readonly 'snapshot-id': Long
  readonly 'statistics-path': string
}

export interface PartitionSpec {
  readonly 'spec-id': number
  readonly fields: readonly {
    readonly name: string
    readonly transform: string
    readonly 'source-id': number
    readonly 'field-id': number
  }[]
}

export interface Snapshot {
  readonly 'snapshot-id': Long
  readonly 'parent-snapshot-id'?: Long
  readonly 'sequence-number': number
  readonly 'timestamp-ms': number
  readonly 'manifest-list': string
  readonly summary: Readonly<Record<string, string>>
  readonly 'schema-id'?: number
}

/** Entries of the metadata log that are kept: so many older versions stay readable beside the current one. */
export const metadataLogMax = 100

/** Metadata of a table without snapshots. `daySource` is the field whose UTC day partitions it, or null. */
export function newMetadata(table: {
  readonly uuid: string
  readonly location: string
  readonly fields: readonly IcebergField[]
  readonly lastColumnId: number
  readonly daySource: number | null
  readonly properties: Readonly<Record<string, string>>
  readonly nowMs: number
}): TableMetadata {
  const byDay = { name: dayPartition, transform: 'day', 'field-id': 1000 }
  const partition = table.daySource === null ? [] : [{ ...byDay, 'source-id': table.daySource }]
  return {
    'format-version': 2,
    'table-uuid': table.uuid,
    location: table.location,
    'last-sequence-number': 0,
    'last-updated-ms': table.nowMs,
    'last-column-id': table.lastColumnId,
    schemas: [{ type: 'struct', 'schema-id': 0, fields: table.fields }],
    'current-schema-id': 0,
    'partition-specs': [{ 'spec-id': 0, fields: partition }],
    'default-spec-id': 0,
    'last-partition-id': partition.length === 0 ? 999 : 1000, // partition field ids start at 1000
    'sort-orders': [{ 'order-id': 0, fields: [] } as { 'order-id': number }],
    'default-sort-order-id': 0,
    properties: table.properties,
    'current-snapshot-id': -1,
    snapshots: [],
    'snapshot-log': [],
    'metadata-log': [],
    refs: {},
  }
}

/** The same table with other properties, the named ones replaced. */
export function withProperties(
  metadata: TableMetadata,
  properties: Readonly<Record<string, string>>,
): TableMetadata {
  return { ...metadata, properties: { ...metadata.properties, ...properties } }
}

/** The same table with a further schema, which becomes the current one. */
export function withSchema(
  metadata: TableMetadata,
  fields: readonly IcebergField[],
  lastColumnId: number,
): TableMetadata {
  const schemaId = Math.max(...metadata.schemas.map((schema) => schema['schema-id'])) + 1
  return {
    ...metadata,
    'last-column-id': lastColumnId,
    schemas: [...metadata.schemas, { type: 'struct', 'schema-id': schemaId, fields }],
    'current-schema-id': schemaId,
  }
}

/**
 * The schemas that were current since the last snapshot was written, whether it is still the current one or not, the newest first, without the one that is current now: to go back to one of
 * them loses no value, and no schema that a snapshot names.
 */
export function formerSchemas(metadata: TableMetadata): readonly TableSchema[] {
  const current = metadata['current-schema-id']
  const written = (metadata.snapshots ?? []).reduce(
    (newest, snapshot) => Math.max(newest, snapshot['schema-id'] ?? current),
    0,
  )
  return metadata.schemas
    .filter(({ 'schema-id': id }) => id >= written && id < current)
    .toReversed()
}

/** The same table with one of its `formerSchemas` as the current one. Later ones are gone: nothing was written with them. */
export function withFormerSchema(
  metadata: TableMetadata,
  { 'schema-id': id }: TableSchema,
): TableMetadata {
  return {
    ...metadata,
    schemas: metadata.schemas.filter((schema) => schema['schema-id'] <= id),
    'current-schema-id': id,
  }
}

/** The same table with a further snapshot, which becomes the head of the main branch. */
export function withSnapshot(metadata: TableMetadata, snapshot: Snapshot): TableMetadata {
  const id = snapshot['snapshot-id']
  const logged = { 'timestamp-ms': snapshot['timestamp-ms'], 'snapshot-id': id }
  return {
    ...metadata,
    'last-sequence-number': snapshot['sequence-number'],
    'current-snapshot-id': id,
    snapshots: [...(metadata.snapshots ?? []), snapshot],
    'snapshot-log': [...(metadata['snapshot-log'] ?? []), logged],
    refs: { ...metadata.refs, main: { 'snapshot-id': id, type: 'branch' } },
  }
}

/**
 * The same table without some snapshots; never the current one, nor the head of a branch or tag. The log of snapshots keeps what is after the last
 * of them: with a gap in it a reader would find a wrong snapshot for a time. What engines have noted about a removed snapshot goes with it.
 */
export function withoutSnapshots(metadata: TableMetadata, ids: ReadonlySet<Long>): TableMetadata {
  const isKept = (part: { readonly 'snapshot-id': Long }) => !ids.has(part['snapshot-id'])
  const log = metadata['snapshot-log'] ?? []
  const { statistics, 'partition-statistics': partitionStatistics } = metadata
  return {
    ...metadata,
    snapshots: (metadata.snapshots ?? []).filter(isKept),
    'snapshot-log': log.slice(log.findLastIndex((entry) => !isKept(entry)) + 1),
    ...(statistics === undefined ? {} : { statistics: statistics.filter(isKept) }),
    ...(partitionStatistics === undefined
      ? {}
      : { 'partition-statistics': partitionStatistics.filter(isKept) }),
  }
}

/** The last touch of a new version: its time, and the version before it in the log of metadata files. */
export function asSuccessor(
  metadata: TableMetadata,
  previous: { readonly location: string; readonly timestampMs: number },
  timestampMs: number,
): TableMetadata {
  const logged = {
    'timestamp-ms': previous.timestampMs,
    'metadata-file': previous.location,
  }
  return {
    ...metadata,
    'last-updated-ms': timestampMs,
    'metadata-log': [...(metadata['metadata-log'] ?? []), logged].slice(-metadataLogMax),
  }
}

/** A time for the next version: now, but never before the last one, as readers require. */
export function nextTimestampMs(metadata: TableMetadata, nowMs: number): number {
  return Math.max(nowMs, metadata['last-updated-ms'])
}

export function currentSchema(metadata: TableMetadata): TableSchema {
  return found(
    metadata.schemas.find((schema) => schema['schema-id'] === metadata['current-schema-id']),
    metadata,
    'the current schema',
  )
}

/** The current snapshot, or undefined while there is none (absent or -1). */
export function currentSnapshot(metadata: TableMetadata): Snapshot | undefined {
  const id = metadata['current-snapshot-id'] ?? -1
  if (id === -1) return undefined
  return found(
    metadata.snapshots?.find((snapshot) => snapshot['snapshot-id'] === id),
    metadata,
    'the current snapshot',
  )
}

/** The partition spec that we write with: by the UTC day of one column, or none. Throws FORMAT_UNKNOWN when another engine has replaced it. */
export function ownSpec(metadata: TableMetadata): PartitionSpec {
  const isOwn = ({ fields }: PartitionSpec) =>
    fields.length === 0 || (fields.length === 1 && fields[0]?.name === dayPartition)
  const specs = metadata['partition-specs']
  const standard = specs.find((spec) => spec['spec-id'] === metadata['default-spec-id'])
  const spec = standard !== undefined && isOwn(standard) ? standard : specs.find(isOwn)
  if (spec !== undefined) return spec
  throw new QuestlogError(
    'FORMAT_UNKNOWN',
    `${metadata.location} is not partitioned by ${dayPartition}`,
    { table: metadata.location },
    { hint: `give the table a partition spec with the single field ${dayPartition} again` },
  )
}

/** The property, and the entry of a snapshot's summary, that names the batch of a commit. */
export const batchProperty = 'questlog.batch-id'

/** Whether a batch was committed: it is the table's last one, or a snapshot in the current one's history has it. */
export function holdsBatch(metadata: TableMetadata, batchId: string): boolean {
  if (metadata.properties?.[batchProperty] === batchId) return true
  const byId = new Map(
    (metadata.snapshots ?? []).map((snapshot) => [snapshot['snapshot-id'], snapshot]),
  )
  let id = metadata['current-snapshot-id']
  while (id !== undefined) {
    const snapshot = byId.get(id)
    if (snapshot?.summary[batchProperty] === batchId) return true
    byId.delete(id) // a damaged history that goes in a circle ends here
    id = snapshot?.['parent-snapshot-id']
  }
  return false
}

export function encodeMetadata(metadata: TableMetadata): Buffer {
  return Buffer.from(toJson(metadata))
}

/** JSON.stringify is many times faster but throws on a bigint, which only ids of other engines need. */
function toJson(metadata: TableMetadata): string {
  try {
    const members = Object.entries(metadata).flatMap(([key, value]: [string, unknown]) => {
      const text = Array.isArray(value) ? listJson(value) : JSON.stringify(value)
      return text === undefined ? [] : [`${JSON.stringify(key)}:${text}`]
    })
    return `{${members.join(',')}}`
  } catch {
    return stringify(metadata) ?? ''
  }
}

/** Texts of snapshots and entries of logs: every version of a table repeats hundreds of them, and none ever changes. */
const textsOfEntries = new WeakMap<object, string>()

function listJson(list: readonly unknown[]): string {
  const texts = list.map((entry) => {
    if (typeof entry !== 'object' || entry === null) return JSON.stringify(entry) ?? 'null'
    const known = textsOfEntries.get(entry) ?? JSON.stringify(entry)
    textsOfEntries.set(entry, known)
    return known
  })
  return `[${texts.join(',')}]`
}

/** Reads a metadata file without losing digits of 64-bit numbers. Throws TABLE_DAMAGED or, for another format version, FORMAT_UNKNOWN. */
export function decodeMetadata(bytes: Buffer, path: string): TableMetadata {
  const value = parseLossless(bytes, path)
  const version = value['format-version']
  if (typeof version !== 'number') throw damaged(path, 'it has no format-version')
  if (version !== 2)
    throw new QuestlogError(
      'FORMAT_UNKNOWN',
      `${path} has Iceberg format version ${version}; questlog reads and writes version 2`,
      { path, version },
    )
  for (const [key, isRight] of required)
    if (!isRight(value[key])) throw damaged(path, `its key ${key} is missing or of a wrong type`)
  return value as unknown as TableMetadata // the keys that we depend on were checked
}

const isText = (value: unknown) => typeof value === 'string'
const isNumber = (value: unknown) => typeof value === 'number'
const isList = (value: unknown) => Array.isArray(value)
const isListOrAbsent = (value: unknown) => value === undefined || Array.isArray(value)

const required: readonly (readonly [keyof TableMetadata, (value: unknown) => boolean])[] = [
  ['table-uuid', isText],
  ['location', isText],
  ['last-sequence-number', isNumber],
  ['last-updated-ms', isNumber],
  ['last-column-id', isNumber],
  ['schemas', isList],
  ['current-schema-id', isNumber],
  ['partition-specs', isList],
  ['default-spec-id', isNumber],
  ['snapshots', isListOrAbsent],
  ['snapshot-log', isListOrAbsent],
  ['metadata-log', isListOrAbsent],
  ['statistics', isListOrAbsent],
  ['partition-statistics', isListOrAbsent],
]

function parseLossless(bytes: Buffer, path: string): Record<string, unknown> {
  let value: unknown
  try {
    value = parse(bytes.toString('utf8'), null, parseLong)
  } catch (error) {
    throw damaged(path, 'it is not JSON', error)
  }
  if (typeof value !== 'object' || value === null) throw damaged(path, 'it is not a JSON object')
  return value as Record<string, unknown> // checked above
}

/** A number of a JSON text, for `parse` of lossless-json: whole ones keep every digit. */
export function parseLong(text: string): Long {
  const value = Number(text)
  return Number.isSafeInteger(value) || !/^-?\d+$/.test(text) ? value : BigInt(text)
}

function found<T>(value: T | undefined, metadata: TableMetadata, what: string): T {
  if (value !== undefined) return value
  throw damaged(metadata.location, `its metadata does not contain ${what}`)
}

function damaged(path: string, reason: string, cause?: unknown): QuestlogError {
  return new QuestlogError('TABLE_DAMAGED', `${path}: ${reason}`, { path }, { cause })
}
