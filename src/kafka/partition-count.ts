import { QuestlogError } from '../core/errors.ts'
import { logPartitionsMax } from '../log/watermark.ts'

/**
 * Bounds the work for one request, given how many partitions it names of each of its topics: no client names one twice, and the log holds no more.
 * @throws REQUEST_MALFORMED
 */
export function checkPartitionCount(counts: readonly number[]): void {
  const count = counts.reduce((sum, partitions) => sum + Math.max(1, partitions), 0)
  if (count <= logPartitionsMax) return
  throw new QuestlogError(
    'REQUEST_MALFORMED',
    `a request names ${count} partitions; the log can hold ${logPartitionsMax}`,
    { count },
  )
}
