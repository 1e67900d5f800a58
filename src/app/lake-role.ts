import { join } from 'node:path'
import { openDuckdb } from '../core/duckdb.ts'
import type { Metric } from '../core/metrics.ts'
import { createSqlEngine } from '../sql/engine.ts'
import { createSqlServer, type ExtraRoute } from '../sql/sql-server.ts'
import type { Topic } from '../log/record.ts'
import {
  attentionLines,
  summarizeTable,
  summarizeTopic,
  summarizeUnreadTopic,
} from '../stream/status.ts'
import { Stream } from '../stream/stream.ts'
import { auditRunning } from './audit.ts'
import { lineResponder } from './line-response.ts'
import type { LakeRole, LakeStatus, RoleOptions } from './roles.ts'
import { whereIs } from './where.ts'

/** Starts the lake process's parts: DuckDB, the stream into the tables, and the SQL endpoint. */
export async function startLake(options: RoleOptions): Promise<LakeRole> {
  const { settings, files, clock, logger, data } = options
  const lakeFolder = join(data, 'lake')
  const instance = await openDuckdb({
    memoryMiB: settings.duckdbMemoryMiB,
    threads: settings.duckdbThreads,
    temporaryFolder: join(data, 'run', 'duckdb-temp'),
    temporaryMiB: settings.duckdbTempMiB,
  })
  const stream = await Stream.open({
    instance,
    files,
    clock,
    logger,
    settings,
    dataFolder: data,
    onFatal: (error) => endProcess(options, error),
  })
  await stream.activate(options.definition)
  const leases = new Set<symbol>()
  const engine = await createSqlEngine({
    instance,
    namespace: options.definition.namespace,
    settings,
    clock,
    logger,
    lakeFolder,
    source: {
      caughtUp: (tables, signal) => stream.caughtUp(tables, signal),
      lease() {
        const lease = Symbol('lease')
        leases.add(lease)
        return { release: () => void leases.delete(lease) }
      },
    },
  })
  const inspector = await instance.connect()
  const extraRoutes = new Map<string, ExtraRoute>([
    [
      'GET /_questlog/where',
      lineResponder((url, write) =>
        whereIs(stream, inspector, url.searchParams.get('receipt') ?? '', write),
      ),
    ],
    [
      'GET /_questlog/audit',
      lineResponder((_url, write) => auditRunning(stream, instance, files, data, write)),
    ],
  ])
  const server = createSqlServer({
    engine,
    host: options.host,
    settings,
    clock,
    logger,
    health: () => ({
      ready: stream.failures.size === 0,
      reasons: [...stream.failures].map(([topic, failure]) => `topic ${topic}: ${failure.reason}`),
    }),
    metrics: () => lakeMetrics(stream),
    extraRoutes,
  })
  stream.start()
  const sqlPort = await server.listen(options.host, options.port)
  return {
    sqlPort,
    activate: async (version) => stream.activate(await options.loadDefinition(version)),
    status: async () =>
      lakeStatus(stream, await stream.reader.topics(), await attentionLines(stream, inspector)),
    async stop() {
      await server.close()
      const failed = await stream.stop()
      const status = lakeStatus(stream, [], [])
      return [
        ...status.tables.map(
          (table) =>
            `table ${table.namespace}.${table.name}: ${table.rows.toLocaleString('en-US')} rows in ${join(lakeFolder, table.namespace, table.name)}`,
        ),
        ...failed.map(
          (table) =>
            `table ${table.definition.name} could not be committed: ${table.failure?.reason ?? 'unknown'}; its events are on the log and are read again at the next start`,
        ),
      ]
    },
  }
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
      'Records on the log that were acknowledged.',
      (topic) => topic.kept,
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
