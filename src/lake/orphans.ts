import { join } from 'node:path'
import { systemErrorCode } from '../core/errors.ts'
import type { Files } from '../core/files.ts'
import { metadataFolder } from './location.ts'

/**
 * What writers of a table leave behind when they die: files of questlog and of other Iceberg writers that only a snapshot can make a part of the
 * table, and temporary ones. Everything else in the folder is somebody's own: versions and their hint, statistics, what a person put there.
 */
const leftByWriters = /\.(?:parquet|avro|metadata\.json\.tmp)$|^version-hint\.text\..+\.tmp$/

/** Paths of all such files in the folders of a table, named by a snapshot or not. */
export async function listTableFiles(files: Files, tableFolder: string): Promise<string[]> {
  const found: string[] = []
  const walk = async (folder: string, depth: number): Promise<void> => {
    for (const name of await listFolder(files, folder)) {
      if (leftByWriters.test(name)) found.push(join(folder, name))
      else if (depth > 0 && !name.includes('.')) await walk(join(folder, name), depth - 1)
    }
  }
  await walk(join(tableFolder, 'data'), foldersMax)
  await walk(metadataFolder(tableFolder), 0)
  return found
}

/** Levels of folders below `data`: one for each partition field of another engine's table. */
const foldersMax = 8

async function listFolder(files: Files, path: string): Promise<string[]> {
  return files.list(path).catch((error: unknown) => {
    if (systemErrorCode(error) === 'ENOTDIR') return []
    throw error
  })
}

/**
 * Of these files those that are in no `named` set and were last written before `writtenBeforeMs` (wall clock): nothing refers to them, and no writer
 * is about to. `files` must have been listed before `named` was read, else a file committed in between would look like one.
 */
export async function orphansAmong(
  files: Files,
  paths: readonly string[],
  named: ReadonlySet<string>,
  writtenBeforeMs: number,
): Promise<ReadonlySet<string>> {
  const orphans = new Set<string>()
  for (const path of paths) {
    if (named.has(path)) continue
    const modifiedMs = await files.modifiedMs(path)
    if (modifiedMs !== undefined && modifiedMs < writtenBeforeMs) orphans.add(path)
  }
  return orphans
}
