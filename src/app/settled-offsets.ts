import { join } from 'node:path'
import { openDurableTable } from '../lake/table.ts'
import { deadLetterNamespace, deadLetterTable } from '../stream/dead-letters.ts'
import { loadLedgers } from '../stream/ledger.ts'
import { parseSetAside, setAsideProperty } from '../stream/set-aside-offsets.ts'
import type { LakeAccess } from './committed-offsets.ts'

/** Gives the offset of a partition below which everything that is no event is among the committed dead letters; undefined where nothing was counted yet. */
export type SettledOffsets = (topicId: string, partition: number) => number | undefined

/**
 * How far topics without tables are done with, by files alone: they have no table whose commits would say it. The ledger is stored where no dead letter waits for its commit, and the dead letters
 * themselves say how far they reach.
 */
export async function readSettledOffsets({
  files,
  clock,
  data,
}: LakeAccess): Promise<SettledOffsets> {
  const lakeFolder = join(data, 'lake')
  const ledgers = await loadLedgers(files, join(lakeFolder, 'ledger'))
  const place = { namespace: deadLetterNamespace, name: deadLetterTable }
  const table = await openDurableTable({ files, clock, lakeFolder, ...place })
  const setAside = parseSetAside(table?.properties[setAsideProperty])['']
  return (topicId, partition) => {
    const ledger = ledgers.get(topicId)
    if (ledger === undefined) return undefined
    const committed = Number(setAside?.[topicId]?.[String(partition)] ?? 0)
    return Math.max(ledger.nextOffset(partition), committed)
  }
}
