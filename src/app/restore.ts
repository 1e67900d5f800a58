import { join } from 'node:path'
import { copyFile, inParallel, sumFile } from '../core/copy.ts'
import { systemErrorCode } from '../core/errors.ts'
import type { Files } from '../core/files.ts'
import { removeFolder } from '../core/host.ts'
import { relocateTable } from '../lake/relocate.ts'
import { writeCopiedEnds } from '../log/log-copy.ts'
import { readBackup, requireSame, type Backup, type BackupFile } from './backup-file.ts'
import { guestsName, moveGuests } from './backup-guests.ts'
import { copiesMax } from './copied-tables.ts'
import { explainWrite, requireApart, requireEmpty } from './target-folder.ts'

/** Without it a folder with segments is refused at a start, so it is written last: a restore that was interrupted can't be taken for a whole one. */
const lastPath = 'log/meta'

/**
 * Makes a data folder of a backup. Every file is checked against `backup.json` on the way; the tables' metadata are rewritten for the new place. DATA_UNUSABLE when `data`
 * is not empty, BACKUP_UNUSABLE when a file is missing or was changed; then nothing is left in `data`.
 */
export async function restore(files: Files, folder: string, data: string): Promise<Backup> {
  const backup = await readBackup(files, folder)
  requireApart(folder, data)
  await requireEmpty(files, data)
  await files.makeFolder(data)
  try {
    const moved = new Set([
      ...(await moveTables(files, folder, backup, data)),
      ...(await moveOthers(files, folder, backup, data)),
    ])
    const copied = backup.files.filter(({ path }) => !moved.has(path) && path !== lastPath)
    await copyAll(files, folder, copied, data)
    await files.makeFolder(join(data, 'log'))
    await writeCopiedEnds(files, join(data, 'log'), backup.partitions)
    const meta = backup.files.filter(({ path }) => path === lastPath)
    await copyAll(files, folder, meta, data)
    await files.syncFolder(data)
    return backup
  } catch (error) {
    for (const name of ['log', 'lake', guestsName, 'definitions']) removeFolder(join(data, name))
    throw explainWrite(error, data)
  }
}

/** Writes the metadata of all tables; answers with the files of the backup that they were made of, checked. */
async function moveTables(
  files: Files,
  folder: string,
  backup: Backup,
  data: string,
): Promise<ReadonlySet<string>> {
  const moved = new Set<string>()
  const byPath = new Map(backup.files.map((file) => [file.path, file]))
  for (const { namespace, name, folder: original, version } of backup.tables) {
    const table = `lake/${namespace}/${name}`
    const metadata = backup.files.filter(
      ({ path }) => path.startsWith(`${table}/`) && !path.endsWith('.parquet'),
    )
    await inParallel(metadata, copiesMax, (file) => checkFile(files, folder, file))
    const read = await relocateTable({
      files,
      from: join(folder, table),
      original,
      to: join(data, table),
      version,
    })
    for (const path of read) if (byPath.has(`${table}/${path}`)) moved.add(`${table}/${path}`)
    await files.makeFolder(join(data, table, 'data'))
  }
  return moved
}

/** The same for the tables of other engines. */
async function moveOthers(
  files: Files,
  folder: string,
  backup: Backup,
  data: string,
): Promise<ReadonlySet<string>> {
  // Their files of position deletes are written anew, and lie among their data files.
  const all = backup.files.filter(({ path }) => path.startsWith(`${guestsName}/`))
  await inParallel(all, copiesMax, (file) => checkFile(files, folder, file))
  return moveGuests(files, folder, backup.guests ?? [], data)
}

async function checkFile(files: Files, folder: string, file: BackupFile): Promise<void> {
  const path = join(folder, file.path)
  const isThere = (await files.sizeOf(path)) !== undefined
  requireSame(folder, file, isThere ? await sumFile(files, path) : undefined)
}

async function copyAll(
  files: Files,
  folder: string,
  list: readonly BackupFile[],
  data: string,
): Promise<void> {
  const folders = new Set(list.map(({ path }) => join(data, path, '..')))
  for (const each of folders) await files.makeFolder(each)
  await inParallel(list, copiesMax, async (file) => {
    const sum = await copyFile(files, join(folder, file.path), join(data, file.path)).catch(
      (error: unknown) => {
        if (systemErrorCode(error) === 'ENOENT') return undefined
        throw error
      },
    )
    requireSame(folder, file, sum)
  })
  await inParallel(folders, copiesMax, (path) => files.syncFolder(path))
}
