import { cellText, queryRows, type DuckDBConnection } from '../core/duckdb.ts'
import { QuestlogError } from '../core/errors.ts'
import { quoteText } from '../plan/columns.ts'
import type { Stream } from '../stream/stream.ts'
import type { TopicStream } from '../stream/topic-stream.ts'
import type { WriteLine } from './line-response.ts'

/** `topic/partition/offset`; a topic name holds no slash. */
function parseReceipt(receipt: string): { topic: string; partition: number; offset: number } {
  const match = /^([^/]+)\/(\d{1,9})\/(\d{1,15})$/.exec(receipt.trim())
  if (match === null)
    throw new QuestlogError(
      'USAGE',
      `"${receipt}" is no receipt; one looks like events/0/123 and comes in the header Questlog-Receipt`,
    )
  return { topic: match[1] ?? '', partition: Number(match[2]), offset: Number(match[3]) }
}

/** Says where the event of a receipt is: answered, on disk, in which table's fresh rows or file and snapshot, or set aside and why. Resolves to the exit code. */
export async function whereIs(
  stream: Stream,
  connection: DuckDBConnection,
  receipt: string,
  write: WriteLine,
): Promise<number> {
  const { topic: name, partition, offset } = parseReceipt(receipt)
  const topic = stream.topics.find((candidate) => candidate.topic.name === name)
  const watermark = stream.reader.watermark()
  const limit =
    topic === undefined || watermark === undefined
      ? undefined
      : topic.limits(watermark).get(partition)
  if (topic === undefined || limit === undefined) {
    await write(`${receipt}: there is no such topic or partition`)
    return 1
  }
  if (offset >= limit.visibleOffset) {
    await write(`${receipt}: not answered; the log ends at offset ${limit.visibleOffset}`)
    return 1
  }
  if (offset < limit.startOffset) {
    await write(
      `on disk: no longer; retention has moved the start of the log to offset ${limit.startOffset}`,
    )
    await writeTables(topic, connection, partition, offset, write)
    await writeDeadLetters(connection, name, partition, offset, write)
    return 0
  }
  const place = await stream.reader.locate(topic.topic, partition, offset, limit)
  if (place === undefined) {
    await write(
      `${receipt}: the log holds no record with this offset (it starts at ${limit.startOffset}; a repair or restart may have left a gap)`,
    )
    return 1
  }
  if (place.isExcluded) {
    await write(
      `${receipt}: no event; the offset holds the marker of a transaction, or a record of one that was aborted`,
    )
    return 1
  }
  await write(
    `answered: yes${offset < limit.syncedOffset ? ', and synced' : ', not yet synced (durability os)'}`,
  )
  await write(`on disk: ${place.segment} at byte ${place.position}`)
  await writeTables(topic, connection, partition, offset, write)
  await writeDeadLetters(connection, name, partition, offset, write)
  return 0
}

async function writeTables(
  topic: TopicStream,
  connection: DuckDBConnection,
  partition: number,
  offset: number,
  write: WriteLine,
): Promise<void> {
  for (const table of topic.tables) {
    const { name } = table.definition
    if (await table.fresh.holds(connection, partition, offset)) {
      await write(`table ${name}: in fresh rows (committed at the next trigger)`)
      continue
    }
    const files = await table.lake.liveFiles()
    const [row] =
      files.length === 0
        ? []
        : await queryRows(
            connection,
            `SELECT filename FROM read_parquet([${files.map((file) => quoteText(file.path)).join(', ')}], filename = true, union_by_name = true) WHERE _log_partition = ${partition} AND _offset = ${offset} LIMIT 1`,
          )
    const file = files.find((candidate) => candidate.path === row?.['filename'])
    if (file !== undefined)
      await write(`table ${name}: in ${file.path}, snapshot ${file.snapshotId}`)
    else if (topic.applied(table, partition) <= offset) await write(`table ${name}: on the way`)
    else await write(`table ${name}: not in it`)
  }
}

async function writeDeadLetters(
  connection: DuckDBConnection,
  topic: string,
  partition: number,
  offset: number,
  write: WriteLine,
): Promise<void> {
  const rows = await queryRows(
    connection,
    `SELECT "table", reason, path FROM questlog.dead_letters WHERE topic = ${quoteText(topic)} AND "partition" = ${partition} AND "offset" = ${offset}`,
  )
  for (const row of rows)
    await write(
      `set aside${row['table'] === null ? '' : ` by table ${cellText(row, 'table')}`}: ${cellText(row, 'reason')}`,
    )
}
