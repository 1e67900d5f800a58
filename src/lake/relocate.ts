import { join } from 'node:path'
import type { Files } from '../core/files.ts'
import { rewriteContainer } from './avro-container.ts'
import { locationOf, metadataFolder } from './location.ts'
import { readManifestList } from './manifest-list.ts'
import { decodeMetadata, encodeMetadata, type TableMetadata } from './metadata.ts'
import { pathBelow, tableRoots } from './pinned-table.ts'
import { versionPath, writeHint } from './versions.ts'

export interface Relocation {
  readonly files: Files
  /** Folder of the copy: the version's metadata, manifest lists and manifests lie in it as they were written. */
  readonly from: string
  /** The folder of the table when it was copied. */
  readonly original: string
  /** The table's new folder, absolute; `metadata/` in it is empty. */
  readonly to: string
  readonly version: number
}

/** Field ids of the spec ("Manifest Lists", "Manifests"): the same whatever a writer calls the fields. */
const manifestPathId = 500
const manifestLengthId = 501
const dataFileId = 2
const filePathId = 100

/**
 * Writes one version of a table anew for another folder: every location in metadata, manifest lists and manifests is changed, nothing else, and all of it is
 * synced, the metadata file last. Older metadata files are not named any more, nor statistics files, which only make a plan better. Data files are
 * the caller's to copy. Answers with the paths, below the folder of the copy, of what was read.
 */
export async function relocateTable(relocation: Relocation): Promise<ReadonlySet<string>> {
  const { files, from, original, to, version } = relocation
  const path = versionPath(metadataFolder(from), version)
  const metadata = decodeMetadata(await files.readAll(path), path)
  const roots = tableRoots(metadata, original)
  const belowTable = (location: string) => pathBelow(roots, location)
  const move: Move = (location) => {
    const below = belowTable(location)
    return below === undefined ? location : locationOf(join(to, below))
  }
  const read = new Set([join('metadata', `v${version}.metadata.json`)])
  const manifestBytes = new Map<string, number>()

  /** Undefined when it was done before, or lies outside of the table. */
  const rewrite = async (
    location: string,
    change: (bytes: Buffer) => Buffer,
  ): Promise<number | undefined> => {
    const below = belowTable(location)
    if (below === undefined || read.has(below)) return undefined
    read.add(below)
    const bytes = change(await files.readAll(join(from, below)))
    await files.makeFolder(join(to, below, '..'))
    await files.writeNew(join(to, below), bytes)
    return bytes.length
  }
  await files.makeFolder(metadataFolder(to))
  for (const { 'manifest-list': list } of metadata.snapshots ?? []) {
    const below = belowTable(list)
    if (below === undefined) continue
    for (const { manifest_path: manifest } of await readManifestList(files, join(from, below))) {
      const length = await rewrite(manifest, (bytes) => moveManifest(bytes, move))
      if (length !== undefined) manifestBytes.set(move(manifest), length)
    }
    await rewrite(list, (bytes) => moveManifestList(bytes, move, manifestBytes))
  }
  await files.syncFolder(metadataFolder(to))
  const bytes = encodeMetadata(moveMetadata(metadata, move, to))
  await files.writeNew(versionPath(metadataFolder(to), version), bytes)
  await writeHint(files, metadataFolder(to), version)
  await files.syncFolder(metadataFolder(to))
  return read
}

/** A location in its new place; one outside of the table stays as it is. */
type Move = (location: string) => string

function moveMetadata(metadata: TableMetadata, move: Move, to: string): TableMetadata {
  const { statistics: _, 'partition-statistics': __, ...rest } = metadata
  const snapshots = metadata.snapshots?.map((snapshot) => ({
    ...snapshot,
    'manifest-list': move(snapshot['manifest-list']),
  }))
  return {
    ...rest,
    location: locationOf(to),
    ...(snapshots === undefined ? {} : { snapshots }),
    'metadata-log': [],
  }
}

function moveManifestList(
  bytes: Buffer,
  move: Move,
  manifestBytes: ReadonlyMap<string, number>,
): Buffer {
  return rewriteContainer(bytes, (record, nameOf) => {
    const location = move(String(record[nameOf(manifestPathId)]))
    const length = manifestBytes.get(location)
    return {
      ...record,
      [nameOf(manifestPathId)]: location,
      ...(length === undefined ? {} : { [nameOf(manifestLengthId)]: BigInt(length) }),
    }
  })
}

function moveManifest(bytes: Buffer, move: Move): Buffer {
  return rewriteContainer(bytes, (record, nameOf) => {
    const file = record[nameOf(dataFileId)] as Record<string, unknown> // a record, by the spec
    const moved = { ...file, [nameOf(filePathId)]: move(String(file[nameOf(filePathId)])) }
    return { ...record, [nameOf(dataFileId)]: moved }
  })
}
