import { join } from 'node:path'
import type { DuckDBInstance } from '@duckdb/node-api'
import { realClock } from '../core/clock.ts'
import { openDuckdb, queryRows, type DuckDBConnection } from '../core/duckdb.ts'
import { QuestlogError } from '../core/errors.ts'
import { realFiles, type Files } from '../core/files.ts'
import { acquireLock } from '../core/lock.ts'
import { silentLogger } from '../core/logger.ts'
import { resolveSettings } from '../core/settings.ts'
import { parseOffsets } from '../lake/offsets.ts'
import { decodeRecords } from '../log/record-batch.ts'
import type { PartitionWatermark } from '../log/record.ts'
import { quoteName, quoteText } from '../plan/columns.ts'
import { activeVersion, readDefinition } from '../plan/store.ts'
import { declared } from '../stream/dead-letters.ts'
import { addCounts, noCounts, totalOf, type LedgerCounts } from '../stream/ledger.ts'
import { stageRecords, type PlacedRecord } from '../stream/staging.ts'
import { Stream } from '../stream/stream.ts'
import { startOffsetsProperty } from '../stream/table-set.ts'
import type { StreamTable } from '../stream/stream-table.ts'
import type { TopicStream } from '../stream/topic-stream.ts'
import type { WriteLine } from './line-response.ts'

/** Records that are compared at once, in bytes of log. */
const chunkBytes = 4 * 1024 * 1024
/** Offsets that are named for each kind of difference. */
const offsetsShown = 20

/**
 * Counts again, from the log and the tables: every record of the log must be in each of its tables once, or set aside with a reason, or
 * left out by the definition; no table may hold another record; every data file must be there; the ledger must say the same. Writes what
 * it finds, line by line, and resolves to the exit code: 0 when everything adds up, else 1.
 */
export async function auditRunning(
  stream: Stream,
  instance: DuckDBInstance,
  files: Files,
  write: WriteLine,
): Promise<number> {
  await stream.caughtUp(null, new AbortController().signal)
  const connection = await instance.connect()
  try {
    const readable = new Set<StreamTable>()
    let differences = 0
    for (const table of stream.tables) {
      const missing = await missingFiles(table, files, write)
      if (missing === 0) readable.add(table)
      differences += missing
    }
    for (const topic of stream.topics)
      differences += await auditTopic(stream, topic, readable, connection, write)
    await write(
      differences === 0
        ? 'everything adds up'
        : `${differences} ${differences === 1 ? 'difference' : 'differences'}`,
    )
    return differences === 0 ? 0 : 1
  } finally {
    connection.closeSync()
  }
}

/** The same for a data folder on which nothing runs. */
export async function auditStopped(data: string, write: WriteLine): Promise<number> {
  const version = await activeVersion(realFiles, data)
  if (version === undefined) {
    await write(`${data} holds no definition yet: nothing to audit`)
    return 0
  }
  const lock = acquireLock(join(data, 'lake', 'lock'))
  if (lock === undefined)
    throw new QuestlogError('ALREADY_RUNNING', `another process holds ${join(data, 'lake')}`)
  try {
    const definition = await readDefinition(realFiles, data, version)
    const settings = resolveSettings(definition.settings, process.env)
    const instance = await openDuckdb({
      memoryMiB: settings.duckdbMemoryMiB,
      threads: settings.duckdbThreads,
      temporaryFolder: join(data, 'run', 'duckdb-temp'),
      temporaryMiB: settings.duckdbTempMiB,
    })
    let fatal: unknown
    const stream = await Stream.open({
      instance,
      files: realFiles,
      clock: realClock,
      logger: silentLogger,
      settings,
      dataFolder: data,
      onFatal: (error) => (fatal = error),
    })
    await stream.activate(definition)
    stream.start()
    const exit = await auditRunning(stream, instance, realFiles, write)
    await stream.stop()
    instance.closeSync()
    if (fatal !== undefined) throw fatal
    return exit
  } finally {
    lock.release()
  }
}

async function missingFiles(table: StreamTable, files: Files, write: WriteLine): Promise<number> {
  let missing = 0
  for (const file of await table.lake.liveFiles()) {
    const size = await files.sizeOf(file.path)
    if (size === file.sizeBytes) continue
    missing++
    await write(
      `table ${table.definition.name}: data file ${file.path} ${size === undefined ? 'is missing' : `has ${size} bytes instead of ${file.sizeBytes}`} (${file.recordCount} rows)`,
    )
  }
  return missing
}

