import { dirname } from 'node:path'
import { QuestlogError } from '../core/errors.ts'
import type { Files } from '../core/files.ts'
import { namedFiles } from './guest-files.ts'
import { pathOf } from './location.ts'
import type { MetadataVersion } from './metadata-commit.ts'
import type { TableMetadata } from './metadata.ts'
import { pathBelow, type NamedFile } from './pinned-table.ts'

/**
 * The files that one version of a table of another engine names, as paths below the folder of all such tables: a table that was renamed has its files in another one's folder. Statistics files, which
 * only make a plan better, are left out. TABLE_DAMAGED when a file can't be read, or lies outside of the folder.
 */
export async function pinGuest(
  files: Files,
  folder: string,
  { metadata, location: path }: MetadataVersion,
): Promise<readonly NamedFile[]> {
  const roots = guestRoots(metadata, folder)
  return (await namedFiles(files, metadata.snapshots ?? [])).map(({ location, bytes }) => {
    const below = pathBelow(roots, location)
    if (below !== undefined) return { path: below, source: pathOf(location), bytes }
    throw new QuestlogError(
      'TABLE_DAMAGED',
      `${pathOf(path)} names ${pathOf(location)}, which lies outside of ${folder}`,
      { path: pathOf(path), file: pathOf(location) },
      { hint: 'drop the table with the engine that made it, or rewrite its files' },
    )
  })
}

/** The folders below which a table of another engine may name files: the one in which it lies, as itself and as it is found. */
export function guestRoots(metadata: TableMetadata, folder: string): readonly string[] {
  return [dirname(dirname(pathOf(metadata.location))), folder]
}
