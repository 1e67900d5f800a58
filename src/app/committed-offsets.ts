import { join } from 'node:path'
import type { Clock } from '../core/clock.ts'
import type { Files } from '../core/files.ts'
import { offsetsProperty, parseOffsets } from '../lake/offsets.ts'
import { openDurableTable } from '../lake/table.ts'

export interface LakeAccess {
  readonly files: Files
  readonly clock: Clock
  readonly data: string
}

/**
 * The offsets that a table has committed, by topic id and partition; none when it is not there yet. The table itself is asked, so it does not matter whether the lake
 * process runs, and only commits count that a power failure can't take back.
 */
export async function readCommittedOffsets(
  { files, clock, data }: LakeAccess,
  namespace: string,
  name: string,
): Promise<ReturnType<typeof parseOffsets>> {
  const lakeFolder = join(data, 'lake')
  const table = await openDurableTable({ files, clock, lakeFolder, namespace, name })
  return parseOffsets(table?.properties[offsetsProperty])
}
