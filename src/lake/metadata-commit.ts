import { QuestlogError, systemErrorCode } from '../core/errors.ts'
import type { Clock } from '../core/clock.ts'
import type { Files } from '../core/files.ts'
import { locationOf, metadataFolder } from './location.ts'
import {
  asSuccessor,
  decodeMetadata,
  encodeMetadata,
  nextTimestampMs,
  type TableMetadata,
} from './metadata.ts'
import {
  highestVersion,
  linkVersion,
  stagedPath,
  tidyAfterCommit,
  versionPath,
} from './versions.ts'

/** A version of a table's metadata as it lies on the disk. */
export interface MetadataVersion {
  readonly version: number
  /** `file://` and the path. */
  readonly location: string
  /** The file's own text: 64-bit numbers keep every digit. */
  readonly text: string
  readonly metadata: TableMetadata
}

/** Another commit that came between is taken in so often. */
const triesMax = 10

/** The current metadata in a table's folder; undefined when there is none. TABLE_DAMAGED */
export async function readMetadata(
  files: Files,
  tableFolder: string,
): Promise<MetadataVersion | undefined> {
  const folder = metadataFolder(tableFolder)
  const version = await highestVersion(files, folder)
  if (version === 0) return undefined
  const path = versionPath(folder, version)
  const bytes = await files.readAll(path)
  const metadata = decodeMetadata(bytes, path)
  return { version, location: locationOf(path), text: bytes.toString('utf8'), metadata }
}

/**
 * Commits what `build` makes of the current metadata, or of none, as the next version of a table: by the same chain of links as the tables' own commits, so that of two writers on one base
 * one loses. The loser builds anew on what the other has made; `build` says by COMMIT_CONFLICT when it can't. OUTCOME_UNKNOWN when the link's answer was lost. Versions up to
 * `droppedVersion` are those of a table that was dropped: the chain goes on, but nothing is built on them.
 */
export async function commitMetadata(
  { files, clock }: { readonly files: Files; readonly clock: Clock },
  tableFolder: string,
  build: (current: TableMetadata | undefined, nowMs: number) => Promise<TableMetadata>,
  droppedVersion = 0,
): Promise<MetadataVersion> {
  const folder = metadataFolder(tableFolder)
  await files.makeFolder(folder)
  for (let tries = 1; ; tries++) {
    const found = await readMetadata(files, tableFolder)
    const current = found !== undefined && found.version > droppedVersion ? found : undefined
    const next = await buildNext(current, build, clock.nowMs())
    const version = (found?.version ?? 0) + 1
    const bytes = encodeMetadata(next)
    const staged = stagedPath(folder)
    await files.writeNew(staged, bytes)
    await files.syncFolder(folder)
    try {
      const isNewest = await linkVersion(files, folder, staged, version)
      if (isNewest) await tidyAfterCommit(files, folder, staged, version)
      else await requireBase(files, folder, version)
    } catch (error) {
      const isTaken = systemErrorCode(error) === 'EEXIST'
      if (!isTaken) throw unknownOutcome(tableFolder, error)
      await files.unlink(staged)
      if (tries < triesMax) continue
      throw new QuestlogError(
        'COMMIT_CONFLICT',
        `${tableFolder}: others were faster ${tries} times`,
      )
    }
    const location = locationOf(versionPath(folder, version))
    return { version, location, text: bytes.toString('utf8'), metadata: next }
  }
}

/** A higher version that was made on this one lets this commit count; one that was made while the base was long gone does not. */
async function requireBase(files: Files, folder: string, version: number): Promise<void> {
  if (version === 1 || (await files.sizeOf(versionPath(folder, version - 1))) !== undefined) return
  throw new Error(`version ${version - 1}, on which it was built, is gone`)
}

async function buildNext(
  current: MetadataVersion | undefined,
  build: (current: TableMetadata | undefined, nowMs: number) => Promise<TableMetadata>,
  nowMs: number,
): Promise<TableMetadata> {
  const atMs = current === undefined ? nowMs : nextTimestampMs(current.metadata, nowMs)
  const next = await build(current?.metadata, atMs)
  if (current === undefined) return next
  const previous = {
    location: current.location,
    timestampMs: current.metadata['last-updated-ms'],
  }
  return asSuccessor(next, previous, atMs)
}

function unknownOutcome(tableFolder: string, cause: unknown): QuestlogError {
  return new QuestlogError(
    'OUTCOME_UNKNOWN',
    `a commit to ${tableFolder} may or may not have happened`,
    { table: tableFolder },
    { cause, hint: 'load the table and see whether its current snapshot is yours' },
  )
}
