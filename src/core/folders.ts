import {
  lstatSync,
  readdirSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  type Stats,
} from 'node:fs'
import { rm } from 'node:fs/promises'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { systemErrorCode } from './errors.ts'

/** What a folder holds, for commands that show it. Symbolic links count as what they lead to. */
export interface FolderEntry {
  readonly name: string
  readonly isFolder: boolean
  readonly size: number
  readonly modifiedMs: number
  /** Permission bits, as in `chmod`. */
  readonly mode: number
}

/** The entry of one path; undefined when there is nothing. */
export function readEntry(path: string, name: string): FolderEntry | undefined {
  const found = statOf(path)
  if (found === undefined) return undefined
  const isFolder = found.isDirectory()
  return {
    name,
    isFolder,
    size: isFolder ? 0 : found.size,
    modifiedMs: found.mtimeMs,
    mode: found.mode & 0o777,
  }
}

/** A link that leads in a circle leads nowhere. */
function statOf(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false })
  } catch (error) {
    if (systemErrorCode(error) === 'ELOOP') return undefined
    throw error
  }
}

/** The entries of a folder by name, without hidden ones. Throws the system's error when it is no folder. */
export function listEntries(folder: string): FolderEntry[] {
  return readdirSync(folder)
    .filter((name) => !name.startsWith('.'))
    .toSorted()
    .flatMap((name) => readEntry(join(folder, name), name) ?? [])
}

/** Where a symbolic link leads, as it was written; undefined when the path is none; null when there is nothing. */
export function readLink(path: string): string | undefined | null {
  const found = lstatSync(path, { throwIfNoEntry: false })
  if (found === undefined) return null
  return found.isSymbolicLink() ? readlinkSync(path) : undefined
}

/** Where a path leads when all symbolic links in it are followed; the path itself when there is nothing. */
export function followLinks(path: string): string {
  try {
    return realpathSync(path)
  } catch (error) {
    if (['ENOENT', 'ELOOP'].includes(systemErrorCode(error) ?? '')) return path
    throw error
  }
}

/** Lets a symbolic link lead elsewhere, in one step: whoever looks finds the old target or the new one. `temporary`: a path for a link that a killed process may leave. */
export function replaceLink(target: string, path: string, temporary: string): void {
  rmSync(temporary, { force: true })
  symlinkSync(target, temporary)
  renameSync(temporary, path)
}

/** Removes a folder and what is in it, without holding up anything else meanwhile. */
export async function removeTree(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 })
}

/** The name of the user who runs this program. */
export function userName(): string {
  try {
    return userInfo().username
  } catch {
    return 'unknown' // a user id without a name
  }
}
