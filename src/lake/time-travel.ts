import { QuestlogError } from '../core/errors.ts'
import type { Files } from '../core/files.ts'
import { isLive, liveFile, readManifest, type LiveFile } from './manifest.ts'
import { readManifestList, type ManifestFile } from './manifest-list.ts'
import { ownSpec, type PartitionSpec, type Snapshot, type TableMetadata } from './metadata.ts'
import type { TableSchema } from './schema.ts'

/** Data files that the manifests name, in their order. */
export async function readLiveFiles(
  files: Files,
  manifests: readonly ManifestFile[],
  spec: PartitionSpec,
): Promise<LiveFile[]> {
  const perManifest = await Promise.all(
    manifests.map(async (manifest) => {
      const entries = await readManifest(files, manifest, spec)
      return entries.filter(isLive).map((entry) => liveFile(entry, manifest))
    }),
  )
  return perManifest.flat()
}

/** Data files of any snapshot that the table still names. */
export async function filesOfSnapshot(
  files: Files,
  metadata: TableMetadata,
  snapshot: Snapshot,
): Promise<LiveFile[]> {
  const manifests = await readManifestList(files, snapshot['manifest-list'])
  return readLiveFiles(files, manifests, ownSpec(metadata))
}

/** The columns as they were at a snapshot; those of now when it does not say. */
export function schemaOfSnapshot(metadata: TableMetadata, snapshot: Snapshot): TableSchema {
  const id = snapshot['schema-id'] ?? metadata['current-schema-id']
  const schema = metadata.schemas.find((candidate) => candidate['schema-id'] === id)
  if (schema !== undefined) return schema
  throw new QuestlogError('TABLE_DAMAGED', `${metadata.location} has no schema ${id}`, {
    table: metadata.location,
  })
}

/** By its id (decimal text), or as the one that was current at a wall-clock time. */
export type SnapshotWanted = { readonly id: string } | { readonly timestampMs: number }

/** The snapshot with this id (decimal text), or the one that was current at a wall-clock time; SNAPSHOT_UNKNOWN when the table does not name it any more, or never did. */
export function snapshotAt(metadata: TableMetadata, wanted: SnapshotWanted): Snapshot {
  const snapshots = metadata.snapshots ?? []
  const found =
    'id' in wanted
      ? snapshots.find((snapshot) => String(snapshot['snapshot-id']) === wanted.id)
      : snapshotAtTime(metadata, wanted.timestampMs)
  if (found !== undefined) return found
  const what =
    'id' in wanted
      ? `no snapshot ${wanted.id}`
      : `no snapshot of ${new Date(wanted.timestampMs).toISOString()}`
  const oldest = snapshots[0]
  const known =
    oldest === undefined
      ? 'it has none yet'
      : `its oldest is ${String(oldest['snapshot-id'])} of ${new Date(oldest['timestamp-ms']).toISOString()}`
  throw new QuestlogError('SNAPSHOT_UNKNOWN', `the table has ${what}; ${known}`, {
    table: metadata.location,
  })
}

function snapshotAtTime(metadata: TableMetadata, timestampMs: number): Snapshot | undefined {
  const entry = (metadata['snapshot-log'] ?? []).findLast(
    (logged) => logged['timestamp-ms'] <= timestampMs,
  )
  return metadata.snapshots?.find((snapshot) => snapshot['snapshot-id'] === entry?.['snapshot-id'])
}
