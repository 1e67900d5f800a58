import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { allDone } from '../core/all-done.ts'
import type { Files } from '../core/files.ts'
import { systemErrorCode } from '../core/errors.ts'
import { removeLeftovers } from './leftovers.ts'
import { metadataLogMax } from './metadata.ts'
import type { PendingFile } from './next-version.ts'

/**
 * The chain of metadata files `v1.metadata.json`, `v2.metadata.json`, … of one table. A version exists from the moment its name does, whole; the
 * highest one is the table. Names are taken with link(2), so of two writers on the same base one gets EEXIST. All functions take the metadata folder.
 */
export function versionPath(folder: string, version: number): string {
  return join(folder, `v${version}.metadata.json`)
}

/** The current version, found from the hint and then by scanning forward; 0 when there is no table. A reader's cheap way. */
export async function findVersion(files: Files, folder: string): Promise<number> {
  let version = await readHint(files, folder)
  if (version === 0 || !(await versionExists(files, folder, version)))
    return highestVersion(files, folder)
  while (await versionExists(files, folder, version + 1)) version++
  return version
}

/** The current version by listing the folder: what a writer in doubt goes by, because no cache can mislead it. 0 when there is no table. */
export async function highestVersion(files: Files, folder: string): Promise<number> {
  const names = await files.list(folder)
  return names.reduce((highest, name) => Math.max(highest, versionOf(name)), 0)
}

/** Whether a name in a metadata folder is that of a version; 0 if not. */
function versionOf(name: string): number {
  return Number(/^v([1-9]\d{0,14})\.metadata\.json$/.exec(name)?.[1] ?? 0)
}

async function versionExists(files: Files, folder: string, version: number): Promise<boolean> {
  return (await files.sizeOf(versionPath(folder, version))) !== undefined
}

/** A name for the bytes of a version before it has its own. */
export function stagedPath(folder: string): string {
  return join(folder, `${randomUUID()}.metadata.json.tmp`)
}

/** Makes the bytes that a version is to name durable, and their names; `synced` is of those that others write. After an error they are gone, when all writing has ended. */
export async function writeWhatItNames(
  files: Files,
  folder: string,
  pending: readonly PendingFile[],
  synced: Promise<void> | undefined,
): Promise<void> {
  // Side by side, so that the syncs share the disk's time; the folder's begins when all names are there.
  const writing = pending.map((file) => writeNamed(files, file))
  const syncNames = async () => {
    await allDone(writing.map(({ named }) => named))
    await files.syncFolder(folder)
  }
  try {
    await allDone([...writing.map(({ ended }) => ended), syncNames(), synced])
  } catch (error) {
    await removeLeftovers(
      files,
      pending.map(({ path }) => path),
    )
    throw error
  }
}

/** `named` ends when the file has its name, at the latest when it is written; both fail if it can't be. */
function writeNamed(
  files: Files,
  { path, bytes }: PendingFile,
): { readonly named: Promise<void>; readonly ended: Promise<void> } {
  let isNamed = () => {}
  const sooner = new Promise<void>((resolve) => (isNamed = resolve))
  const ended = files.writeNew(path, bytes, isNamed)
  return { named: Promise.race([sooner, ended]), ended }
}

/**
 * Gives a staged file (synced, and so are the files it names and this folder) the name of a version: the commit. EEXIST when the version is taken.
 * After any error, and when the answer is false, only the folder tells whether the commit happened and whether it still counts: false means that
 * there already is a higher version, or that the base is gone, removed by a writer who is 100 versions ahead.
 */
export async function linkVersion(
  files: Files,
  folder: string,
  staged: string,
  version: number,
): Promise<boolean> {
  await files.link(staged, versionPath(folder, version))
  // What tells that the commit came too late was there before the link: there is no need to look for it after the sync.
  const [isSuperseded, hasBase] = await allDone([
    versionExists(files, folder, version + 1),
    version === 1 || versionExists(files, folder, version - 1),
    files.syncFolder(folder),
  ])
  return !isSuperseded && hasBase
}

/** After a commit: points the hint at it, removes the staged name and versions that left the metadata log. None of it matters to correctness, so errors are dropped. */
export async function tidyAfterCommit(
  files: Files,
  folder: string,
  staged: string,
  version: number,
): Promise<void> {
  await Promise.allSettled([
    files.unlink(staged),
    writeHint(files, folder, version),
    removeOldVersions(files, folder, version - metadataLogMax),
  ])
}

/** Removes the versions below `oldest`, lowest first: what exists is always an unbroken run, on which `linkVersion` relies. */
async function removeOldVersions(files: Files, folder: string, oldest: number): Promise<void> {
  let lowest = oldest
  while (lowest > 1 && (await versionExists(files, folder, lowest - 1))) lowest--
  for (; lowest < oldest; lowest++) await files.unlink(versionPath(folder, lowest))
}

/** Takes back a table that nobody knows of yet: without versions there is none. */
export async function removeVersions(files: Files, folder: string): Promise<void> {
  await files.unlink(join(folder, hintName)).catch(ifThere)
  for (let version = await highestVersion(files, folder); version > 0; version--)
    await files.unlink(versionPath(folder, version)).catch(ifThere)
  await files.syncFolder(folder)
}

function ifThere(error: unknown): void {
  if (systemErrorCode(error) !== 'ENOENT') throw error
}

const hintName = 'version-hint.text'

async function readHint(files: Files, folder: string): Promise<number> {
  try {
    const text = (await files.readAll(join(folder, hintName))).toString('latin1').trim()
    return /^[1-9]\d{0,14}$/.test(text) ? Number(text) : 0
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return 0
    throw error
  }
}

/** Replaces the hint without syncing it: a hint that is lost or behind costs a reader one look at the folder. */
export async function writeHint(files: Files, folder: string, version: number): Promise<void> {
  const staged = join(folder, `${hintName}.${randomUUID()}.tmp`)
  const file = await files.openAppend(staged)
  try {
    await file.append(Buffer.from(String(version)))
  } finally {
    await file.close()
  }
  await files.rename(staged, join(folder, hintName))
}
