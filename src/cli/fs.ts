import { join } from 'node:path'
import { exportPath, exportRoot } from '../app/export-root.ts'
import { formatPath } from '../app/words.ts'
import { QuestlogError, systemErrorCode } from '../core/errors.ts'
import { realFiles } from '../core/files.ts'
import { followLinks, listEntries, readEntry } from '../core/folders.ts'
import type { ShownEntry } from './fs-format.ts'
import { requireData } from './locate.ts'
import { printWord, writeOut } from './output.ts'

const chunkBytes = 256 * 1024

/** What is at a path: a file, or a folder with its entries. */
export type Found =
  | { readonly kind: 'file'; readonly entry: ShownEntry; readonly real: string }
  | { readonly kind: 'folder'; readonly entries: readonly ShownEntry[]; readonly real: string }

/** Looks a path up under the exports of a data folder, and says once where it really lies. PATH_UNKNOWN */
export function findPath(data: string | undefined, text: string): Found & { shown: string } {
  const folder = requireData(data)
  const { shown, real: path } = exportPath(folder, text)
  printWord(`${shown} is ${formatPath(path, process.cwd())}`)
  const real = followLinks(path) // one version, although another may take its place
  const entry = readEntry(real, shown)
  if (entry === undefined && path === exportRoot(folder))
    return { kind: 'folder', entries: [], real, shown }
  if (entry === undefined) throw unknownPath(shown)
  if (!entry.isFolder) return { kind: 'file', entry: { ...entry, path: shown }, real, shown }
  const base = shown === '/' ? '' : shown
  const entries = listEntries(real).map((each) => ({ ...each, path: `${base}/${each.name}` }))
  return { kind: 'folder', entries, real, shown }
}

/** The bytes of a file, or of everything below a folder. */
export function sizeBelow(path: string): number {
  const real = followLinks(path)
  const entry = readEntry(real, '')
  if (entry === undefined || !entry.isFolder) return entry?.size ?? 0
  return listEntries(real).reduce((sum, { name }) => sum + sizeBelow(join(real, name)), 0)
}

/** Prints a file, or its first bytes. */
export async function printFile(found: Found & { shown: string }, bytesMax: number): Promise<void> {
  if (found.kind === 'folder') throw isFolderError(found.shown)
  const file = await realFiles.openRead(found.real)
  try {
    for (let at = 0; at < bytesMax;) {
      const chunk = await file.read(at, Math.min(chunkBytes, bytesMax - at))
      if (chunk.length === 0) return
      at += chunk.length
      await writeOut(chunk)
    }
  } finally {
    await file.close()
  }
}

/** Copies a file or a folder to a path of the machine, which must not exist yet, or be a folder to copy into. Resolves to the path that was made. */
export async function getPath(found: Found & { shown: string }, target: string): Promise<string> {
  const name = found.shown.split('/').at(-1) ?? ''
  const into = readEntry(target, '')
  const path = into?.isFolder === true ? join(target, name) : target
  if (into?.isFolder === false || (path !== target && readEntry(path, '') !== undefined))
    throw new QuestlogError('USAGE', `${path} exists`)
  await copyTree(found.real, path)
  return path
}

async function copyTree(path: string, to: string): Promise<void> {
  const { copyFile } = await import('../core/copy.ts')
  const from = followLinks(path)
  if (readEntry(from, '')?.isFolder !== true) {
    await copyFile(realFiles, from, to).catch((error: unknown) => {
      throw systemErrorCode(error) === 'ENOENT'
        ? new QuestlogError('USAGE', `there is no folder for ${to}`)
        : error
    })
    return
  }
  await realFiles.makeFolder(to)
  for (const { name } of listEntries(from)) await copyTree(join(from, name), join(to, name))
}

function unknownPath(shown: string): QuestlogError {
  return new QuestlogError(
    'PATH_UNKNOWN',
    `${shown}: there is no such file or folder among the exports`,
    { path: shown },
  )
}

function isFolderError(shown: string): QuestlogError {
  return new QuestlogError('USAGE', `${shown} is a folder`, {}, { hint: 'name a file in it' })
}
