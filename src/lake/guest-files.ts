import type { Files } from '../core/files.ts'
import { isLive, readManifest } from './manifest.ts'
import { readManifestList } from './manifest-list.ts'
import type { Snapshot, TableMetadata } from './metadata.ts'

/** A file that a table of another engine names. */
export interface GuestFile {
  readonly location: string
  /** As the naming file gives it; undefined where none is given. */
  readonly bytes: number | undefined
}

/** Partitions do not matter to names, so that manifests of any partition spec can be read. */
const anySpec = { 'spec-id': 0, fields: [] }

/**
 * All files that snapshots of a table need, of any form that version 2 of the format has: manifest lists, manifests, data files, delete files. What `known` manifests
 * name is left out, and so are these. TABLE_DAMAGED when one of the Avro files is missing or can't be read.
 */
export async function namedFiles(
  files: Files,
  snapshots: readonly Snapshot[],
  known: ReadonlySet<string> = new Set(),
): Promise<readonly GuestFile[]> {
  const named = new Map<string, GuestFile>()
  const note = (location: string, bytes?: bigint) => {
    const isNew = !named.has(location)
    named.set(location, { location, bytes: bytes === undefined ? undefined : Number(bytes) })
    return isNew
  }
  for (const { 'manifest-list': list } of snapshots) {
    note(list)
    for (const manifest of await readManifestList(files, list)) {
      if (known.has(manifest.manifest_path)) continue
      if (!note(manifest.manifest_path, manifest.manifest_length)) continue
      for (const { data_file: file } of (await readManifest(files, manifest, anySpec)).filter(
        isLive,
      ))
        note(file.file_path, file.file_size_in_bytes)
    }
  }
  return [...named.values()]
}

/** The manifests of a snapshot; none of one that is not there. */
export async function manifestsOf(
  files: Files,
  snapshot: Snapshot | undefined,
): Promise<ReadonlySet<string>> {
  const list =
    snapshot === undefined ? [] : await readManifestList(files, snapshot['manifest-list'])
  return new Set(list.map((manifest) => manifest.manifest_path))
}

/** Locations of the statistics files that a table names; they only make a plan better. */
export function statisticsOf(metadata: TableMetadata): readonly string[] {
  return [...(metadata.statistics ?? []), ...(metadata['partition-statistics'] ?? [])].map((each) =>
    String(each['statistics-path']),
  )
}
