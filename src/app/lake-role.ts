import { join } from 'node:path'
import type { DuckDBInstance } from '@duckdb/node-api'
import { openDuckdb, type DuckDBConnection } from '../core/duckdb.ts'
import { Exclusive } from '../core/exclusive.ts'
import { removeFolder } from '../core/host.ts'
import type { Metric } from '../core/metrics.ts'
import { createSqlEngine, type SqlEngine } from '../sql/engine.ts'
import { IcebergCatalog } from '../sql/iceberg-catalog.ts'
import { createIcebergRest, icebergPrefix } from '../sql/iceberg-rest.ts'
import { createSqlServer, type SqlServer } from '../sql/sql-server.ts'
import type { Topic } from '../log/record.ts'
import type { Definition } from '../plan/definition.ts'
import { activeVersion } from '../plan/store.ts'
import {
  attentionLines,
  summarizeTable,
  summarizeTopic,
  summarizeUnreadTopic,
} from '../stream/status.ts'
import { mergingDuckdb } from './stopped-tables.ts'
import { Maintenance } from '../stream/maintenance.ts'
import { Stream } from '../stream/stream.ts'
import type { StreamTable } from '../stream/stream-table.ts'
import { auditRunning } from './audit.ts'
import { exportRows } from './export.ts'
import { removeDrafts } from './export-versions.ts'
import { lineResponder } from './line-response.ts'
import { MergingProcess } from './merging-process.ts'
import { Publisher, requireFreeFolders } from './publisher.ts'
import type { LakeRole, LakeStatus, RoleOptions, TableStatus } from './roles.ts'
import { whereIs } from './where.ts'

/** In `run/`, of the process that merges files. */
const mergingTemp = 'merging-temp'

/** Starts the lake process's parts: DuckDB, the stream into the tables, and the SQL endpoint. */
export async function startLake(options: RoleOptions): Promise<LakeRole> {
  const { settings, files, clock, logger, data } = options
  const instance = await openTablesDuckdb(options)
  const onFatal = (error: unknown) => endProcess(options, error)
  const stream = await Stream.open({
    instance,
    files,
    clock,
    logger,
    settings,
    dataFolder: data,
    onFatal,
  })
  await activate(options, stream, options.definition)
  const inspector = await instance.connect()
  removeDrafts(data)
  const engine = await createSqlEngine({
    instance,
    namespace: options.definition.namespace,
    settings,
    clock,
    logger,
    lakeFolder: join(data, 'lake'),
    source: stream,
  })
  const server = openServer(options, { instance, stream, engine, inspector })
  const maintenance = new Maintenance({
    ...options,
    stream,
    openDuckdb: () => openDuckdb(mergingDuckdb(settings, data, 'compaction-temp')),
    background: new MergingProcess({ duckdb: mergingDuckdb(settings, data, mergingTemp) }),
  })
  const turn = new Exclusive<null>(null)
  const published = () => hiveTables(stream).map(({ lake }) => lake)
  const publisher = new Publisher({ ...options, turn, tables: published })
  stream.start()
  maintenance.start()
  publisher.start()
  return {
    sqlPort: await server.listen(options.host, options.port),
    activate: async (version) => activate(options, stream, await options.loadDefinition(version)),
    status: async () =>
      lakeStatus(stream, await stream.reader.topics(), [
        ...(await attentionLines(stream, inspector)),
        ...maintenanceLines(maintenance),
        ...publisherLines(publisher),
      ]),
    // The engine ends what still runs when the server closes.
    exportRows: (request) =>
      exportRows(request, {
        ...options,
        engine,
        signal: new AbortController().signal,
        turn,
        publishedTables: () => published().map(({ name }) => name),
      }),
    maintainTable: (work) => maintenance.do(work),
    async stop() {
      await maintenance.stop()
      await server.close()
      await turn.run(async () => {}) // an export that is taking its place
      const failed = await stream.stop()
      await publisher.stop() // what the stream has committed at last is published
      return whatIsKept(join(data, 'lake'), stream, failed)
    },
  }
}

function openTablesDuckdb({ settings, data }: RoleOptions): Promise<DuckDBInstance> {
  const temporaryFolder = join(data, 'run', 'duckdb-temp')
  // What a kill has left takes room, and counts towards no limit.
  removeFolder(temporaryFolder)
  removeFolder(join(data, 'run', mergingTemp))
  return openDuckdb({
    memoryMiB: settings.duckdbMemoryMiB,
    threads: settings.duckdbThreads,
    temporaryFolder,
    temporaryMiB: settings.duckdbTempMiB,
  })
}

/** EXPORT_EXISTS, and what `Stream.activate` throws; then everything is as it was. */
async function activate(
  options: RoleOptions,
  stream: Stream,
  definition: Definition,
): Promise<void> {
  await requireFreeFolders(options, definition)
  await stream.activate(definition, await liveDefinition(options))
}

/** The definition that all processes went by last; undefined before the first, and where it can't be read any more: a new one must be able to replace it. */
async function liveDefinition({ files, data, logger, loadDefinition }: RoleOptions) {
  try {
    const version = await activeVersion(files, data)
    return version === undefined ? undefined : await loadDefinition(version)
  } catch (error) {
    logger.warn('the live definition can not be read', { error })
    return undefined
  }
}

function hiveTables(stream: Stream): readonly StreamTable[] {
  return stream.tables.filter(({ definition }) => definition.format === 'hive')
}

interface LakeParts {
  readonly instance: DuckDBInstance
  readonly stream: Stream
  readonly engine: SqlEngine
  readonly inspector: DuckDBConnection
}

