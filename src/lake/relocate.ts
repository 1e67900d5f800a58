import { dirname, join } from 'node:path'
import { QuestlogError } from '../core/errors.ts'
import type { Files } from '../core/files.ts'
import { rewriteContainer } from './avro-container.ts'
import { placeProperties } from './guest-place.ts'
import { locationOf, metadataFolder, pathOf } from './location.ts'
import { isLive, readManifest } from './manifest.ts'
import { readManifestList } from './manifest-list.ts'
import { decodeMetadata, encodeMetadata, type TableMetadata } from './metadata.ts'
import { pathBelow, tableRoots } from './pinned-table.ts'
import { deletedPathId } from './position-deletes.ts'
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
const fileSizeId = 104
const boundIds = [125, 128]
const splitOffsetsId = 132
const referencedFileId = 143

/**
 * Writes one version of a table anew for another folder: every location in metadata, manifest lists and manifests is changed, nothing else, and all of it is
 * synced, the metadata file last. Older metadata files are not named any more, nor statistics files, which only make a plan better. Data files are
 * the caller's to copy. Answers with the paths, below the folder of the copy, of what was read.
 */
export async function relocateTable(relocation: Relocation): Promise<ReadonlySet<string>> {
  const { files, from, original, to, version } = relocation
  const relocator = new Relocator({ files, from, to })
  await relocator.move({ folder: '', version, roots: (metadata) => tableRoots(metadata, original) })
  return relocator.read
}

/** Rewrites a file of position deletes for another place; answers with its new size. */
export type MoveDeletes = (
  source: string,
  target: string,
  roots: readonly string[],
) => Promise<number>

/** Writes tables whose files lie below one folder anew for another one. What two tables name is written once. */
export class Relocator {
  readonly #files: Files
  readonly #from: string
  readonly #to: string
  readonly #moveDeletes: MoveDeletes | undefined
  /** Bytes of manifests and delete files in their new places, by location. */
  readonly #bytes = new Map<string, number>()
  /** Folders with names that are not synced yet. */
  readonly #folders = new Set<string>()
  /** Paths, below the folder of the copy, of what was read. */
  readonly read = new Set<string>()

  /** Without `moveDeletes` there are no files of position deletes. */
  constructor(options: { files: Files; from: string; to: string; moveDeletes?: MoveDeletes }) {
    this.#files = options.files
    this.#from = options.from
    this.#to = options.to
    this.#moveDeletes = options.moveDeletes
  }

