import type { Files } from '../core/files.ts'
import { avroFormat, encodeContainer } from './avro-container.ts'
import { pathOf } from './location.ts'
import { minSequenceNumber, partitionRange, readAvro, summarize } from './manifest.ts'
import type { ManifestEntry } from './manifest.ts'
import type { PartitionSpec } from './metadata.ts'

/** One row of a manifest list in the spec's own spelling (spec, "Manifest Lists"). */
export interface ManifestFile {
  readonly manifest_path: string
  readonly manifest_length: bigint
  readonly partition_spec_id: number
  /** 0: data files, 1: delete files. */
  readonly content: number
  readonly sequence_number: bigint
  readonly min_sequence_number: bigint
  readonly added_snapshot_id: bigint
  readonly added_files_count: number
  readonly existing_files_count: number
  readonly deleted_files_count: number
  readonly added_rows_count: bigint
  readonly existing_rows_count: bigint
  readonly deleted_rows_count: bigint
}

/** The row for a manifest that this snapshot writes. */
export function manifestRow(manifest: {
  readonly location: string
  readonly bytes: Buffer
  readonly entries: readonly ManifestEntry[]
  readonly spec: PartitionSpec
  readonly snapshotId: bigint
  readonly sequenceNumber: bigint
}): ManifestFile {
  const { entries, spec, sequenceNumber } = manifest
  const row = {
    manifest_path: manifest.location,
    manifest_length: BigInt(manifest.bytes.length),
    partition_spec_id: spec['spec-id'],
    content: 0,
    sequence_number: sequenceNumber,
    min_sequence_number: minSequenceNumber(entries, sequenceNumber),
    added_snapshot_id: manifest.snapshotId,
    ...summarize(entries),
    partitions: partitionRange(entries, spec),
    key_metadata: null,
  }
  return row
}

export function encodeManifestList(
  rows: readonly ManifestFile[],
  snapshot: {
    readonly id: bigint
    readonly parentId: bigint | null
    readonly sequenceNumber: bigint
  },
): Buffer {
  return encodeContainer(listFormat, rows, {
    'snapshot-id': String(snapshot.id),
    'parent-snapshot-id': String(snapshot.parentId), // "null" for the first one, as Iceberg's own writer has it
    'sequence-number': String(snapshot.sequenceNumber),
    'format-version': '2',
  })
}

/** The manifests of a snapshot. Throws TABLE_DAMAGED when the file is missing or can't be read. */
export async function readManifestList(files: Files, location: string): Promise<ManifestFile[]> {
  return readAvro<ManifestFile>(files, pathOf(location), listFormat)
}

const field = (id: number, name: string, type: unknown) => ({ name, type, 'field-id': id })
const optional = (id: number, name: string, type: unknown) => ({
  ...field(id, name, ['null', type]),
  default: null,
})

const fieldSummary = {
  type: 'record',
  name: 'r508',
  fields: [
    field(509, 'contains_null', 'boolean'),
    optional(518, 'contains_nan', 'boolean'),
    optional(510, 'lower_bound', 'bytes'),
    optional(511, 'upper_bound', 'bytes'),
  ],
}

const listFormat = avroFormat({
  type: 'record',
  name: 'manifest_file',
  fields: [
    field(500, 'manifest_path', 'string'),
    field(501, 'manifest_length', 'long'),
    field(502, 'partition_spec_id', 'int'),
    field(517, 'content', 'int'),
    field(515, 'sequence_number', 'long'),
    field(516, 'min_sequence_number', 'long'),
    field(503, 'added_snapshot_id', 'long'),
    field(504, 'added_files_count', 'int'),
    field(505, 'existing_files_count', 'int'),
    field(506, 'deleted_files_count', 'int'),
    field(512, 'added_rows_count', 'long'),
    field(513, 'existing_rows_count', 'long'),
    field(514, 'deleted_rows_count', 'long'),
    optional(507, 'partitions', { type: 'array', items: fieldSummary, 'element-id': 508 }),
    optional(519, 'key_metadata', 'bytes'),
  ],
})
