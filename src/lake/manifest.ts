import type { Files } from '../core/files.ts'
import { QuestlogError, systemErrorCode } from '../core/errors.ts'
import { avroFormat, decodeContainer, encodeContainer, type AvroFormat } from './avro-container.ts'
import { dayPartition, locationOf, pathOf } from './location.ts'
import type { PartitionSpec } from './metadata.ts'
import { valueRanges, type ValueRanges } from './pruning.ts'
import type { TableSchema } from './schema.ts'

/** Statistics of a data file by field id. Bounds are in Iceberg's single-value form (bounds.ts). */
export interface FileMetrics {
  readonly columnSizes: ReadonlyMap<number, number>
  readonly valueCounts: ReadonlyMap<number, number>
  readonly nullCounts: ReadonlyMap<number, number>
  readonly nanCounts: ReadonlyMap<number, number>
  readonly lowerBounds: ReadonlyMap<number, Buffer>
  readonly upperBounds: ReadonlyMap<number, Buffer>
}

/** A Parquet file that was written and synced, and may be committed. */
export interface DataFile {
  /** Absolute path. */
  readonly path: string
  readonly recordCount: number
  readonly sizeBytes: number
  /** UTC day of its rows, `YYYY-MM-DD`; null when the table has no partitions or the rows no time. */
  readonly day: string | null
  readonly metrics: FileMetrics
}

/** A data file of the current snapshot. */
export interface LiveFile {
  /** Absolute path, without a scheme. */
  readonly path: string
  readonly recordCount: number
  readonly sizeBytes: number
  readonly day: string | null
  /** The snapshot that added it. */
  readonly snapshotId: string
  /** The columns and nested parts that it holds, as far as its writer said so. */
  readonly fieldIds: readonly number[]
  /** What is known of its values. */
  readonly ranges: ValueRanges
}

interface Bound {
  readonly key: number
  readonly value: Uint8Array
}

/** One entry of a manifest in the spec's own spelling (spec, "Manifests"). Entries of other engines pass through with all that the schema below has. */
export interface ManifestEntry {
  readonly status: number
  readonly snapshot_id: bigint | null
  readonly sequence_number: bigint | null
  readonly file_sequence_number: bigint | null
  readonly data_file: {
    readonly content: number
    readonly file_path: string
    readonly file_format: string
    readonly partition: Readonly<Record<string, unknown>>
    readonly record_count: bigint
    readonly file_size_in_bytes: bigint
    readonly column_sizes?: readonly { readonly key: number }[] | null
    readonly lower_bounds?: readonly Bound[] | null
    readonly upper_bounds?: readonly Bound[] | null
  }
}

const existing = 0
const added = 1
const deleted = 2

/** What a manifest list says about a manifest, as far as entries inherit from it. */
interface Inherited {
  readonly sequence_number: bigint
  readonly added_snapshot_id: bigint
}

/** An entry for a new file. It inherits its sequence numbers from the manifest list (spec, "Sequence Number Inheritance"). */
export function addedEntry(file: DataFile, snapshotId: bigint, spec: PartitionSpec): ManifestEntry {
  const { metrics } = file
  const dataFile = {
    content: 0,
    file_path: locationOf(file.path),
    file_format: 'PARQUET',
    partition: spec.fields.length === 0 ? {} : { [dayPartition]: daysSinceEpoch(file.day) },
    record_count: BigInt(file.recordCount),
    file_size_in_bytes: BigInt(file.sizeBytes),
    column_sizes: pairs(metrics.columnSizes),
    value_counts: pairs(metrics.valueCounts),
    null_value_counts: pairs(metrics.nullCounts),
    nan_value_counts: pairs(metrics.nanCounts),
    lower_bounds: pairs(metrics.lowerBounds),
    upper_bounds: pairs(metrics.upperBounds),
    key_metadata: null,
    split_offsets: null,
    equality_ids: null,
    sort_order_id: 0,
  }
  return {
    status: added,
    snapshot_id: snapshotId,
    sequence_number: null,
    file_sequence_number: null,
    data_file: dataFile,
  }
}