async function auditTopic(
  stream: Stream,
  topic: TopicStream,
  readable: ReadonlySet<StreamTable>,
  connection: DuckDBConnection,
  write: WriteLine,
): Promise<number> {
  const watermark = stream.reader.watermark()
  if (watermark === undefined) return 0
  const audit = new TopicAudit(stream, topic, readable, connection)
  for (const limit of topic.limits(watermark).values()) await audit.scan(limit)
  const lines = audit.report()
  for (const line of lines) await write(line)
  const { counts, records } = audit
  await write(
    `${topic.topic.name}: answered ${records} = in tables ${counts.inTables} + filtered ${counts.filtered} + set aside ${counts.deadLetters} + in no table ${counts.unrouted}`,
  )
  return lines.length
}

type Kind = 'missing from' | 'twice in' | 'not on the log but in'

class TopicAudit {
  counts: LedgerCounts = noCounts
  records = 0
  readonly #stream: Stream
  readonly #topic: TopicStream
  readonly #tables: readonly StreamTable[]
  readonly #connection: DuckDBConnection
  readonly #found = new Map<string, { total: number; offsets: string[] }>()
  readonly #ledgerBefore: LedgerCounts
  #kept = 0

  constructor(
    stream: Stream,
    topic: TopicStream,
    readable: ReadonlySet<StreamTable>,
    connection: DuckDBConnection,
  ) {
    this.#stream = stream
    this.#topic = topic
    this.#tables = topic.tables.filter((table) => readable.has(table))
    this.#connection = connection
    this.#ledgerBefore = topic.ledger.counts
  }

