import { randomBytes, randomUUID } from 'node:crypto'
import { join } from 'node:path'
import type { Files } from '../core/files.ts'
import { locationOf } from './location.ts'
import {
  addedEntry,
  carriedEntry,
  encodeManifest,
  isLive,
  readManifest,
  type DataFile,
  type LiveFile,
  type ManifestEntry,
} from './manifest.ts'
import { encodeManifestList, manifestRow, type ManifestFile } from './manifest-list.ts'
import {
  batchProperty,
  currentSchema,
  currentSnapshot,
  ownSpec,
  withProperties,
  withSnapshot,
  type TableMetadata,
} from './metadata.ts'

/** A snapshot of the table with this many manifests is the most; one more, and they are merged into one. */
const manifestsMax = 100

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

/** What an append starts from. */
export interface AppendBase {
  readonly metadata: TableMetadata
  readonly manifests: readonly ManifestFile[]
  readonly live: readonly LiveFile[]
}

/** The version that follows when `added` files join the table: one manifest, one manifest list, one snapshot. Reads old manifests only to merge them. */
export async function buildAppend(
  files: Files,
  metadataFolder: string,
  base: AppendBase,
  added: readonly DataFile[],
  properties: Readonly<Record<string, string>>,
  timestampMs: number,
): Promise<NextVersion> {
  const { metadata } = base
  const schema = currentSchema(metadata)
  const spec = ownSpec(metadata)
  const parent = currentSnapshot(metadata)
  const id = newSnapshotId(metadata)
  const sequenceNumber = metadata['last-sequence-number'] + 1
  const entries = added.map((file) => addedEntry(file, BigInt(id), spec))
  const live = [...base.live, ...added.map((file) => newLiveFile(file, id))]

  const { carried, rest } = await mergeIfMany(files, base)
  const all = [...carried, ...entries]
  const manifestPath = join(metadataFolder, `${randomUUID()}-m0.avro`)
  const manifestBytes = encodeManifest(all, schema, spec)
  const row = manifestRow({
    location: locationOf(manifestPath),
    bytes: manifestBytes,
    entries: all,
    spec,
    snapshotId: BigInt(id),
    sequenceNumber: BigInt(sequenceNumber),
  })
  const manifests = [...rest, row]
  const listPath = join(metadataFolder, `snap-${id}-1-${randomUUID()}.avro`)
  const listBytes = encodeManifestList(manifests, {
    id: BigInt(id),
    parentId: parent === undefined ? null : BigInt(parent['snapshot-id']),
    sequenceNumber: BigInt(sequenceNumber),
  })

  const next = withSnapshot(withProperties(metadata, properties), {
    'snapshot-id': id,
    ...(parent === undefined ? {} : { 'parent-snapshot-id': parent['snapshot-id'] }),
    'sequence-number': sequenceNumber,
    'timestamp-ms': timestampMs,
    'manifest-list': locationOf(listPath),
    summary: { ...properties, ...summaryOf(added, live) },
    'schema-id': schema['schema-id'],
  })
  const pending = [
    { path: manifestPath, bytes: manifestBytes },
    { path: listPath, bytes: listBytes },
  ]
  return { metadata: next, manifests, live, pending }
}

/** The version that follows when only properties change: no snapshot, the files stay. */
export function buildPropertyChange(
  base: Pick<NextVersion, 'metadata' | 'manifests' | 'live'>,
  properties: Readonly<Record<string, string>>,
): NextVersion {
  return {
    metadata: withProperties(base.metadata, properties),
    manifests: base.manifests,
    live: base.live,
    pending: [],
  }
}

/** A commit's properties with the batch that makes it recognisable. */
export function commitProperties(
  batchId: string,
  properties: Readonly<Record<string, string>> = {},
): Readonly<Record<string, string>> {
  return { ...properties, [batchProperty]: batchId }
}

/** The entries that move into the new manifest, and the manifests that stay beside it. */
async function mergeIfMany(
  files: Files,
  base: AppendBase,
): Promise<{ carried: ManifestEntry[]; rest: readonly ManifestFile[] }> {
  if (base.manifests.length < manifestsMax) return { carried: [], rest: base.manifests }
  const spec = ownSpec(base.metadata)
  const isOwn = (manifest: ManifestFile) =>
    manifest.content === 0 && manifest.partition_spec_id === spec['spec-id']
  const carried: ManifestEntry[] = []
  for (const manifest of base.manifests.filter(isOwn)) {
    const entries = await readManifest(files, manifest, spec)
    carried.push(...entries.filter(isLive).map((entry) => carriedEntry(entry, manifest)))
  }
  return { carried, rest: base.manifests.filter((manifest) => !isOwn(manifest)) }
}

/** Random, below 2^53 so that every JSON reader keeps it exactly, and not taken. */
function newSnapshotId(metadata: TableMetadata): number {
  for (;;) {
    const id = Number(randomBytes(8).readBigUInt64BE() >> 11n)
    const isTaken = metadata.snapshots?.some((snapshot) => snapshot['snapshot-id'] === id)
    if (id > 0 && isTaken !== true) return id
  }
}

function newLiveFile(file: DataFile, snapshotId: number): LiveFile {
  const { path, recordCount, sizeBytes, day } = file
  return { path, recordCount, sizeBytes, day, snapshotId: String(snapshotId) }
}

/** What changed and what there is now (spec, "Snapshot Summary", optional fields), all as text. */
function summaryOf(
  added: readonly DataFile[],
  live: readonly LiveFile[],
): Readonly<Record<string, string>> {
  const records = (list: readonly { recordCount: number }[]) =>
    String(list.reduce((sum, file) => sum + file.recordCount, 0))
  const bytes = (list: readonly { sizeBytes: number }[]) =>
    String(list.reduce((sum, file) => sum + file.sizeBytes, 0))
  return {
    operation: 'append',
    'added-data-files': String(added.length),
    'added-records': records(added),
    'added-files-size': bytes(added),
    'changed-partition-count': String(new Set(added.map((file) => file.day)).size),
    'total-data-files': String(live.length),
    'total-records': records(live),
    'total-files-size': bytes(live),
    'total-delete-files': '0',
    'total-position-deletes': '0',
    'total-equality-deletes': '0',
  }
}
