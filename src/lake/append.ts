import { join } from 'node:path'
import type { Files } from '../core/files.ts'
import {
  addedEntry,
  carriedEntry,
  isLive,
  newLiveFile,
  readManifest,
  type DataFile,
  type ManifestEntry,
} from './manifest.ts'
import type { ManifestFile } from './manifest-list.ts'
import { batchProperty, ownSpec, withProperties } from './metadata.ts'
import {
  beginSnapshot,
  byteSum,
  endSnapshot,
  pendingManifest,
  recordSum,
  totalsOf,
  type NextVersion,
  type VersionBase,
} from './next-version.ts'

/** A snapshot of the table with this many manifests is the most; one more, and they are merged into one. */
const manifestsMax = 100

/** The version that follows when `added` files join the table: one manifest, one manifest list, one snapshot. Reads old manifests only to merge them. */
export async function buildAppend(
  files: Files,
  folder: string,
  base: VersionBase,
  added: readonly DataFile[],
  properties: Readonly<Record<string, string>>,
  timestampMs: number,
): Promise<NextVersion> {
  const snapshot = beginSnapshot(base.metadata, timestampMs)
  const spec = ownSpec(base.metadata)
  const entries = added.map((file) => addedEntry(file, BigInt(snapshot.id), spec))
  const live = [...base.live, ...added.map((file) => newLiveFile(file, snapshot.id))]
  const { carried, rest } = await mergeIfMany(files, base)
  const manifest = pendingManifest(
    join(folder, snapshot.manifestName(0)),
    base.metadata,
    snapshot,
    [...carried, ...entries],
  )
  return endSnapshot(folder, withProperties(base.metadata, properties), snapshot, {
    manifests: [...rest, manifest.row],
    live,
    summary: {
      ...summarized(properties),
      operation: 'append',
      'added-data-files': String(added.length),
      'added-records': recordSum(added),
      'added-files-size': byteSum(added),
      'changed-partition-count': String(new Set(added.map((file) => file.day)).size),
      ...totalsOf(live),
    },
    pending: [manifest],
  })
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

/** A longer text is a table property only: a table keeps hundreds of summaries, and every commit writes all of them. */
const summaryTextMax = 1024

/** The properties that a snapshot's summary repeats. */
export function summarized(
  properties: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> {
  return Object.fromEntries(
    Object.entries(properties).filter(([, text]) => text.length <= summaryTextMax),
  )
}

/** The entries that move into the new manifest, and the manifests that stay beside it. */
async function mergeIfMany(
  files: Files,
  base: VersionBase,
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
