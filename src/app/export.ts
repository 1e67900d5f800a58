import { randomUUID } from 'node:crypto'
import { dirname, join } from 'node:path'
import type { Clock } from '../core/clock.ts'
import { QuestlogError } from '../core/errors.ts'
import type { Exclusive } from '../core/exclusive.ts'
import type { Files } from '../core/files.ts'
import { listEntries, readEntry, readLink } from '../core/folders.ts'
import { removeFolder } from '../core/host.ts'
import type { Logger } from '../core/logger.ts'
import type { SqlEngine } from '../sql/engine.ts'
import { exportPath, exportRoot, type ExportPath } from './export-root.ts'
import {
  addToVersion,
  makeDraft,
  parseTableVersion,
  publishVersion,
  removeReplaced,
  replacedName,
  successName,
  versionAt,
} from './export-versions.ts'

export type ExportMode = 'overwrite' | 'append' | 'error'

export interface ExportRequest {
  /** One SELECT. */
  readonly sql: string
  /** As commands name it: `/tmp/purchases`. */
  readonly path: string
  readonly mode: ExportMode
  readonly partitionBy: readonly string[]
}

export interface ExportResult {
  readonly rows: number
  /** The folder as readers open it. */
  readonly folder: string
  /** Names of the files that were written, below the folder. */
  readonly files: readonly string[]
}

export interface ExportParts {
  readonly files: Files
  readonly clock: Clock
  readonly logger: Logger
  readonly data: string
  readonly engine: Pick<SqlEngine, 'copy'>
  readonly signal: AbortSignal
  /** Held while an export takes its place: the same for everything that publishes below the root of a data folder. */
  readonly turn: Exclusive<null>
  /** Names of the tables that publish themselves, as `/<name>`. */
  readonly publishedTables: () => readonly string[]
}

/**
 * Writes the rows of a SELECT as a folder of Parquet files in the form that Spark leaves: `part-00000-<uuid>-c000.snappy.parquet`, then `_SUCCESS`, columns of `partitionBy` as folders.
 * What readers open is a link to a version of the folder: overwriting makes a new version and turns the link in one step, so that nobody sees half of either.
 * EXPORT_EXISTS with mode `error`, or when the path is something else than an export.
 */
export async function exportRows(
  request: ExportRequest,
  parts: ExportParts,
): Promise<ExportResult> {
  const { files, data } = parts
  const target = exportPath(data, request.path)
  if (target.shown === '/') throw new QuestlogError('USAGE', 'an export needs a path below /')
  const before = versionFor(request, parts, target)
  const draft = await makeDraft(files, data)
  try {
    const fileName = partName(request, before)
    const rows = await parts.engine.copy({
      sql: request.sql,
      folder: draft,
      fileName,
      partitionBy: request.partitionBy,
      signal: parts.signal,
    })
    await nameFolders(files, draft)
    const written = listFiles(draft)
    for (const name of written) await files.syncFile(join(draft, name))
    await parts.turn.run(async () => {
      const replaced = versionFor(request, parts, target) // another export may have come between
      await publish(parts, target, { draft, written, replaced, mode: request.mode })
      await removeReplaced(parts)
    })
    return { rows, folder: target.real, files: written }
  } finally {
    removeFolder(draft)
  }
}

async function publish(
  parts: ExportParts,
  target: ExportPath,
  {
    draft,
    written,
    replaced,
    mode,
  }: {
    readonly draft: string
    readonly written: readonly string[]
    readonly replaced: string | null
    readonly mode: ExportMode
  },
): Promise<void> {
  const { files } = parts
  const [name, ...others] = written
  if (replaced !== null && mode === 'append') {
    if (name !== undefined && others.length === 0)
      return addToVersion(files, { version: replaced, draft, name })
    await addFilesOf(files, replaced, draft)
  }
  await syncFolders(files, draft)
  await publishVersion(parts, { path: target.real, draft, name: randomUUID(), replaced })
}

/**
 * An overwritten folder of one file keeps its name: a reader that has listed the folder and opens the file a moment later gets all of the new rows then, and not an error.
 * In partitioned folders names are new each time, so that such a reader never gets a part of each.
 */
