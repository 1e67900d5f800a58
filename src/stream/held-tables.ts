import { QuestlogError } from '../core/errors.ts'
import type { Settings } from '../core/settings.ts'
import type { StreamTable } from './stream-table.ts'

/** The room that DuckDB has for everything, over what fresh rows of failing tables may take of it, as bytes of log: in DuckDB they take up to twice as much, and as much again to be sorted when they are committed. */
const roomPerByte = 8

/** Bytes of log that wait as fresh rows of all failing tables together, at most. */
export function failingBytesMax(
  settings: Pick<Settings, 'duckdbMemoryMiB' | 'duckdbTempMiB'>,
): number {
  return ((settings.duckdbMemoryMiB + settings.duckdbTempMiB) * 2 ** 20) / roomPerByte
}

const none: ReadonlySet<StreamTable> = new Set()

/**
 * The tables that read nothing more for now, and go on later, from the log; their rows so far stay visible. Those that can't be committed, when what waits of
 * all of them would leave too little room for the others; and one that reads faster than it is committed, after so much.
 */
export function heldTables(
  tables: readonly StreamTable[],
  settings: Pick<Settings, 'duckdbMemoryMiB' | 'duckdbTempMiB'>,
): ReadonlySet<StreamTable> {
  const bytesMax = failingBytesMax(settings)
  // Asked at each step and statement: mostly there are none.
  const mayBeHeld = ({ failure, fresh }: StreamTable) =>
    failure !== null || fresh.totalBytes >= bytesMax
  if (!tables.some(mayBeHeld)) return none
  const failing = tables.filter(({ failure }) => failure !== null)
  const bytes = failing.reduce((sum, { fresh }) => sum + fresh.totalBytes, 0)
  return new Set([
    ...(bytes < bytesMax ? [] : failing.filter(({ fresh }) => fresh.totalRows > 0)),
    ...tables.filter(({ fresh }) => fresh.totalBytes >= bytesMax),
  ])
}

/** CATCHING_UP when one of the tables (null = all) is held because it fails: to wait for it is of no use. */
export function requireNotHeld(
  held: ReadonlySet<StreamTable>,
  wanted: ReadonlySet<string> | null,
): void {
  const table = [...held].find(
    ({ definition, failure }) =>
      failure !== null && (wanted === null || wanted.has(definition.name)),
  )
  if (table === undefined) return
  const { definition, failure } = table
  throw new QuestlogError(
    'CATCHING_UP',
    `table ${definition.name} can't be committed, and reads on when it can: ${failure?.reason ?? ''}`,
    { table: definition.name },
  )
}
