import { sep } from 'node:path'
import { QuestlogError, systemErrorCode } from '../core/errors.ts'
import type { Files } from '../core/files.ts'

const unusableCodes = new Set(['EACCES', 'EPERM', 'EROFS', 'ENOTDIR', 'ENOSPC', 'EDQUOT', 'EIO'])

/** DATA_UNUSABLE when something is in the folder. One that is not there is empty. */
export async function requireEmpty(files: Files, folder: string): Promise<void> {
  const names = await files.list(folder)
  if (names.length === 0) return
  const shown = names.slice(0, 3).join(', ')
  throw new QuestlogError(
    'DATA_UNUSABLE',
    `${folder} is not empty: it holds ${shown}${names.length > 3 ? ', …' : ''}`,
    { folder },
    { hint: 'name a folder that is empty or not there yet; nothing is ever overwritten' },
  )
}

/** USAGE when one of the folders lies in the other. */
export function requireApart(one: string, other: string): void {
  if (!`${one}${sep}`.startsWith(`${other}${sep}`) && !`${other}${sep}`.startsWith(`${one}${sep}`))
    return
  throw new QuestlogError(
    'USAGE',
    `${one} and ${other} lie one in the other`,
    { one, other },
    { hint: 'name a folder outside of it, at best on another disk' },
  )
}

/** DATA_UNUSABLE for an error of the system that a full disk or a missing right explains; other errors stay as they are. */
export function explainWrite(error: unknown, folder: string): unknown {
  if (error instanceof QuestlogError || !unusableCodes.has(systemErrorCode(error) ?? ''))
    return error
  const message = error instanceof Error ? error.message : String(error)
  return new QuestlogError(
    'DATA_UNUSABLE',
    `${folder} can't be written: ${message}`,
    { folder },
    { cause: error, hint: 'make room, or name another folder; what was written was taken back' },
  )
}
