import { randomUUID } from 'node:crypto'
import { basename, dirname, join, relative } from 'node:path'
import type { Clock } from '../core/clock.ts'
import type { Files } from '../core/files.ts'
import { listEntries, readLink, removeTree, replaceLink } from '../core/folders.ts'
import { removeFolder } from '../core/host.ts'
import type { Logger } from '../core/logger.ts'
import { exportRoot } from './export-root.ts'

/*
 * What readers open below the root of exports is a symbolic link to a version of the folder, `.versions/<name>`. A version is made elsewhere, synced, and moved there whole; then the link
 * is turned in one step. So a reader that opens the path finds one version or another, never half of one.
 */

const draftsName = '.exports'
const versionsName = '.versions'
/** Beside the versions: the link to one of them before it takes its place. */
const linkName = '.link'
export const replacedName = '.replaced'
export const successName = '_SUCCESS'
/** Readers that have opened a replaced version get this long to finish. */
const replacedKeepMs = 3_600_000
/** A table that commits often leaves many versions: of those that were replaced the newest so many stay. */
const replacedTableVersionsMax = 100

/** A new folder for what is to become a version. The caller removes it. DuckDB may write in the lake folder only; it is the same file system, so that a rename brings it to its place. */
export async function makeDraft(files: Files, data: string): Promise<string> {
  const draft = join(data, 'lake', draftsName, randomUUID())
  await files.makeFolder(draft)
  return draft
}

/** Removes what a process that ended in the middle has left. Before the first draft of this one. */
export function removeDrafts(data: string): void {
  removeFolder(join(data, 'lake', draftsName))
}

/** What a version that a table has published is of. */
export interface TableVersion {
  readonly tableUuid: string
  /** Decimal text, or `none`. */
  readonly snapshotId: string
  /** Eight hexadecimal digits: what the names of its files were made with. */
  readonly epoch: string
}

/** A name for such a version; each time another one. */
export function tableVersionName({ tableUuid, snapshotId, epoch }: TableVersion): string {
  return `table-${tableUuid}-${snapshotId}-${epoch}-${randomUUID()}`
}

const tableVersionPattern = /^table-([0-9a-f-]{36})-(\d+|none)-([0-9a-f]{8})-[0-9a-f-]{36}$/

/** Undefined for a version that no table has published. */
export function parseTableVersion(version: string): TableVersion | undefined {
  const [, tableUuid, snapshotId, epoch] = tableVersionPattern.exec(basename(version)) ?? []
  if (tableUuid === undefined || snapshotId === undefined || epoch === undefined) return undefined
  return { tableUuid, snapshotId, epoch }
}

/** The version that a path leads to; null when nothing is there, undefined when it is something else. */
export function versionAt(data: string, path: string): string | null | undefined {
  const link = readLink(path)
  if (typeof link !== 'string') return link
  const version = join(dirname(path), link)
  return dirname(version) === join(exportRoot(data), versionsName) ? version : undefined
}

/** Makes a draft, whose files are synced, the version that `path` leads to. `replaced` is the one that it leads to now. One caller at a time. */
export async function publishVersion(
  { files, data }: { readonly files: Files; readonly data: string },
  {
    path,
    draft,
    name,
    replaced,
  }: {
    readonly path: string
    readonly draft: string
    readonly name: string
    readonly replaced: string | null
  },
): Promise<string> {
  const versions = join(exportRoot(data), versionsName)
  await files.makeFolder(versions)
  await files.makeFolder(dirname(path))
  const version = join(versions, name)
  await files.writeNew(join(draft, successName), new Uint8Array())
  await files.syncFolder(draft)
  await files.rename(draft, version)
  await files.syncFolder(versions)
  if (replaced !== null) await markReplaced(files, replaced)
  replaceLink(relative(dirname(path), version), path, join(versions, linkName))
  await files.syncFolder(dirname(path))
  return version
}

/**
 * Adds one file of a draft, which is synced, to a version: who lists the folder finds it whole or not at all, so that there needs to be no new version of all that is there. After an
 * error it is taken back: who asks again would have its rows twice.
 */
export async function addToVersion(
  files: Files,
  { version, draft, name }: { version: string; draft: string; name: string },
): Promise<void> {
  const path = join(version, name)
  const folder = dirname(path)
  await files.makeFolder(folder)
  await files.writeNew(join(draft, successName), new Uint8Array())
  await files.rename(join(draft, name), path)
  try {
    await files.rename(join(draft, successName), join(version, successName))
    for (const changed of new Set([folder, version])) await files.syncFolder(changed)
  } catch (error) {
    await files.unlink(path).catch(() => {})
    throw error
  }
}

/** Notes the time, before the link is turned: its readers get their time after a crash, too. A version that somebody has removed needs no note. */
async function markReplaced(files: Files, version: string): Promise<void> {
  if ((await files.sizeOf(join(version, successName))) === undefined) return
  const note = join(version, replacedName)
  // Of a crash before the link was turned.
  if ((await files.sizeOf(note)) !== undefined) await files.unlink(note)
  await files.writeNew(note, new Uint8Array())
}

interface OldVersion {
  readonly path: string
  readonly sinceMs: number
}

export interface Versions {
  readonly files: Files
  readonly clock: Clock
  readonly logger: Logger
  readonly data: string
}

/** Removes versions that no path leads to any more, or never did because the process ended before. One caller at a time. Throws nothing: what was published before is published. */
export async function removeReplaced(versions: Versions): Promise<void> {
  await removeOld(versions).catch((error: unknown) =>
    versions.logger.warn('replaced versions of folders could not be removed', { error }),
  )
}

async function removeOld({ files, clock, data }: Versions): Promise<void> {
  const versions = join(exportRoot(data), versionsName)
  const inUse = new Set(listLinks(exportRoot(data)))
  const old: OldVersion[] = []
  for (const name of await files.list(versions)) {
    const path = join(versions, name)
    if (inUse.has(path)) continue
    const sinceMs =
      (await files.modifiedMs(join(path, replacedName))) ??
      (await files.modifiedMs(join(path, successName)))
    // Versions come whole: one without either is half removed.
    old.push({ path, sinceMs: sinceMs ?? 0 })
  }
  const expired = old.filter(({ sinceMs }) => clock.nowMs() - sinceMs > replacedKeepMs)
  for (const path of new Set([...expired, ...beyondCount(old)].map((version) => version.path)))
    await removeTree(path)
}

/** Of each table those beyond the number that stays. */
function beyondCount(versions: readonly OldVersion[]): OldVersion[] {
  const byTable = new Map<string, OldVersion[]>()
  for (const version of versions.toSorted((a, b) => b.sinceMs - a.sinceMs)) {
    const table = parseTableVersion(version.path)?.tableUuid
    if (table !== undefined) byTable.set(table, [...(byTable.get(table) ?? []), version])
  }
  return [...byTable.values()].flatMap((list) => list.slice(replacedTableVersionsMax))
}

/** What the links below a folder lead to. */
function listLinks(folder: string): string[] {
  return listEntries(folder).flatMap(({ name, isFolder }) => {
    const path = join(folder, name)
    const link = readLink(path)
    if (typeof link === 'string') return [join(folder, link)]
    return isFolder ? listLinks(path) : []
  })
}