/** A live entry as it is carried into another manifest: what it inherited is written out. */
export function carriedEntry(entry: ManifestEntry, manifest: Inherited): ManifestEntry {
  return {
    ...entry,
    status: existing,
    snapshot_id: entry.snapshot_id ?? manifest.added_snapshot_id,
    sequence_number: entry.sequence_number ?? manifest.sequence_number,
    file_sequence_number: entry.file_sequence_number ?? manifest.sequence_number,
  }
}

/** A carried entry as the snapshot that removes its file leaves it behind. */
export function deletedEntry(entry: ManifestEntry, snapshotId: bigint): ManifestEntry {
  return { ...entry, status: deleted, snapshot_id: snapshotId }
}

export function isLive(entry: ManifestEntry): boolean {
  return entry.status !== deleted
}

export function liveFile(entry: ManifestEntry, manifest: Inherited): LiveFile {
  const file = entry.data_file
  return {
    path: pathOf(file.file_path),
    recordCount: Number(file.record_count),
    sizeBytes: Number(file.file_size_in_bytes),
    day: dayOf(file.partition[dayPartition]),
    snapshotId: String(entry.snapshot_id ?? manifest.added_snapshot_id),
    fieldIds: (file.column_sizes ?? []).map(({ key }) => key),
    ranges: valueRanges(file.lower_bounds ?? [], file.upper_bounds ?? []),
  }
}

/** A file as it is after the commit of the snapshot that adds it. */
export function newLiveFile(file: DataFile, snapshotId: number): LiveFile {
  const { path, recordCount, sizeBytes, day, metrics } = file
  const fieldIds = [...metrics.columnSizes.keys()]
  const ranges = valueRanges(pairs(metrics.lowerBounds), pairs(metrics.upperBounds))
  return { path, recordCount, sizeBytes, day, snapshotId: String(snapshotId), fieldIds, ranges }
}

/** Counts and ranges over the entries of a manifest, as its row in the manifest list needs them. */
export function summarize(entries: readonly ManifestEntry[]) {
  const count = (status: number) => entries.filter((entry) => entry.status === status)
  const rows = (status: number) =>
    count(status).reduce((sum, entry) => sum + entry.data_file.record_count, 0n)
  return {
    added_files_count: count(added).length,
    existing_files_count: count(existing).length,
    deleted_files_count: count(deleted).length,
    added_rows_count: rows(added),
    existing_rows_count: rows(existing),
    deleted_rows_count: rows(deleted),
  }
}

/** The lowest sequence number among the live entries; one that is inherited is `own`. */
export function minSequenceNumber(entries: readonly ManifestEntry[], own: bigint): bigint {
  return entries.filter(isLive).reduce((min, { sequence_number: number }) => {
    return number !== null && number < min ? number : min
  }, own)
}

/** Range of the partition field over the entries (spec, "Manifest Lists", field_summary); empty for a table without partitions. */
export function partitionRange(entries: readonly ManifestEntry[], spec: PartitionSpec) {
  if (spec.fields.length === 0) return []
  const values = entries.map((entry) => entry.data_file.partition[dayPartition])
  const days = values.filter((value) => typeof value === 'number')
  const bound = (day: number) => {
    const bytes = Buffer.alloc(4)
    bytes.writeInt32LE(day)
    return bytes
  }
  return [
    {
      contains_null: days.length < values.length,
      contains_nan: false,
      lower_bound: days.length === 0 ? null : bound(days.reduce((a, b) => Math.min(a, b))),
      upper_bound: days.length === 0 ? null : bound(days.reduce((a, b) => Math.max(a, b))),
    },
  ]
}

export function encodeManifest(
  entries: readonly ManifestEntry[],
  schema: TableSchema,
  spec: PartitionSpec,
): Buffer {
  return encodeContainer(formatOf(spec), entries, {
    schema: JSON.stringify(schema),
    'schema-id': String(schema['schema-id']),
    'partition-spec': JSON.stringify(spec.fields),
    'partition-spec-id': String(spec['spec-id']),
    'format-version': '2',
    content: 'data',
  })
}

/** All entries of a manifest, deleted ones too. Throws TABLE_DAMAGED when the file is missing, cut short or can't be read. */
export async function readManifest(
  files: Files,
  manifest: { readonly manifest_path: string; readonly manifest_length: bigint },
  spec: PartitionSpec,
): Promise<ManifestEntry[]> {
  const path = pathOf(manifest.manifest_path)
  return readAvro<ManifestEntry>(files, path, formatOf(spec), manifest.manifest_length)
}

