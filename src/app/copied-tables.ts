import { dirname, join } from 'node:path'
import { copyFile, inParallel, type FileSum } from '../core/copy.ts'
import { QuestlogError, systemErrorCode } from '../core/errors.ts'
import type { Files } from '../core/files.ts'
import type { NamedFile } from '../lake/pinned-table.ts'

/** Files that are copied at once: their syncs share the disk's time. */
export const copiesMax = 8

/** Copies what a table names below `to`, but for what `copied` has already, and notes it there. Answers with the paths of all of it. TABLE_DAMAGED when a file has another size than its table says. */
export async function copyNamed(
  files: Files,
  named: readonly NamedFile[],
  to: string,
  copied: Map<string, FileSum>,
): Promise<string[]> {
  const missing = named.filter(({ path }) => !copied.has(join(to, path)))
  for (const folder of new Set(missing.map(({ path }) => dirname(join(to, path)))))
    await files.makeFolder(folder)
  await inParallel(missing, copiesMax, async ({ path, source, bytes }) => {
    const sum = await copyFile(files, source, join(to, path))
    if (bytes !== undefined && bytes !== sum.bytes)
      throw new QuestlogError(
        'TABLE_DAMAGED',
        `${source} has ${sum.bytes} bytes instead of ${bytes}`,
        { path: source },
      )
    copied.set(join(to, path), sum)
  })
  return named.map(({ path }) => join(to, path))
}

/** Whether a file was gone that a version of a table names: a newer one may not need it any more. */
export function hasVanished(error: unknown): boolean {
  return (
    systemErrorCode(error) === 'ENOENT' ||
    (error instanceof QuestlogError && systemErrorCode(error.cause) === 'ENOENT')
  )
}

/** A file that a table names and that stays away. */
export function asDamaged(error: unknown, table: string, hint?: string): unknown {
  if (error instanceof QuestlogError || systemErrorCode(error) !== 'ENOENT') return error
  const message = error instanceof Error ? error.message : String(error)
  return new QuestlogError(
    'TABLE_DAMAGED',
    `table ${table} names a file that is not there: ${message}`,
    { table },
    { cause: error, ...(hint === undefined ? {} : { hint }) },
  )
}