function partName({ mode, partitionBy }: ExportRequest, before: string | null): string {
  const isKept = mode === 'overwrite' && partitionBy.length === 0 && before !== null
  const names = isKept ? listFiles(before).filter((name) => name !== successName) : []
  const [only = '', ...others] = names
  const kept =
    others.length === 0
      ? /^(part-00000-[0-9a-f-]{36}-c000)\.snappy\.parquet$/.exec(only)?.[1]
      : undefined
  return kept ?? `part-00000-${randomUUID()}-c000`
}

/** The version that a request is to replace or to add to, null when there is none. EXPORT_EXISTS when it may not. */
function versionFor(
  { mode }: ExportRequest,
  { data, publishedTables }: ExportParts,
  target: ExportPath,
): string | null {
  const { shown, real } = target
  const [, first = ''] = shown.split('/')
  if (publishedTables().includes(first))
    throw taken(shown, `/${first} is the folder of the table ${first}, which publishes it itself`)
  const root = exportRoot(data)
  for (let above = dirname(real); above !== root; above = dirname(above))
    if (typeof readLink(above) === 'string')
      throw taken(shown, `${shown} would lie in another export, or where a link leads`)
  const version = versionAt(data, real)
  if (version === null) return null
  if (version === undefined)
    throw taken(shown, `${shown} holds other folders or files than an export`)
  if (readEntry(version, '') === undefined) return null // somebody has removed it
  if (mode === 'error') throw new QuestlogError('EXPORT_EXISTS', `${shown} exists`, { path: shown })
  if (mode === 'append' && parseTableVersion(version) !== undefined)
    throw taken(shown, `${shown} was published by a table: nothing can be added to it`)
  return version
}

function taken(path: string, message: string): QuestlogError {
  return new QuestlogError('EXPORT_EXISTS', message, { path }, { hint: 'choose another path' })
}

/** Gives folders `column=value` their names in Hive and Spark, which take %HH for one character of ASCII and every other character as it is. DuckDB writes them as in a URL. */
async function nameFolders(files: Files, folder: string): Promise<void> {
  for (const { name, isFolder } of listEntries(folder)) {
    if (!isFolder) continue
    await nameFolders(files, join(folder, name))
    const named = name.split('=').map(decodeURIComponent).map(escapeForHive).join('=')
    if (named !== name) await files.rename(join(folder, name), join(folder, named))
  }
}

/** The characters that Hive's FileUtils.escapePathName escapes. */
function escapeForHive(text: string): string {
  // oxlint-disable-next-line no-control-regex -- they are among them
  return text.replace(/[\u0001-\u001f"#%'*/:=?\\\u007f{[\]^]/g, (character) => {
    const code = character.charCodeAt(0).toString(16).toUpperCase()
    return `%${code.padStart(2, '0')}`
  })
}

/** Gives a draft the files of a version besides its own, as further names of the same bytes: what is published then has all of them. */
async function addFilesOf(files: Files, version: string, draft: string): Promise<void> {
  const names = listFiles(version).filter((name) => !notRows.has(name))
  for (const folder of new Set(names.map((name) => dirname(join(draft, name)))))
    await files.makeFolder(folder)
  for (const name of names) await files.link(join(version, name), join(draft, name))
}

/** What a version holds besides its rows. */
const notRows: ReadonlySet<string> = new Set([successName, replacedName])

/** Makes the names in a draft durable, the lowest folders first; its own are synced when it is published. */
async function syncFolders(files: Files, draft: string): Promise<void> {
  for (const { name, isFolder } of listEntries(draft)) {
    if (!isFolder) continue
    await syncFolders(files, join(draft, name))
    await files.syncFolder(join(draft, name))
  }
}

/** Files below a folder, as paths relative to it. */
function listFiles(folder: string, below = ''): string[] {
  return listEntries(join(folder, below)).flatMap(({ name, isFolder }) =>
    isFolder ? listFiles(folder, join(below, name)) : [join(below, name)],
  )
}
