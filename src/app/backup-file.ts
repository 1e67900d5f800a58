import { join } from 'node:path'
import { sumBytes, type FileSum } from '../core/copy.ts'
import { QuestlogError } from '../core/errors.ts'
import { replaceFile, type Files } from '../core/files.ts'
import type { CopiedPartition } from '../log/log-copy.ts'

/** 2 has `guests`; 1 is read, too. */
const formatVersion = 2
const fileName = 'backup.json'

/** `backup.json`: what a backup holds. Written last, so a folder without it is no backup. docs/internals/backup-format.md has the fields. */
export interface Backup {
  /** ISO 8601, UTC. Everything that was answered before is in the backup. */
  readonly createdAt: string
  /** Version of the program that wrote it. */
  readonly questlog: string
  readonly definitionVersion: number | null
  readonly partitions: readonly CopiedPartition[]
  readonly tables: readonly BackupTable[]
  /** Tables of other engines. Absent in backups of version 1, which had none. */
  readonly guests?: readonly BackupGuest[]
  readonly files: readonly BackupFile[]
}

export interface BackupTable {
  readonly namespace: string
  readonly name: string
  readonly uuid: string
  /** Folder that the table's files name each other by. */
  readonly folder: string
  readonly version: number
  readonly rows: number
}

export interface BackupGuest {
  readonly namespace: string
  readonly name: string
  readonly uuid: string
  /** Folder of all tables of other engines, by which their files name each other. */
  readonly folder: string
  readonly version: number
}

export interface BackupFile extends FileSum {
  /** Below the backup's folder, with slashes. */
  readonly path: string
}

/** Makes the copy in `folder` a backup, durably. Everything else in it must be synced. */
export async function writeBackup(files: Files, folder: string, backup: Backup): Promise<void> {
  const content = { formatVersion, ...backup }
  const { crc32c } = sumBytes(Buffer.from(JSON.stringify(content)))
  const text = `${JSON.stringify({ ...content, crc32c }, null, 1)}\n`
  await replaceFile(files, join(folder, fileName), Buffer.from(text))
}

/** BACKUP_UNUSABLE when the folder holds no finished backup or its file was changed, FORMAT_UNKNOWN when a newer questlog wrote it. */
export async function readBackup(files: Files, folder: string): Promise<Backup> {
  const path = join(folder, fileName)
  if ((await files.sizeOf(path)) === undefined)
    throw unusable(
      folder,
      `${folder} holds no finished backup: there is no ${fileName}`,
      'name the folder that `questlog backup` wrote; one that was interrupted can not be used',
    )
  const stored = parse(await files.readAll(path))
  if (stored === undefined) throw unusable(folder, `${path} can't be read`)
  if (typeof stored.formatVersion === 'number' && stored.formatVersion > formatVersion)
    throw new QuestlogError(
      'FORMAT_UNKNOWN',
      `${path} has format version ${stored.formatVersion}; this questlog reads version ${formatVersion}`,
      { path, version: stored.formatVersion },
    )
  const { crc32c, ...content } = stored
  if (sumBytes(Buffer.from(JSON.stringify(content))).crc32c !== crc32c)
    throw unusable(folder, `${path} was changed: its checksum is wrong`)
  const { formatVersion: _, ...backup } = content
  return backup as unknown as Backup // the checksum says that it is ours
}

/** BACKUP_UNUSABLE for a file of a backup that is not as it was written; nothing when it is. */
export function requireSame(folder: string, file: BackupFile, found: FileSum | undefined): void {
  const path = join(folder, file.path)
  if (found === undefined) throw unusable(folder, `${path} is missing`)
  if (found.bytes !== file.bytes)
    throw unusable(folder, `${path} has ${found.bytes} bytes instead of ${file.bytes}`)
  if (found.crc32c !== file.crc32c)
    throw unusable(folder, `${path} was changed: its checksum is wrong`)
}

function parse(bytes: Buffer): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(bytes.toString('utf8'))
    return typeof value === 'object' && value !== null
      ? (value as Record<string, unknown>)
      : undefined
  } catch {
    return undefined
  }
}

function unusable(folder: string, message: string, hint?: string): QuestlogError {
  return new QuestlogError(
    'BACKUP_UNUSABLE',
    message,
    { folder },
    hint === undefined ? {} : { hint },
  )
}
