import { join } from 'node:path'
import type { Clock } from '../core/clock.ts'
import type { Files } from '../core/files.ts'
import { listTables } from '../lake/catalog.ts'
import { offsetsProperty, parseOffsets } from '../lake/offsets.ts'
import { openTable } from '../lake/table.ts'
import { parseSetAside, setAsideProperty } from '../stream/set-aside-offsets.ts'

/**
 * The offsets that tables have committed, by topic id and partition: the log never gives one of them out again, also when its own files were lost.
 * The highest over all tables, the dead letters' own offsets included.
 */
export async function readFloors(
  files: Files,
  clock: Clock,
  data: string,
): Promise<ReadonlyMap<string, ReadonlyMap<number, number>>> {
  const lakeFolder = join(data, 'lake')
  const floors = new Map<string, Map<number, number>>()
  const raise = (topicId: string, partition: number, offset: number) => {
    const partitions = floors.get(topicId) ?? new Map<number, number>()
    partitions.set(partition, Math.max(offset, partitions.get(partition) ?? 0))
    floors.set(topicId, partitions)
  }
  for (const { namespace, name } of await listTables(files, lakeFolder)) {
    const table = await openTable({ files, clock, lakeFolder, namespace, name })
    if (table === undefined) continue
    for (const [topicId, partitions] of parseOffsets(table.properties[offsetsProperty]))
      for (const [partition, offset] of partitions) raise(topicId, partition, offset)
    for (const topics of Object.values(parseSetAside(table.properties[setAsideProperty])))
      for (const [topicId, partitions] of Object.entries(topics))
        for (const [partition, offset] of Object.entries(partitions))
          raise(topicId, Number(partition), Number(offset))
  }
  return floors
}
