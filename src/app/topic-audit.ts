import { queryRows, type DuckDBConnection } from '../core/duckdb.ts'
import { QuestlogError } from '../core/errors.ts'
import { parseOffsets } from '../lake/offsets.ts'
import { recordChunks, type PlacedRecord } from '../log/record-chunks.ts'
import type { LogSlice } from '../log/reader.ts'
import { keptRecords, type PartitionWatermark } from '../log/record.ts'
import { quoteName, quoteText } from '../plan/columns.ts'
import { eventTypeSql } from '../stream/conversion.ts'
import { addCounts, noCounts, totalOf, type LedgerCounts } from '../stream/ledger.ts'
import { nestedReason, Staging } from '../stream/staging.ts'
import type { Stream } from '../stream/stream.ts'
import { rulesSinceProperty } from '../stream/table-set.ts'
import type { StreamTable } from '../stream/stream-table.ts'
import type { TopicStream } from '../stream/topic-stream.ts'
import { countInTables, RemovedAudit, type PartitionRange } from './removed-audit.ts'

/** Records that are compared at once, in bytes of log. */
const chunkBytes = 4 * 1024 * 1024
/** Nesting is no reason here: a record that was too deep is among the dead letters, and looked up there. */
const depthUnbounded = Number.MAX_SAFE_INTEGER
/** Offsets that are named for each kind of difference. */
const offsetsShown = 20

type Kind = 'missing from' | 'twice in' | 'not on the log but in'

export interface TopicAuditParts {
  readonly stream: Stream
  readonly topic: TopicStream
  /** Tables whose data files are all there. */
  readonly readable: ReadonlySet<StreamTable>
  /** A connection for this audit alone; `close` closes it. */
  readonly connection: DuckDBConnection
  readonly everDeclared: ReadonlySet<string>
}

/** Counts one topic again and compares it, record by record, with its tables and dead letters. */
export class TopicAudit {
  /** Of the records that were read. */
  counts: LedgerCounts = noCounts
  records = 0
  /** Of those that retention has removed: in tables, set aside, and the rest: filtered or in no table. */
  removed = { inTables: 0, deadLetters: 0, rest: 0 }
  readonly #stream: Stream
  readonly #topic: TopicStream
  readonly #tables: readonly StreamTable[]
  readonly #connection: DuckDBConnection
  readonly #staging: Staging
  readonly #found = new Map<string, { total: number; offsets: string[] }>()
  readonly #everDeclared: ReadonlySet<string>
  readonly #ledgerBefore: LedgerCounts
  readonly #gone: RemovedAudit
  /** Offsets that were given out but have no record on the log any more. */
  readonly #lost: PartitionRange[] = []
  readonly #lostLines: string[] = []
  #kept = 0

  constructor({ stream, topic, readable, connection, everDeclared }: TopicAuditParts) {
    this.#stream = stream
    this.#topic = topic
    this.#tables = topic.tables.filter((table) => readable.has(table))
    this.#connection = connection
    this.#staging = new Staging(connection, topic.conversion)
    this.#everDeclared = everDeclared
    this.#ledgerBefore = topic.ledger.counts
    this.#gone = new RemovedAudit(topic.ledger)
  }

  async scan(limit: PartitionWatermark): Promise<void> {
    this.#kept += keptRecords(limit)
    this.#gone.before(limit)
    // Retention removes and says so; a log that begins later without it has lost its beginning.
    if (limit.removedRecords + limit.removedExcluded === 0)
      this.#lose(limit.partition, 0, limit.startOffset)
    let last = limit
    let recordsAtLast = this.records
    for (let from = limit.startOffset; from < limit.visibleOffset;) {
      const read = await this.#read(limit, from)
      if (read === undefined) {
        const now = this.#limitNow(limit)
        this.#kept -= this.#gone.meanwhile(last, now, from, this.records - recordsAtLast)
        last = now
        recordsAtLast = this.records
        from = now.startOffset
        continue
      }
      if (read.nextOffset <= from) break
      this.#noteGaps(limit, from, read)
      const end = limit.visibleOffset
      for (const chunk of recordChunks(limit.partition, read, from, end, chunkBytes))
        await this.#compare(limit.partition, chunk.from, chunk.to, chunk.records)
      from = read.nextOffset
    }
  }

