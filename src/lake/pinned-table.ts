import { join } from 'node:path'
import { QuestlogError } from '../core/errors.ts'
import type { Files } from '../core/files.ts'
import { metadataFolder, pathOf } from './location.ts'
import { isLive, readManifest } from './manifest.ts'
import { readManifestList } from './manifest-list.ts'
import { currentSnapshot, decodeMetadata, ownSpec, type TableMetadata } from './metadata.ts'
import { findVersion, versionPath } from './versions.ts'

/** One version of a table, and all files that it names: its snapshots, older ones too, can be read while these files exist. */
export interface PinnedTable {
  readonly namespace: string
  readonly name: string
  /** Absolute path of the table's folder. */
  readonly folder: string
  readonly uuid: string
  readonly version: number
  /** Rows of the current snapshot. */
  readonly recordCount: number
  /** The metadata file as it was read: a later version may have taken its place by now. */
  readonly metadataBytes: Buffer
  readonly files: readonly NamedFile[]
}

export interface NamedFile {
  /** Below the table's folder: `data/….parquet`, `metadata/….avro`. */
  readonly path: string
  /** Where it lies now. */
  readonly source: string
  /** Size as the naming file gives it; undefined where none is given. */
  readonly bytes: number | undefined
}

/** Reads the newest version of a table with everything that it names; undefined when there is no table. TABLE_DAMAGED when a file is missing, or lies outside of the table's folder. */
export async function pinTable(
  files: Files,
  lakeFolder: string,
  namespace: string,
  name: string,
): Promise<PinnedTable | undefined> {
  const folder = join(lakeFolder, namespace, name)
  const version = await findVersion(files, metadataFolder(folder))
  if (version === 0) return undefined
  const path = versionPath(metadataFolder(folder), version)
  const metadataBytes = await files.readAll(path)
  const metadata = decodeMetadata(metadataBytes, path)
  const roots = tableRoots(metadata, folder)
  const named = new Map<string, NamedFile>()
  const note = (location: string, bytes: number | undefined) => {
    const source = pathOf(location)
    const below = pathBelow(roots, location)
    if (below === undefined) throw outside(path, source)
    const isNew = !named.has(below)
    named.set(below, { path: below, source, bytes })
    return isNew
  }
  const current = currentSnapshot(metadata)
  let recordCount = 0
  for (const snapshot of metadata.snapshots ?? []) {
    note(snapshot['manifest-list'], undefined)
    for (const manifest of await readManifestList(files, snapshot['manifest-list'])) {
      if (snapshot === current && manifest.content === 0)
        recordCount += Number(manifest.added_rows_count) + Number(manifest.existing_rows_count)
      if (!note(manifest.manifest_path, Number(manifest.manifest_length))) continue
      for (const entry of await readManifest(files, manifest, ownSpec(metadata)))
        if (isLive(entry))
          note(entry.data_file.file_path, Number(entry.data_file.file_size_in_bytes))
    }
  }
  return {
    namespace,
    name,
    folder,
    uuid: metadata['table-uuid'],
    version,
    recordCount,
    metadataBytes,
    files: [...named.values()],
  }
}

/** The folders that a table's files may give as theirs: the one of its metadata, and the one in which it is found (they differ when a part of the path is a symbolic link). */
export function tableRoots(metadata: TableMetadata, folder: string): readonly string[] {
  return [pathOf(metadata.location), folder]
}

/** The rest of a location below one of the folders; undefined when it lies elsewhere. */
export function pathBelow(roots: readonly string[], location: string): string | undefined {
  const path = pathOf(location)
  const root = roots.find((each) => path.startsWith(`${each}/`))
  if (root === undefined) return undefined
  const below = path.slice(root.length + 1)
  return below.split('/').includes('..') ? undefined : below
}

function outside(path: string, file: string): QuestlogError {
  return new QuestlogError(
    'TABLE_DAMAGED',
    `${path} names ${file}, which lies outside of the table's folder`,
    { path, file },
    { hint: "move the file into the table's folder with the engine that wrote it" },
  )
}
