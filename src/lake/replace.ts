import { join } from 'node:path'
import type { Files } from '../core/files.ts'
import { QuestlogError } from '../core/errors.ts'
import { summarized } from './append.ts'
import { pathOf } from './location.ts'
import {
  addedEntry,
  carriedEntry,
  deletedEntry,
  isLive,
  newLiveFile,
  readManifest,
  type DataFile,
  type LiveFile,
  type ManifestEntry,
} from './manifest.ts'
import type { ManifestFile } from './manifest-list.ts'
import { ownSpec } from './metadata.ts'
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
import { offsetsProperty } from './offsets.ts'

/** Manifests with fewer files are merged into one by the way. */
const smallManifestFiles = 50
/** Entries of days that the change does not touch get a manifest of their own when they are so many: it is left alone then. */
const ownManifestFiles = 100

/**
 * The version that follows when `added` files take the place of `replaced` ones and hold the same rows: a `replace` snapshot (spec, "Snapshots") with
 * DELETED entries for what went, ADDED ones with the newest data sequence number of it, and EXISTING ones for what shared its manifests.
 * Undefined when one of the replaced files is not in the table any more.
 */
export async function buildReplace(
  files: Files,
  folder: string,
  base: VersionBase,
  change: { readonly replaced: ReadonlySet<string>; readonly added: readonly DataFile[] },
  timestampMs: number,
): Promise<NextVersion | undefined> {
  const { metadata } = base
  const { replaced, added } = change
  const gone = base.live.filter((file) => replaced.has(file.path))
  if (gone.length < replaced.size) return undefined
  requireSameRows(metadata.location, gone, added)

  const snapshot = beginSnapshot(metadata, timestampMs)
  const id = BigInt(snapshot.id)
  const { carried, rest } = await entriesToRewrite(files, base, replaced)
  const isGone = (entry: ManifestEntry) => replaced.has(pathOf(entry.data_file.file_path))
  const newest = carried.filter(isGone).reduce(laterSequence, 0n)
  const spec = ownSpec(metadata)
  const days = new Set(gone.map((file) => file.day))
  const dayOf = new Map(base.live.map((file) => [file.path, file.day]))
  const isElsewhere = (entry: ManifestEntry) =>
    !days.has(dayOf.get(pathOf(entry.data_file.file_path)) ?? null)
  const others = carried.filter(isElsewhere)
  const here = carried
    .filter((entry) => !isElsewhere(entry))
    .map((entry) => (isGone(entry) ? deletedEntry(entry, id) : entry))
  const fresh = added.map((file) => ({ ...addedEntry(file, id, spec), sequence_number: newest }))
  const groups =
    others.length < ownManifestFiles
      ? [[...others, ...fresh, ...here]]
      : [others, [...fresh, ...here]]
  const pending = groups.map((entries, n) =>
    pendingManifest(join(folder, snapshot.manifestName(n)), metadata, snapshot, entries),
  )
  const live = inPlaceOf(
    base.live,
    replaced,
    added.map((file) => newLiveFile(file, snapshot.id)),
  )
  const offsets = metadata.properties?.[offsetsProperty]
  return endSnapshot(folder, metadata, snapshot, {
    manifests: [...rest, ...pending.map(({ row }) => row)],
    live,
    summary: {
      ...(offsets === undefined ? {} : summarized({ [offsetsProperty]: offsets })),
      operation: 'replace',
      'added-data-files': String(added.length),
      'deleted-data-files': String(gone.length),
      'added-records': recordSum(added),
      'deleted-records': recordSum(gone),
      'added-files-size': byteSum(added),
      'removed-files-size': byteSum(gone),
      'changed-partition-count': String(days.size),
      ...totalsOf(live),
    },
    pending,
  })
}

function requireSameRows(
  table: string,
  gone: readonly LiveFile[],
  added: readonly DataFile[],
): void {
  if (recordSum(gone) === recordSum(added)) return
  throw new QuestlogError(
    'TABLE_DAMAGED',
    `files with ${recordSum(gone)} rows of ${table} can not be replaced by files with ${recordSum(added)} rows`,
    { table },
  )
}

/** Live entries of the manifests that name a replaced file, and of small ones; all other manifests stay. Large ones are read only when the small ones do not name every file. */
async function entriesToRewrite(
  files: Files,
  base: VersionBase,
  replaced: ReadonlySet<string>,
): Promise<{ carried: ManifestEntry[]; rest: ManifestFile[] }> {
  const spec = ownSpec(base.metadata)
  const isOwn = (manifest: ManifestFile) =>
    manifest.content === 0 && manifest.partition_spec_id === spec['spec-id']
  const size = (manifest: ManifestFile) =>
    manifest.added_files_count + manifest.existing_files_count
  const carried: ManifestEntry[] = []
  const rewritten = new Set<ManifestFile>()
  let missing = replaced.size
  for (const manifest of base.manifests.filter(isOwn).toSorted((a, b) => size(a) - size(b))) {
    const isSmall = size(manifest) < smallManifestFiles
    if (!isSmall && missing === 0) break
    const entries = (await readManifest(files, manifest, spec)).filter(isLive)
    const named = entries.filter((entry) => replaced.has(pathOf(entry.data_file.file_path)))
    missing -= named.length
    if (!isSmall && named.length === 0) continue
    rewritten.add(manifest)
    carried.push(...entries.map((entry) => carriedEntry(entry, manifest)))
  }
  return { carried, rest: base.manifests.filter((manifest) => !rewritten.has(manifest)) }
}

function laterSequence(latest: bigint, entry: ManifestEntry): bigint {
  const own = entry.sequence_number ?? 0n
  return own > latest ? own : latest
}

/** The list with `added` where the first replaced file was. */
function inPlaceOf(
  live: readonly LiveFile[],
  replaced: ReadonlySet<string>,
  added: readonly LiveFile[],
): LiveFile[] {
  const first = live.findIndex((file) => replaced.has(file.path))
  const kept = (files: readonly LiveFile[]) => files.filter((file) => !replaced.has(file.path))
  return [...kept(live.slice(0, first)), ...added, ...kept(live.slice(first))]
}
