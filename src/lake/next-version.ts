import { randomBytes, randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { locationOf } from './location.ts'
import { encodeManifest, type LiveFile, type ManifestEntry } from './manifest.ts'
import { encodeManifestList, manifestRow, type ManifestFile } from './manifest-list.ts'
import {
  currentSchema,
  currentSnapshot,
  ownSpec,
  withSnapshot,
  type Long,
  type TableMetadata,
} from './metadata.ts'

/** Bytes that have to be on the disk before a commit can name them. */
export interface PendingFile {
  readonly path: string
  readonly bytes: Buffer
}

/** A version of the table that is not committed yet. */
export interface NextVersion {
  readonly metadata: TableMetadata
  readonly manifests: readonly ManifestFile[]
  readonly live: readonly LiveFile[] | undefined
  readonly pending: readonly PendingFile[]
}

/** The version that a change of files starts from. */
export interface VersionBase {
  readonly metadata: TableMetadata
  readonly manifests: readonly ManifestFile[]
  readonly live: readonly LiveFile[]
}

/** What a new snapshot is known by before its files are written. */
export interface NewSnapshot {
  readonly id: number
  readonly parentId: Long | null
  readonly sequenceNumber: number
  readonly timestampMs: number
  /** A name for its n-th manifest. */
  readonly manifestName: (n: number) => string
}

/** A manifest to be written, and its row in the manifest list. */
export interface PendingManifest extends PendingFile {
  readonly row: ManifestFile
}

export function beginSnapshot(metadata: TableMetadata, timestampMs: number): NewSnapshot {
  const uuid = randomUUID()
  return {
    id: newSnapshotId(metadata),
    parentId: currentSnapshot(metadata)?.['snapshot-id'] ?? null,
    sequenceNumber: metadata['last-sequence-number'] + 1,
    timestampMs,
    manifestName: (n) => `${uuid}-m${n}.avro`,
  }
}

/** A manifest of entries under the table's own partition spec. */
export function pendingManifest(
  path: string,
  metadata: TableMetadata,
  snapshot: NewSnapshot,
  entries: readonly ManifestEntry[],
): PendingManifest {
  const spec = ownSpec(metadata)
  const bytes = encodeManifest(entries, currentSchema(metadata), spec)
  const row = manifestRow({
    location: locationOf(path),
    bytes,
    entries,
    spec,
    snapshotId: BigInt(snapshot.id),
    sequenceNumber: BigInt(snapshot.sequenceNumber),
  })
  return { path, bytes, row }
}

/** The version with the snapshot as its current one: adds the manifest list and the metadata. `folder` is the metadata folder. */
export function endSnapshot(
  folder: string,
  metadata: TableMetadata,
  snapshot: NewSnapshot,
  content: {
    readonly manifests: readonly ManifestFile[]
    readonly live: readonly LiveFile[]
    readonly summary: Readonly<Record<string, string>>
    readonly pending: readonly PendingFile[]
  },
): NextVersion {
  const { id, parentId, sequenceNumber, timestampMs } = snapshot
  const listPath = join(folder, `snap-${id}-1-${randomUUID()}.avro`)
  const listBytes = encodeManifestList(content.manifests, {
    id: BigInt(id),
    parentId: parentId === null ? null : BigInt(parentId),
    sequenceNumber: BigInt(sequenceNumber),
  })
  const next = withSnapshot(metadata, {
    'snapshot-id': id,
    ...(parentId === null ? {} : { 'parent-snapshot-id': parentId }),
    'sequence-number': sequenceNumber,
    'timestamp-ms': timestampMs,
    'manifest-list': locationOf(listPath),
    summary: content.summary,
    'schema-id': currentSchema(metadata)['schema-id'],
  })
  const pending = [
    ...content.pending.map(({ path, bytes }) => ({ path, bytes })),
    { path: listPath, bytes: listBytes },
  ]
  return { metadata: next, manifests: content.manifests, live: content.live, pending }
}

/** Random, below 2^53 so that every JSON reader keeps it exactly, and not taken. */
function newSnapshotId(metadata: TableMetadata): number {
  for (;;) {
    const id = Number(randomBytes(8).readBigUInt64BE() >> 11n)
    const isTaken = metadata.snapshots?.some((snapshot) => snapshot['snapshot-id'] === id)
    if (id > 0 && isTaken !== true) return id
  }
}

/** What there is now (spec, "Snapshot Summary", optional fields), all as text. */
export function totalsOf(live: readonly LiveFile[]): Readonly<Record<string, string>> {
  return {
    'total-data-files': String(live.length),
    'total-records': recordSum(live),
    'total-files-size': byteSum(live),
    'total-delete-files': '0',
    'total-position-deletes': '0',
    'total-equality-deletes': '0',
  }
}

export function recordSum(files: readonly { readonly recordCount: number }[]): string {
  return String(files.reduce((sum, file) => sum + file.recordCount, 0))
}

export function byteSum(files: readonly { readonly sizeBytes: number }[]): string {
  return String(files.reduce((sum, file) => sum + file.sizeBytes, 0))
}
