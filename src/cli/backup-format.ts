import type { Backup } from '../app/backup-file.ts'
import { formatBytes, formatCount, formatMany } from '../app/words.ts'

/** What a backup holds: a line a partition, a line a table, those of other engines too, and its size. */
export function backupLines(backup: Backup): string[] {
  const bytes = backup.files.reduce((sum, file) => sum + file.bytes, 0)
  return [
    ...backup.partitions.map((copied) => {
      const { topic, partition, startOffset, endOffset, missingOffsets } = copied
      const held = endOffset - startOffset - missingOffsets - (copied.excludedOffsets ?? 0)
      const events = formatMany(held, 'event')
      return `topic ${topic}/${partition}: ${events}, offsets ${formatCount(startOffset)} to ${formatCount(endOffset)}`
    }),
    ...backup.tables.map(
      ({ namespace, name, rows, version }) =>
        `table ${namespace}.${name}: ${formatMany(rows, 'row')} committed, version ${version}`,
    ),
    ...(backup.guests ?? []).map(
      ({ namespace, name, version }) =>
        `table ${namespace}.${name} of another engine, version ${version}`,
    ),
    `${formatMany(backup.files.length, 'file')}, ${formatBytes(bytes)}`,
  ]
}
