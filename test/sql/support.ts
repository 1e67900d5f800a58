import type { DuckDBInstance } from '@duckdb/node-api'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { realClock } from '../../src/core/clock.ts'
import { openDuckdb, type DuckDBConnection } from '../../src/core/duckdb.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { resolveSettings } from '../../src/core/settings.ts'
import { createSqlEngine, type FreshSource, type SqlEngine } from '../../src/sql/engine.ts'
import { QuestlogError } from '../../src/core/errors.ts'
import type { SnapshotWanted } from '../../src/lake/time-travel.ts'
import type { SqlStats } from '../../src/sql/engine.ts'
import { splitStatements } from '../../src/sql/lexer.ts'
import { planStatement } from '../../src/sql/statements.ts'
import { encodeRows } from '../../src/sql/values.ts'

/** What the engine asked of the stream, in order. */
export class RecordingSource implements FreshSource {
  readonly waits: (readonly string[] | null)[] = []
  tablesVersion = 0
  leases = 0
  leasesMost = 0
  /** Replaced by tests that hold a statement up. */
  wait: (signal: AbortSignal) => Promise<void> = async () => {}

  async caughtUp(tables: readonly string[] | null, signal: AbortSignal): Promise<void> {
    this.waits.push(tables)
    await this.wait(signal)
  }

  lease(): { release(): void } {
    this.leases++
    this.leasesMost = Math.max(this.leasesMost, this.leases)
    return { release: () => void this.leases-- }
  }

  /** Replaced by tests that have one. */
  narrowedScan: FreshSource['narrowedScan'] = () => undefined

  /** One table has a past, of two snapshots. */
  async pastScan(
    namespace: string | null,
    name: string,
    wanted: SnapshotWanted,
  ): Promise<string | undefined> {
    if (name !== 'sword_purchases' || (namespace ?? 'default') !== 'default') return undefined
    if ('timestampMs' in wanted)
      return `SELECT ${wanted.timestampMs} AS ms, 'old' AS "Host" FROM range(3)`
    if (wanted.id !== '7')
      throw new QuestlogError('SNAPSHOT_UNKNOWN', `the table has no snapshot ${wanted.id}`)
    return `SELECT i::INTEGER AS damage, 'then' AS "Host" FROM range(5) t(i)`
  }
}

/** The catalog as the stream leaves it: two tables, set-aside events, counts; and an engine over it. */
export interface Bench {
  readonly instance: DuckDBInstance
  /** The stream's own connection. */
  readonly writer: DuckDBConnection
  readonly engine: SqlEngine
  readonly source: RecordingSource
  readonly folder: string
  readonly lakeFolder: string
  readonly close: () => Promise<void>
}

const catalog = `
CREATE SCHEMA "default"; CREATE SCHEMA questlog; CREATE SCHEMA _fresh; CREATE SCHEMA _counts;
CREATE TABLE _fresh.sword_purchases_1 AS SELECT
  '{}' AS raw_event, '2026-11-21 17:53:16.123' AS "timestamp", '*/*' AS "Accept",
  'user' || (i % 2 + 1) || '.com' AS "Host", 'ab/2.3' AS "User-Agent", 'purchase_sword' AS event_type,
  i::INTEGER AS damage, 0 AS _log_partition, i AS _offset, make_timestamptz(1795283596123000 + i) AS _timestamp
FROM range(20) AS t(i);
CREATE VIEW "default".sword_purchases AS SELECT * FROM _fresh.sword_purchases_1;
CREATE VIEW _counts.sword_purchases AS SELECT 20::BIGINT AS n;
CREATE TABLE _fresh.join_guilds_1 AS SELECT '{}' AS raw_event, 'user1.com' AS "Host" FROM range(7);
CREATE VIEW "default".join_guilds AS SELECT * FROM _fresh.join_guilds_1;
CREATE VIEW _counts.join_guilds AS SELECT 7::BIGINT AS n;
CREATE TABLE _fresh.dead_letters_1 (topic VARCHAR, reason VARCHAR, value BLOB);
CREATE VIEW questlog.dead_letters AS SELECT * FROM _fresh.dead_letters_1;
`

export async function openBench(
  overrides: Record<string, unknown> = {},
  memoryMiB = 256,
): Promise<Bench> {
  const folder = mkdtempSync(join(tmpdir(), 'questlog-sql-'))
  const lakeFolder = join(folder, 'lake')
  mkdirSync(lakeFolder)
  const instance = await openDuckdb({
    memoryMiB,
    threads: 2,
    temporaryFolder: join(folder, 'temp'),
    temporaryMiB: 16,
  })
  const writer = await instance.connect()
  await writer.run(catalog)
  const source = new RecordingSource()
  const engine = await createSqlEngine({
    instance,
    namespace: 'default',
    settings: resolveSettings(overrides),
    clock: realClock,
    logger: silentLogger,
    source,
    lakeFolder,
  })
  return {
    instance,
    writer,
    engine,
    source,
    folder,
    lakeFolder,
    async close() {
      await engine.close()
      writer.closeSync()
      instance.closeSync()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** A SELECT, planned with DuckDB's own tree. */
export async function planSelect({ instance }: Bench, sql: string) {
  const connection = await instance.connect()
  try {
    const serialize = async (text: string): Promise<unknown> => {
      const reader = await connection.runAndReadAll('SELECT json_serialize_sql($1::VARCHAR)', [
        text,
      ])
      return JSON.parse(String(reader.getRows()[0]?.[0]))
    }
    const [part] = splitStatements(sql)
    const made = part && (await planStatement(sql, part, { namespace: 'default', serialize }))
    if (made?.kind !== 'select') throw new Error(`${sql} is no SELECT`)
    return made
  } finally {
    connection.closeSync()
  }
}

export interface Answer {
  readonly names: readonly string[]
  readonly types: readonly string[]
  readonly rows: readonly (readonly unknown[])[]
  readonly stats: SqlStats
}

/** Runs a script and gives one answer a statement, values as JSON. */
export async function askAll(
  engine: SqlEngine,
  sql: string,
  options: { stale?: boolean; signal?: AbortSignal } = {},
): Promise<Answer[]> {
  const answers: Answer[] = []
  let names: string[] = []
  let types: string[] = []
  let rows: unknown[][] = []
  const { stale = false, signal = new AbortController().signal } = options
  for await (const event of engine.run({ sql, stale, signal })) {
    if (event.kind === 'columns') {
      names = event.columns.map((column) => column.name)
      types = event.columns.map((column) => column.type)
      rows = []
    } else if (event.kind === 'rows')
      rows.push(...(JSON.parse(encodeRows(event.chunk, event.columns)) as unknown[][]))
    else answers.push({ names, types, rows, stats: event.stats })
  }
  return answers
}

/** Runs one statement. */
export async function ask(
  engine: SqlEngine,
  sql: string,
  options: { stale?: boolean; signal?: AbortSignal } = {},
): Promise<Answer> {
  const answers = await askAll(engine, sql, options)
  if (answers.length !== 1 || answers[0] === undefined)
    throw new Error(`${answers.length} answers to ${sql}`)
  return answers[0]
}

/** Waits for a condition, by turns of the event loop. */
export async function until(condition: () => boolean): Promise<void> {
  const endMs = realClock.monotonicMs() + 10_000
  while (!condition()) {
    if (realClock.monotonicMs() > endMs) throw new Error('the condition never came true')
    await new Promise((resolve) => setImmediate(resolve))
  }
}
