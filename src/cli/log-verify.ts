import { join } from 'node:path'
import { formatBytes, formatCount, formatMany } from '../app/words.ts'
import type { Files } from '../core/files.ts'
import type { VerifiedPartition } from '../log/verify.ts'
import { requireTopic } from './topics.ts'

export interface LogVerifyOptions {
  readonly files: Files
  readonly data: string
  /** One topic; undefined = all. */
  readonly topic: string | undefined
  /** Whether the ingest process appends meanwhile. */
  readonly running: boolean
  readonly write: (line: string) => void
}

/** Reads the whole log and prints a line a partition, then one for each damage. Resolves to the number of damages. */
export async function verifyLog(options: LogVerifyOptions): Promise<number> {
  const { files, data, running, write } = options
  const { LogReader } = await import('../log/reader.ts')
  const { verifyPartition } = await import('../log/verify.ts')
  const folder = join(data, 'log')
  const reader = new LogReader(files, folder)
  try {
    const all = await reader.topics()
    const topics = options.topic === undefined ? all : [requireTopic(all, options.topic)]
    let damages = 0
    for (const topic of topics)
      for (let partition = 0; partition < topic.partitions; partition++) {
        const own = { files, reader, folder, topic, partition, running }
        const verified = await verifyPartition(own)
        for (const line of describePartition(verified)) write(line)
        damages += verified.damages.length
      }
    write(
      damages === 0
        ? 'the log is whole'
        : `${formatMany(damages, 'damage')}; \`questlog up --repair\` sets damaged bytes aside and keeps the rest`,
    )
    return damages
  } finally {
    await reader.close()
  }
}

/** `events/0: 3 segments, 41,220 records, 12.3 MB, offsets 0 to 41,219 — whole` */
function describePartition(verified: VerifiedPartition): string[] {
  const { damages, remarks, records, startOffset, endOffset, missingOffsets } = verified
  const name = `${verified.topic}/${verified.partition}`
  const parts = [
    formatMany(verified.segments, 'segment'),
    formatMany(records, 'record'),
    formatBytes(verified.bytes),
    ...(endOffset > startOffset
      ? [`offsets ${formatCount(startOffset)} to ${formatCount(endOffset - 1)}`]
      : []),
    ...(missingOffsets > 0 ? [`${formatMany(missingOffsets, 'offset')} without a record`] : []),
  ]
  const verdict = damages.length === 0 ? 'whole' : 'DAMAGED'
  return [
    `${name}: ${parts.join(', ')} — ${verdict}`,
    ...damages.map(({ file, position, reason }) => `! ${file} at byte ${position}: ${reason}`),
    ...remarks,
  ]
}
