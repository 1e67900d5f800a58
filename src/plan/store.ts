import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { QuestlogError, systemErrorCode } from '../core/errors.ts'
import { replaceFile, type Files } from '../core/files.ts'
import type { Definition } from './definition.ts'
import { isObject } from './problems.ts'

const formatVersion = 1

/**
 * Keeps the definition as the next immutable version in `<data>/definitions/<n>.json`, durably, and returns n; when the newest version says
 * the same, returns that one's number. One process (the supervisor) stores.
 */
export async function storeDefinition(
  files: Files,
  dataFolder: string,
  definition: Definition,
): Promise<number> {
  const folder = folderOf(dataFolder)
  await files.makeFolder(folder)
  const newest = await newestVersion(files, folder)
  const text = `${JSON.stringify(definition, null, 2)}\n`
  if (newest > 0 && (await saysTheSame(files, dataFolder, newest, text))) return newest
  const version = newest + 1
  await files.writeNew(join(folder, `${version}.json`), Buffer.from(text))
  await files.syncFolder(folder)
  return version
}

/** A stored version. FORMAT_UNKNOWN when a newer questlog wrote it, DATA_UNUSABLE when it is missing or damaged. */
export async function readDefinition(
  files: Files,
  dataFolder: string,
  version: number,
): Promise<Definition> {
  const path = join(folderOf(dataFolder), `${version}.json`)
  const stored = await readJson(files, path, version)
  if (!isObject(stored) || typeof stored.formatVersion !== 'number')
    throw damaged(path, version, 'it is not a definition')
  if (stored.formatVersion !== formatVersion)
    throw new QuestlogError(
      'FORMAT_UNKNOWN',
      `${path} has format ${stored.formatVersion}; this questlog reads format ${formatVersion}`,
      { path, version, format: stored.formatVersion },
    )
  if (!isDefinition(stored)) throw damaged(path, version, 'parts of it are missing')
  return stored
}

/** The numbers of all stored versions, oldest first. */
export async function storedVersions(files: Files, dataFolder: string): Promise<number[]> {
  const names = await files.list(folderOf(dataFolder))
  return names
    .map((name) => /^([1-9]\d{0,8})\.json$/.exec(name)?.[1])
    .filter((text) => text !== undefined)
    .map(Number)
    .toSorted((left, right) => left - right)
}

/** The version that the running system uses; undefined before the first one. */
export async function activeVersion(files: Files, dataFolder: string): Promise<number | undefined> {
  const path = join(folderOf(dataFolder), 'active')
  if ((await files.sizeOf(path)) === undefined) return undefined
  const text = (await files.readAll(path)).toString('utf8').trim()
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text)
  throw new QuestlogError(
    'DATA_UNUSABLE',
    `${path} should hold the number of a definition, but holds ${JSON.stringify(text.slice(0, 40))}`,
    { path },
    { hint: 'write the number of the newest file in that folder into it' },
  )
}

/** Makes a stored version the active one, durably. */
export async function setActiveVersion(
  files: Files,
  dataFolder: string,
  version: number,
): Promise<void> {
  await replaceFile(files, join(folderOf(dataFolder), 'active'), Buffer.from(`${version}\n`))
}

function folderOf(dataFolder: string): string {
  return join(dataFolder, 'definitions')
}

async function newestVersion(files: Files, folder: string): Promise<number> {
  const versions = (await files.list(folder)).map((name) =>
    Number(/^([1-9]\d{0,8})\.json$/.exec(name)?.[1] ?? 0),
  )
  return Math.max(0, ...versions)
}

/** False also for a version that can't be read: a crash may have left it half-written, and it was never active. */
async function saysTheSame(
  files: Files,
  dataFolder: string,
  version: number,
  text: string,
): Promise<boolean> {
  try {
    const stored = await readDefinition(files, dataFolder, version)
    return isDeepStrictEqual(stored, JSON.parse(text))
  } catch (error) {
    if (error instanceof QuestlogError) return false
    throw error
  }
}

async function readJson(files: Files, path: string, version: number): Promise<unknown> {
  try {
    return JSON.parse((await files.readAll(path)).toString('utf8'))
  } catch (error) {
    if (error instanceof SyntaxError) throw damaged(path, version, 'it is not JSON', error)
    if (systemErrorCode(error) === 'ENOENT') throw damaged(path, version, 'it is missing', error)
    throw error
  }
}

function isDefinition(
  stored: Record<string, unknown>,
): stored is Record<string, unknown> & Definition {
  const lists = [stored.topics, stored.events, stored.tables]
  return (
    typeof stored.namespace === 'string' && lists.every(Array.isArray) && isObject(stored.settings)
  )
}

function damaged(path: string, version: number, why: string, cause?: unknown): QuestlogError {
  return new QuestlogError(
    'DATA_UNUSABLE',
    `the stored definition ${path} can't be used: ${why}`,
    { path, version },
    { cause, hint: 'save questlog.config.ts again: a new version is stored' },
  )
}