  /** One version of the table whose `metadata` is in this folder, below those of copy and target. `roots` are the folders below which its locations lie. */
  async move(table: {
    readonly folder: string
    readonly version: number
    readonly roots: (metadata: TableMetadata) => readonly string[]
  }): Promise<void> {
    const path = versionPath(metadataFolder(table.folder), table.version)
    const metadata = decodeMetadata(await this.#files.readAll(join(this.#from, path)), path)
    const roots = table.roots(metadata)
    const move: Move = (location) => {
      const below = pathBelow(roots, location)
      return below === undefined ? location : locationOf(join(this.#to, below))
    }
    this.read.add(path)
    const target = metadataFolder(join(this.#to, table.folder))
    await this.#files.makeFolder(target)
    for (const { 'manifest-list': list } of metadata.snapshots ?? [])
      await this.#moveList(list, roots, move)
    for (const folder of this.#folders) await this.#files.syncFolder(folder)
    this.#folders.clear()
    const place = roots.includes(pathOf(metadata.location))
      ? locationOf(join(this.#to, table.folder))
      : move(metadata.location)
    const bytes = encodeMetadata(moveMetadata(metadata, move, place))
    await this.#files.writeNew(versionPath(target, table.version), bytes)
    await writeHint(this.#files, target, table.version)
    await this.#files.syncFolder(target)
  }

  async #moveList(list: string, roots: readonly string[], move: Move): Promise<void> {
    const below = pathBelow(roots, list)
    if (below === undefined) return
    for (const { manifest_path: manifest } of await readManifestList(
      this.#files,
      join(this.#from, below),
    ))
      await this.#moveManifest(manifest, roots, move)
    await this.#rewrite(below, (bytes) => moveManifestList(bytes, move, this.#bytes))
  }

  async #moveManifest(location: string, roots: readonly string[], move: Move): Promise<void> {
    const below = pathBelow(roots, location)
    if (below === undefined || this.read.has(below)) return
    if (this.#moveDeletes !== undefined) await this.#moveDeleteFiles(below, roots, move)
    const length = await this.#rewrite(below, (bytes) => moveManifest(bytes, move, this.#bytes))
    if (length !== undefined) this.#bytes.set(move(location), length)
  }

  /** Files of position deletes name data files by their locations. */
  async #moveDeleteFiles(manifest: string, roots: readonly string[], move: Move): Promise<void> {
    const path = join(this.#from, manifest)
    const size = (await this.#files.sizeOf(path)) ?? 0
    const entries = await readManifest(
      this.#files,
      { manifest_path: path, manifest_length: BigInt(size) },
      { 'spec-id': 0, fields: [] },
    )
    for (const { data_file: file } of entries.filter(isLive)) {
      const below = pathBelow(roots, file.file_path)
      if (file.content !== positionDeletes || below === undefined || this.read.has(below)) continue
      if (file.file_format.toUpperCase() !== 'PARQUET')
        throw new QuestlogError(
          'FORMAT_UNKNOWN',
          `${below} has position deletes in ${file.file_format}, which can't be written for another place`,
          { path: below },
          { hint: 'rewrite the data files of the table with its engine, then take a new backup' },
        )
      this.read.add(below)
      const target = await this.#targetOf(below)
      const bytes = await this.#moveDeletes?.(join(this.#from, below), target, roots)
      if (bytes !== undefined) this.#bytes.set(move(file.file_path), bytes)
    }
  }

  /** Undefined when it was done before. */
  async #rewrite(below: string, change: (bytes: Buffer) => Buffer): Promise<number | undefined> {
    if (this.read.has(below)) return undefined
    this.read.add(below)
    const bytes = change(await this.#files.readAll(join(this.#from, below)))
    await this.#files.writeNew(await this.#targetOf(below), bytes)
    return bytes.length
  }

  /** The path of a new file, in a folder that is there. */
  async #targetOf(below: string): Promise<string> {
    const target = join(this.#to, below)
    const folder = dirname(target)
    if (!this.#folders.has(folder)) await this.#files.makeFolder(folder)
    this.#folders.add(folder)
    return target
  }
}

/** Content of a delete file (spec, "Manifests"). */
const positionDeletes = 1

/** A location in its new place; one outside of the table stays as it is. */
type Move = (location: string) => string

function moveMetadata(metadata: TableMetadata, move: Move, place: string): TableMetadata {
  const { statistics: _, 'partition-statistics': __, ...rest } = metadata
  const snapshots = metadata.snapshots?.map((snapshot) => ({
    ...snapshot,
    'manifest-list': move(snapshot['manifest-list']),
  }))
  const { properties } = metadata
  const movedProperties = Object.entries(properties ?? {}).map(([name, value]) =>
    placeProperties.includes(name) ? [name, move(value)] : [name, value],
  )
  return {
    ...rest,
    location: place,
    ...(snapshots === undefined ? {} : { snapshots }),
    ...(properties === undefined
      ? {}
      : { properties: Object.fromEntries(movedProperties) as Record<string, string> }), // as they were
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

function moveManifest(bytes: Buffer, move: Move, newBytes: ReadonlyMap<string, number>): Buffer {
  return rewriteContainer(bytes, (record, nameOf) => {
    const file = record[nameOf(dataFileId)] as Record<string, unknown> // a record, by the spec
    const path = move(String(file[nameOf(filePathId)]))
    const moved = { ...file, [nameOf(filePathId)]: path }
    const size = newBytes.get(path)
    if (size !== undefined) asRewritten(moved, size, nameOf)
    const referenced = optionalName(nameOf, referencedFileId)
    if (typeof moved[referenced] === 'string') moved[referenced] = move(moved[referenced])
    return { ...record, [nameOf(dataFileId)]: moved }
  })
}

/** An entry of a file of position deletes that was written anew. Without bounds of its paths it is looked at for every data file that it may belong to. */
function asRewritten(
  file: Record<string, unknown>,
  bytes: number,
  nameOf: (fieldId: number) => string,
): void {
  file[nameOf(fileSizeId)] = BigInt(bytes)
  const splits = optionalName(nameOf, splitOffsetsId)
  if (splits in file) file[splits] = null
  for (const id of boundIds) {
    const name = optionalName(nameOf, id)
    const bounds = file[name]
    if (!Array.isArray(bounds)) continue
    const list = bounds as { readonly key: number }[] // a map, by the spec
    file[name] = list.filter(({ key }) => key !== deletedPathId)
  }
}

/** The writer's name of a field that it may have left out; then one that no field has. */
function optionalName(nameOf: (fieldId: number) => string, id: number): string {
  try {
    return nameOf(id)
  } catch {
    return ''
  }
}