  async scan(limit: PartitionWatermark): Promise<void> {
    const { topic } = this.#topic
    this.#kept += limit.visibleOffset - limit.startOffset - limit.missingOffsets
    for (let from = limit.startOffset; from < limit.visibleOffset;) {
      const read = await this.#stream.reader.read(topic, limit.partition, from, limit, chunkBytes)
      if (read.nextOffset <= from) break
      const records = read.batches
        .flatMap((batch) => decodeRecords(batch))
        .filter((record) => record.offset >= from && record.offset < limit.visibleOffset)
        .map((record) => ({ partition: limit.partition, record }))
      await this.#compare(
        limit.partition,
        from,
        Math.min(read.nextOffset, limit.visibleOffset),
        records,
      )
      from = read.nextOffset
    }
  }

  /** One line for each kind of difference. */
  report(): string[] {
    const lines = [...this.#found].map(
      ([what, { total, offsets }]) =>
        `${total} ${total === 1 ? 'record is' : 'records are'} ${what}: ${offsets.join(', ')}${total > offsets.length ? ', …' : ''}`,
    )
    if (this.records !== this.#kept)
      lines.push(
        `${this.#topic.topic.name}: the log says ${this.#kept} records, ${this.records} were read`,
      )
    const quiet =
      totalOf(this.#ledgerBefore) === this.records &&
      this.#tables.length === this.#topic.tables.length
    for (const name of ['inTables', 'filtered', 'deadLetters', 'unrouted'] as const) {
      if (quiet && this.counts[name] !== this.#ledgerBefore[name])
        lines.push(
          `${this.#topic.topic.name}: the ledger says ${this.#ledgerBefore[name]} ${name}, counted ${this.counts[name]}`,
        )
    }
    return lines
  }

  async #compare(
    partition: number,
    from: number,
    to: number,
    records: readonly PlacedRecord[],
  ): Promise<void> {
    const connection = this.#connection
    const refused = await stageRecords(connection, this.#topic.conversion, records, 1_000_000)
    const within = `_partition = ${partition} AND _offset >= ${from} AND _offset < ${to}`
    await connection.run(
      `CREATE OR REPLACE TEMP TABLE aside AS SELECT DISTINCT "offset" AS o, coalesce("table", '') AS t FROM questlog.dead_letters WHERE topic = ${quoteText(this.#topic.topic.name)} AND "partition" = ${partition} AND "offset" >= ${from} AND "offset" < ${to}`,
    )
    const flags: string[] = []
    const joins: string[] = []
    for (const [index, table] of this.#tables.entries()) {
      const view = `${quoteName(table.lake.namespace)}.${quoteName(table.definition.name)}`
      await connection.run(
        `CREATE OR REPLACE TEMP TABLE present${index} AS SELECT _offset AS o, count(*) AS n FROM ${view} WHERE ${within} GROUP BY ALL`,
      )
      await this.#note('twice in', table, partition, `SELECT o FROM present${index} WHERE n > 1`)
      const onLog = [
        `SELECT _offset FROM parsed`,
        ...(refused.length === 0
          ? []
          : [`SELECT unnest([${refused.map(({ record }) => record.offset).join(', ')}])`]),
      ]
      await this.#note(
        'not on the log but in',
        table,
        partition,
        `SELECT o FROM present${index} WHERE o NOT IN (${onLog.join(' UNION ALL ')})`,
      )
      await this.#note('missing from', table, partition, this.#missingSql(table, index, partition))
      joins.push(`LEFT JOIN present${index} ON present${index}.o = _offset`)
      flags.push(`present${index}.n IS NOT NULL`)
    }
    await this.#count(flags, joins, refused.length)
  }

  #missingSql(table: StreamTable, index: number, partition: number): string {
    const sql = this.#topic.conversion.tables.get(table.definition.name)
    if (sql === undefined) return 'SELECT 0 AS o WHERE false'
    const start =
      parseOffsets(table.lake.properties[startOffsetsProperty])
        .get(this.#topic.topic.id)
        ?.get(partition) ?? 0
    return `SELECT _offset AS o FROM parsed WHERE ${sql.matches} AND (${sql.keeps} OR NOT ${sql.fits}) AND _offset >= ${start} AND _offset NOT IN (SELECT o FROM present${index}) AND _offset NOT IN (SELECT o FROM aside WHERE t = ${quoteText(table.definition.name)})`
  }

  async #count(flags: readonly string[], joins: readonly string[], refused: number): Promise<void> {
    const { conversion } = this.#topic
    const present = flags.join(' OR ') || 'false'
    const matched =
      this.#tables
        .map((table) => conversion.tables.get(table.definition.name)?.matches ?? 'false')
        .join(' OR ') || 'false'
    const [row] = await queryRows(
      this.#connection,
      `SELECT count(*)::INTEGER AS n, count(*) FILTER (p)::INTEGER AS present, count(*) FILTER (NOT p AND a)::INTEGER AS aside, count(*) FILTER (NOT p AND NOT a AND m)::INTEGER AS matched, count(*) FILTER (NOT p AND NOT a AND NOT known)::INTEGER AS lost
       FROM (SELECT (${present}) AS p, _offset IN (SELECT o FROM aside) AS a, (${matched}) AS m, ${declared(conversion)} AS known FROM parsed ${joins.join(' ')})`,
    )
    const number = (name: string) => Number(row?.[name] ?? 0)
    if (number('lost') > 0) this.#add('undeclared but not set aside', number('lost'), [])
    this.records += number('n') + refused
    this.counts = addCounts(this.counts, {
      inTables: number('present'),
      deadLetters: number('aside') + refused,
      filtered: number('matched'),
      unrouted: number('n') - number('present') - number('aside') - number('matched'),
    })
  }

  async #note(
    kind: Kind,
    table: StreamTable,
    partition: number,
    offsetsSql: string,
  ): Promise<void> {
    const [row] = await queryRows(
      this.#connection,
      `SELECT count(*)::INTEGER AS n, list(o ORDER BY o)[1:${offsetsShown}]::VARCHAR[] AS offsets FROM (${offsetsSql})`,
    )
    const total = Number(row?.['n'] ?? 0)
    const offsets = Array.isArray(row?.['offsets'])
      ? row['offsets'].map((offset) => `${this.#topic.topic.name}/${partition}/${String(offset)}`)
      : []
    if (total > 0) this.#add(`${kind} table ${table.definition.name}`, total, offsets)
  }

  #add(what: string, total: number, offsets: readonly string[]): void {
    const entry = this.#found.get(what) ?? { total: 0, offsets: [] }
    entry.total += total
    entry.offsets.push(...offsets.slice(0, offsetsShown - entry.offsets.length))
    this.#found.set(what, entry)
  }
}
