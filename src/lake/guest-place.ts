import { resolve } from 'node:path'
import { QuestlogError } from '../core/errors.ts'
import type { Files } from '../core/files.ts'
import { manifestsOf, namedFiles, statisticsOf } from './guest-files.ts'
import { pathOf } from './location.ts'
import type { TableMetadata } from './metadata.ts'
import { pathBelow } from './pinned-table.ts'

/** Properties that tell an engine to write elsewhere than in the table's folder. */
export const placeProperties: readonly string[] = [
  'write.data.path',
  'write.metadata.path',
  'write.object-storage.path',
  'write.folder-storage.path',
]

/**
 * A table of another engine stays in its folder: engines remove files of their tables, such as those of snapshots that they expire, and a backup copies what lies in the folder.
 * Throws REQUEST_MALFORMED when the table has moved since `before`, or when anything that is new in `after` lies elsewhere: a file of a snapshot, a file of statistics, or a place to write to.
 */
export async function requireInPlace(
  files: Files,
  before: TableMetadata | undefined,
  after: TableMetadata,
): Promise<void> {
  const place = pathOf(after.location)
  if (before !== undefined && pathOf(before.location) !== place)
    throw outside('the table', after.location, before.location)
  const require = (what: string, location: string) => {
    if (pathBelow([place], location) === undefined) throw outside(what, location, after.location)
  }
  for (const name of placeProperties) {
    const value = after.properties?.[name]
    if (value !== undefined && value !== before?.properties?.[name]) require(name, String(value))
  }
  const knownStatistics = new Set(before === undefined ? [] : statisticsOf(before))
  for (const location of statisticsOf(after))
    if (!knownStatistics.has(location)) require('a file of statistics', location)
  const known = new Map(before?.snapshots?.map((each) => [each['snapshot-id'], each]))
  for (const snapshot of after.snapshots ?? []) {
    if (known.has(snapshot['snapshot-id'])) continue
    require('a manifest list', snapshot['manifest-list'])
    const parent = snapshot['parent-snapshot-id']
    const checked = await manifestsOf(files, parent === undefined ? undefined : known.get(parent))
    const named = await namedFiles(files, [snapshot], checked).catch(asRefused)
    for (const { location } of named) require('a file', location)
  }
}

/** Whether a path is the folder of a table below the folder of all: `NAMESPACE/TABLE`, or `NAMESPACE/TABLE.UUID`; no other way of writing it. */
export function isTablePlace(folder: string, path: string): boolean {
  if (resolve(path) !== path || !path.startsWith(`${folder}/`)) return false
  const [namespace = '', table = '', ...more] = path.slice(folder.length + 1).split('/')
  return isName(namespace) && isName(table.replace(uuidEnding, '')) && more.length === 0
}

const uuidEnding = /\.[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

export function isName(name: string): boolean {
  return /^[A-Za-z0-9_][A-Za-z0-9_@-]{0,127}$/.test(name)
}

/** What an engine commits must be readable: for one that is told of a failure of ours it would be unknown what became of its commit. */
function asRefused(error: unknown): never {
  if (!(error instanceof QuestlogError) || error.code !== 'TABLE_DAMAGED') throw error
  const why = error.cause instanceof Error ? `: ${error.cause.message}` : ''
  throw new QuestlogError(
    'REQUEST_MALFORMED',
    `the snapshot can't be taken: ${error.message}${why}`,
    error.facts,
    { cause: error, hint: 'commit files that are there; Avro files compressed with gzip, or not' },
  )
}

function outside(what: string, location: string, place: string): QuestlogError {
  return new QuestlogError(
    'REQUEST_MALFORMED',
    `tables of this catalog stay in their folders: ${what} would be ${location}, outside of ${place}`,
    { location },
    { hint: "write the table's files below its location" },
  )
}