function openServer(
  options: RoleOptions,
  { instance, stream, engine, inspector }: LakeParts,
): SqlServer {
  const { settings, files, clock, logger, data, host } = options
  const catalog = new IcebergCatalog({
    files,
    clock,
    lakeFolder: join(data, 'lake'),
    guestFolder: join(data, 'guests'),
  })
  const where = lineResponder((url, write) =>
    whereIs(stream, inspector, url.searchParams.get('receipt') ?? '', write),
  )
  const audit = lineResponder((_url, write) => auditRunning(stream, instance, files, data, write))
  return createSqlServer({
    engine,
    host,
    settings,
    clock,
    logger,
    health: () => ({
      ready: stream.failures.size === 0,
      reasons: [...stream.failures].map(([topic, failure]) => `topic ${topic}: ${failure.reason}`),
    }),
    metrics: () => lakeMetrics(stream),
    folders: new Map([
      [icebergPrefix, createIcebergRest({ catalog, logger, bodyBytesMax: settings.bodyBytesMax })],
    ]),
    extraRoutes: new Map([
      ['GET /_questlog/where', where],
      ['GET /_questlog/audit', audit],
    ]),
  })
}

/** What is known to fail more than once: the first time may have been a full disk for a moment. */
function maintenanceLines(maintenance: Maintenance): string[] {
  return [...maintenance.failures]
    .filter(([, failure]) => failure.attempts > 1)
    .map(([table, { reason }]) => `table ${table} can't be compacted or cleaned up: ${reason}`)
}

function publisherLines(publisher: Publisher): string[] {
  return [...publisher.failures].map(
    ([table, { reason, attempts }]) =>
      `the folder of table ${table} is behind: ${reason} (tried ${attempts} times; the table itself goes on)`,
  )
}

/** Lines for `down`. */
function whatIsKept(lakeFolder: string, stream: Stream, failed: readonly StreamTable[]): string[] {
  const { tables } = lakeStatus(stream, [], [])
  const kept = tables.map(
    ({ namespace, name, rows }) =>
      `table ${namespace}.${name}: ${rows.toLocaleString('en-US')} rows in ${join(lakeFolder, namespace, name)}`,
  )
  const lost = failed.map(
    ({ definition, failure }) =>
      `table ${definition.name} could not be committed: ${failure?.reason ?? 'unknown'}; its events are on the log and are read again at the next start`,
  )
  return [...kept, ...lost]
}

/** What is in memory can't be trusted any more: the supervisor starts the process anew, and it reads on from what is committed. */
function endProcess(options: RoleOptions, error: unknown): void {
  options.event(`lake starts anew: ${error instanceof Error ? error.message : String(error)}`)
  process.exitCode = 1
  setImmediate(() => process.exit(1))
}

/** `known`: all topics of the log, also those that the definition does not read. */
function lakeStatus(
  stream: Stream,
  known: readonly Topic[],
  attention: readonly string[],
): LakeStatus {
  const watermark = stream.reader.watermark()
  const unread = known.filter((topic) => !stream.topics.some((read) => read.topic.id === topic.id))
  return {
    topics: [
      ...stream.topics.map((topic) => summarizeTopic(topic, watermark)),
      ...unread.map((topic) => summarizeUnreadTopic(topic, watermark)),
    ],
    tables: stream.tables.map((table) =>
      summarizeTable(
        stream.topics.find((topic) => topic.tables.includes(table)),
        table,
        watermark,
      ),
    ),
    attention,
    memoryBytes: process.memoryUsage.rss(),
  }
}

function lakeMetrics(stream: Stream): Metric[] {
  const { topics, tables } = lakeStatus(stream, [], [])
  const byTopic = (
    name: string,
    help: string,
    pick: (topic: (typeof topics)[number]) => number,
  ): Metric => ({
    name,
    help,
    type: 'gauge',
    values: topics.map((topic) => ({ labels: { topic: topic.name }, value: pick(topic) })),
  })
  return [
    byTopic(
      'questlog_kept_records',
      'Records that were acknowledged, those that retention has removed included.',
      (topic) => topic.kept,
    ),
    byTopic(
      'questlog_removed_records',
      'Kept records that retention has removed from the log.',
      (topic) => topic.removed,
    ),
    byTopic(
      'questlog_in_tables_records',
      'Records that are in at least one table.',
      (topic) => topic.inTables,
    ),
    byTopic(
      'questlog_filtered_records',
      'Records that only a condition kept out of tables.',
      (topic) => topic.filtered,
    ),
    byTopic(
      'questlog_dead_letter_records',
      'Records that were set aside.',
      (topic) => topic.deadLetters,
    ),
    byTopic('questlog_unrouted_records', 'Records that no table takes.', (topic) => topic.unrouted),
    byTopic(
      'questlog_in_flight_records',
      'Records on the way to their tables.',
      (topic) => topic.inFlight,
    ),
    ...tableMetrics(tables),
    {
      name: 'questlog_leases',
      help: 'Statements that hold the data files of their views.',
      type: 'gauge',
      values: [{ value: stream.leases }],
    },
  ]
}

function tableMetrics(tables: readonly TableStatus[]): Metric[] {
  return [
    {
      name: 'questlog_table_rows',
      help: 'Rows of a table, fresh ones included.',
      type: 'gauge',
      values: tables.map((table) => ({ labels: { table: table.name }, value: table.rows })),
    },
    {
      name: 'questlog_table_lag_records',
      help: 'Acknowledged records that the table has not read.',
      type: 'gauge',
      values: tables.map((table) => ({ labels: { table: table.name }, value: table.lagRecords })),
    },
    {
      name: 'questlog_table_failing',
      help: 'Whether the last commit of the table failed.',
      type: 'gauge',
      values: tables.map((table) => ({
        labels: { table: table.name },
        value: table.state === 'failing' ? 1 : 0,
      })),
    },
  ]
}