  /** The gaps between what was read of a partition, and after it. */
  #noteGaps(limit: PartitionWatermark, from: number, slice: LogSlice): void {
    const held = slice.batches.map(({ baseOffset, nextOffset }) => ({
      from: baseOffset,
      to: nextOffset,
    }))
    let expected = from
    for (const range of [...held, ...slice.excludedRanges].sort((a, b) => a.from - b.from)) {
      this.#lose(limit.partition, expected, range.from)
      expected = Math.max(expected, range.to)
    }
    this.#lose(limit.partition, expected, Math.min(slice.nextOffset, limit.visibleOffset))
  }

  #lose(partition: number, from: number, to: number): void {
    const last = this.#lost.at(-1)
    if (from >= to) return
    if (last?.partition === partition && last.range.to === from)
      this.#lost[this.#lost.length - 1] = { partition, range: { from: last.range.from, to } }
    else this.#lost.push({ partition, range: { from, to } })
  }

  /** Looks for what the log has lost in the tables and dead letters: one line for each range. */
  async countLost(): Promise<void> {
    const topic = this.#topic.topic.name
    for (const place of this.#lost) {
      const { partition, range } = place
      const { inTables, deadLetters } = await countInTables(this.#connection, {
        topic,
        ranges: [place],
        tables: this.#tables,
        doubled: (table, at, offsetsSql) => this.#note('twice in', table, at, offsetsSql),
      })
      const total = range.to - range.from
      const gone = total - inTables - deadLetters
      this.#lostLines.push(
        `${topic}/${partition}: ${total} answered ${total === 1 ? 'record is' : 'records are'} lost from the log, offsets ${range.from} to ${range.to - 1}: ${inTables} in tables, ${deadLetters} set aside, ${gone} in neither`,
      )
    }
  }

  /** Undefined when retention has removed what lies there since the audit began. */
  async #read(limit: PartitionWatermark, from: number) {
    const { topic } = this.#topic
    const { reader } = this.#stream
    try {
      return await reader.read(topic, limit.partition, from, limit, chunkBytes)
    } catch (error) {
      const isRemoved = error instanceof QuestlogError && error.code === 'OFFSET_OUT_OF_RANGE'
      if (isRemoved && this.#limitNow(limit).startOffset > from) return undefined
      throw error
    }
  }

  #limitNow(limit: PartitionWatermark): PartitionWatermark {
    const watermark = this.#stream.reader.watermark()
    const limits = watermark === undefined ? undefined : this.#topic.limits(watermark)
    return limits?.get(limit.partition) ?? limit
  }

  /** Looks for what retention has removed in the tables and dead letters. */
  async countRemoved(): Promise<void> {
    const name = this.#topic.topic.name
    const found = await this.#gone.count(
      this.#connection,
      name,
      this.#tables,
      (table, partition, offsetsSql) => this.#note('twice in', table, partition, offsetsSql),
    )
    const rest = this.#gone.records - found.inTables - found.deadLetters
    this.removed = { ...found, rest: Math.max(0, rest) }
    if (rest + this.#gone.missing < 0)
      this.#add('not on the log, nor was ever removed from it, but in tables', -rest, [])
  }

  close(): void {
    this.#staging.close()
  }

  /** One line for each kind of difference. */
  report(): string[] {
    const lines = [...this.#found].map(
      ([what, { total, offsets }]) =>
        `${total} ${total === 1 ? 'record is' : 'records are'} ${what}: ${offsets.join(', ')}${total > offsets.length ? ', …' : ''}`,
    )
    lines.push(...this.#lostLines)
    if (this.records !== this.#kept)
      lines.push(
        `${this.#topic.topic.name}: the log says ${this.#kept} records, ${this.records} were read`,
      )
    const whole =
      totalOf(this.#ledgerBefore) === this.records + this.#gone.records &&
      this.#tables.length === this.#topic.tables.length
    if (whole) lines.push(...this.#againstLedger())
    return lines
  }

  /** What was filtered and what was in no table count together: a change of the rules moves records of the past from one to the other. */
  #againstLedger(): string[] {
    const parts = (counts: LedgerCounts) => ({
      'in tables': counts.inTables,
      'set aside': counts.deadLetters,
      'filtered or in no table': counts.filtered + counts.unrouted,
    })
    const counted = new Map(
      Object.entries(
        parts(
          addCounts(this.counts, { ...this.removed, filtered: this.removed.rest, unrouted: 0 }),
        ),
      ),
    )
    return Object.entries(parts(this.#ledgerBefore))
      .filter(([name, count]) => counted.get(name) !== count)
      .map(
        ([name, count]) =>
          `${this.#topic.topic.name}: the ledger says ${count} ${name}, counted ${counted.get(name)}`,
      )
  }

  async #compare(
    partition: number,
    from: number,
    to: number,
    records: readonly PlacedRecord[],
  ): Promise<void> {
    const connection = this.#connection
    const unreadable = await this.#staging.stage(records, depthUnbounded)
    const refused = [...unreadable, ...(await this.#staging.mend(records))]
    const within = `_log_partition = ${partition} AND _offset >= ${from} AND _offset < ${to}`
    await connection.run(
      `CREATE OR REPLACE TEMP TABLE aside AS SELECT DISTINCT "offset" AS o, coalesce("table", '') AS t, "table" IS NULL AND starts_with(reason, ${quoteText(nestedReason)}) AS deep FROM questlog.dead_letters WHERE topic = ${quoteText(this.#topic.topic.name)} AND "partition" = ${partition} AND "offset" >= ${from} AND "offset" < ${to}`,
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
        `SELECT o FROM present${index} WHERE o NOT IN (${onLog.join(' UNION ALL ')}) AND NOT ${this.#isLostSql(partition)}`,
      )
      await this.#note('missing from', table, partition, this.#missingSql(table, index, partition))
      joins.push(`LEFT JOIN present${index} ON present${index}.o = _offset`)
      flags.push(`present${index}.n IS NOT NULL`)
    }
    await this.#count(flags, joins, refused.length)
  }

  #isLostSql(partition: number): string {
    const ranges = this.#lost.filter((place) => place.partition === partition)
    const within = ranges.map(({ range }) => `o BETWEEN ${range.from} AND ${range.to - 1}`)
    return `(${['false', ...within].join(' OR ')})`
  }

  #missingSql(table: StreamTable, index: number, partition: number): string {
    const sql = this.#topic.conversion.tables.get(table.definition.name)
    if (sql === undefined) return 'SELECT 0 AS o WHERE false'
    const start =
      parseOffsets(table.lake.properties[rulesSinceProperty])
        .get(this.#topic.topic.id)
        ?.get(partition) ?? 0
    return `SELECT _offset AS o FROM parsed WHERE ${sql.matches} AND (${sql.keeps} OR NOT ${sql.fits}) AND _offset >= ${start} AND _offset NOT IN (SELECT o FROM present${index}) AND _offset NOT IN (SELECT o FROM aside WHERE deep OR t = ${quoteText(table.definition.name)})`
  }

  async #count(flags: readonly string[], joins: readonly string[], refused: number): Promise<void> {
    const { conversion } = this.#topic
    const present = flags.join(' OR ') || 'false'
    const knownSql = `coalesce(${eventTypeSql} IN (${[...this.#everDeclared].map(quoteText).join(', ')}), false)`
    const matched =
      this.#tables
        .map((table) => conversion.tables.get(table.definition.name)?.matches ?? 'false')
        .join(' OR ') || 'false'
    const [row] = await queryRows(
      this.#connection,
      `SELECT count(*)::INTEGER AS n, count(*) FILTER (p)::INTEGER AS present, count(*) FILTER (NOT p AND a)::INTEGER AS aside, count(*) FILTER (NOT p AND NOT a AND m)::INTEGER AS matched, count(*) FILTER (NOT p AND NOT a AND NOT known)::INTEGER AS lost
       FROM (SELECT (${present}) AS p, _offset IN (SELECT o FROM aside) AS a, (${matched}) AS m, ${knownSql} AS known FROM parsed ${joins.join(' ')})`,
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
      ? row['offsets'].map((offset) => `${this.#topic.topic.name}/${partition}/${Number(offset)}`)
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
