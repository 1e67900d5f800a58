import { join } from 'node:path'
import type { Files } from '../core/files.ts'
import { formatMany } from './words.ts'

/** How many acknowledged events the log of a data folder holds, also when nothing runs; undefined when there is no log yet. */
export async function countKept(files: Files, data: string): Promise<number | undefined> {
  const { LogReader } = await import('../log/reader.ts')
  const { keptRecords } = await import('../log/record.ts')
  const reader = new LogReader(files, join(data, 'log'))
  try {
    return reader.watermark()?.partitions.reduce((sum, part) => sum + keptRecords(part), 0)
  } finally {
    await reader.close()
  }
}

/** `kept 41,220 events in ./questlog-data`. */
export function describeKept(events: number, folder: string): string {
  return `kept ${formatMany(events, 'event')} in ${folder}`
}