/** Records of one of the table's Avro files. Their shape is that of `format`, which the spec prescribes to every writer. */
export async function readAvro<T>(
  files: Files,
  path: string,
  format: AvroFormat,
  expectedBytes?: bigint,
): Promise<T[]> {
  const bytes = await files.readAll(path).catch((error: unknown) => {
    throw systemErrorCode(error) === 'ENOENT' ? damaged(path, 'is missing', error) : error
  })
  if (expectedBytes !== undefined && BigInt(bytes.length) !== expectedBytes)
    throw damaged(path, `has ${bytes.length} bytes instead of ${expectedBytes}`)
  try {
    return decodeContainer(format, bytes) as T[]
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    throw damaged(path, `can't be read: ${reason}`, error)
  }
}

function damaged(path: string, reason: string, cause?: unknown): QuestlogError {
  return new QuestlogError('TABLE_DAMAGED', `${path} ${reason}`, { path }, { cause })
}

const msPerDay = 86_400_000

function daysSinceEpoch(day: string | null): number | null {
  return day === null ? null : Math.round(Date.parse(`${day}T00:00:00Z`) / msPerDay)
}

function dayOf(days: unknown): string | null {
  return typeof days === 'number' ? new Date(days * msPerDay).toISOString().slice(0, 10) : null
}

function pairs<T>(map: ReadonlyMap<number, T>): { key: number; value: T }[] {
  return [...map].map(([key, value]) => ({ key, value }))
}

const optional = (id: number, name: string, type: unknown) => ({
  name,
  type: ['null', type],
  default: null,
  'field-id': id,
})
const field = (id: number, name: string, type: unknown) => ({ name, type, 'field-id': id })
/** Avro maps have text keys; Iceberg writes a map with integer keys as an array of pairs. */
const mapOf = (keyId: number, valueId: number, value: string) => ({
  type: 'array',
  logicalType: 'map',
  items: {
    type: 'record',
    name: `k${keyId}_v${valueId}`,
    fields: [field(keyId, 'key', 'int'), field(valueId, 'value', value)],
  },
})
const listOf = (elementId: number, items: string) => ({
  type: 'array',
  items,
  'element-id': elementId,
})

const dataFileFields = (partition: readonly object[]) => [
  field(134, 'content', 'int'),
  field(100, 'file_path', 'string'),
  field(101, 'file_format', 'string'),
  field(102, 'partition', { type: 'record', name: 'r102', fields: partition }),
  field(103, 'record_count', 'long'),
  field(104, 'file_size_in_bytes', 'long'),
  optional(108, 'column_sizes', mapOf(117, 118, 'long')),
  optional(109, 'value_counts', mapOf(119, 120, 'long')),
  optional(110, 'null_value_counts', mapOf(121, 122, 'long')),
  optional(137, 'nan_value_counts', mapOf(138, 139, 'long')),
  optional(125, 'lower_bounds', mapOf(126, 127, 'bytes')),
  optional(128, 'upper_bounds', mapOf(129, 130, 'bytes')),
  optional(131, 'key_metadata', 'bytes'),
  optional(132, 'split_offsets', listOf(133, 'long')),
  optional(135, 'equality_ids', listOf(136, 'int')),
  optional(140, 'sort_order_id', 'int'),
]

const entryFormat = (partition: readonly object[]) =>
  avroFormat({
    type: 'record',
    name: 'manifest_entry',
    fields: [
      field(0, 'status', 'int'),
      optional(1, 'snapshot_id', 'long'),
      optional(3, 'sequence_number', 'long'),
      optional(4, 'file_sequence_number', 'long'),
      field(2, 'data_file', { type: 'record', name: 'r2', fields: dataFileFields(partition) }),
    ],
  })

const unpartitionedFormat = entryFormat([])
const dayFormat = entryFormat([optional(1000, dayPartition, { type: 'int', logicalType: 'date' })])

function formatOf(spec: PartitionSpec): AvroFormat {
  return spec.fields.length === 0 ? unpartitionedFormat : dayFormat
}
