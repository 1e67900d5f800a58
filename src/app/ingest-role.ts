import { join } from 'node:path'
import { createCollector, type Collector } from '../collect/collector.ts'
import { createLineWriter, type LineWriter } from '../core/host.ts'
import type { HealthReport, Metric } from '../core/metrics.ts'
import { openEventLog, type EventLog } from '../log/event-log.ts'
import { keptRecords } from '../log/record.ts'
import type { Definition } from '../plan/definition.ts'
import { createBacklog } from './backlog.ts'
import { readFloors } from './floors.ts'
import { FreeSpace } from './free-space.ts'
import { openKafkaBroker, type KafkaBroker } from './kafka-broker.ts'
import { Retention } from './retention.ts'
import type { IngestRole, IngestStatus, LogTopicStatus, RoleOptions } from './roles.ts'
import { alterTopic, refuseFed, tablesOf } from './topic-changes.ts'
import { formatBytes, formatMany } from './words.ts'

/** Starts the log, then the collector and the Kafka broker on it. */
export async function startIngest(options: RoleOptions): Promise<IngestRole> {
  const { data, files, clock, logger, settings } = options
  const log = await openEventLog({
    files,
    clock,
    logger,
    folder: join(data, 'log'),
    settings,
    floors: await readFloors(files, clock, data),
    repair: options.repair,
  })
  try {
    await applyTopics(log, options.definition)
    return await startListeners(options, log)
  } catch (error) {
    await log.close()
    throw error
  }
}

async function startListeners(options: RoleOptions, log: EventLog): Promise<IngestRole> {
  const { data, files, clock, logger, settings } = options
  const progress = files.openShared(join(data, 'lake', 'progress'), 'read')
  const backlog = createBacklog(progress, () => log.states(), clock, settings)
  const writer = options.accessLog ? createLineWriter(1) : null
  let { definition } = options
  const broker = await openKafkaBroker(options, log, backlog.bytes, () => definition)
  const collector = createCollector({
    log,
    settings,
    clock,
    logger,
    definition,
    accessLog: writer === null ? null : (line) => writer.line(line),
    health: () => describeHealth(log),
    metrics: () => [...logMetrics(log, backlog.totalBytes()), ...broker.metrics()],
    backlogBytes: backlog.bytes,
    bodyDelayMs: backlog.delayMs,
  })
  const closeListeners = () => Promise.all([collector.close(), broker.close()])
  const ports = await listenBoth(options, collector, broker).catch(async (error: unknown) => {
    await closeListeners()
    throw error
  })
  const retention = new Retention({ ...options, log })
  const space = new FreeSpace(options)
  return {
    ...ports,
    async activate(version) {
      const wanted = await options.loadDefinition(version)
      await switchTopics(log, wanted)
      definition = wanted
      collector.replaceDefinition(definition)
      retention.replaceDefinition(definition)
      logger.info('definition activated', { version })
    },
    async status() {
      const lines = [...retention.attention(), ...space.attention()]
      return describeStatus(log, collector, backlog.totalBytes(), lines)
    },
    createTopic: (spec) => log.createTopic(spec),
    listTopics: async () => log.topics(),
    alterTopic: (change) => alterTopic(log, change),
    deleteTopic: async (deletion) => {
      if (!deletion.force) refuseFed(definition, deletion.name)
      const continueOffsets = tablesOf(definition, deletion.name).length > 0
      await log.deleteTopic(deletion.name, { continueOffsets })
    },
    async stop() {
      await closeListeners()
      await Promise.all([retention.close(), space.close()])
      return closeLog(log, writer, () => progress.close())
    },
  }
}

async function listenBoth(
  { host, port }: RoleOptions,
  collector: Collector,
  broker: KafkaBroker,
): Promise<{ readonly collectorPort: number; readonly brokerPort: number | null }> {
  return { collectorPort: await collector.listen(host, port), brokerPort: await broker.listen() }
}

async function closeLog(
  log: EventLog,
  writer: LineWriter | null,
  release: () => void,
): Promise<readonly string[]> {
  await log.close()
  release()
  await writer?.flush()
  const bytes = log.states().reduce((sum, state) => sum + state.bytes, 0)
  return [`every answered event is on the log (${formatBytes(bytes)})`]
}

/** Creates the topics that are missing, and gives all of them the configs that the definition declares. */
async function applyTopics(log: EventLog, definition: Definition): Promise<void> {
  for (const { name, partitions, configs } of definition.topics) {
    if (log.topic(name) === undefined) await log.createTopic({ name, partitions, configs })
    await log.declareConfigs(name, configs)
  }
}

/** Applies a definition to the topics. When one of them refuses it, all have their configs back: a refused definition must not decide what retention removes. */
async function switchTopics(log: EventLog, wanted: Definition): Promise<void> {
  const giveBack = log.rememberConfigs()
  try {
    await applyTopics(log, wanted)
  } catch (error) {
    await giveBack()
    throw error
  }
}

/** Not ready when a partition takes no more records, or none for now. */
function describeHealth(log: EventLog): HealthReport {
  const reasons = log.states().flatMap(({ topic, partition, offline, diskFull }) => {
    if (offline !== null) return [`${topic}/${partition} is offline: ${offline}`]
    return diskFull ? [`${topic}/${partition} takes no events: the disk is full`] : []
  })
  return { ready: reasons.length === 0, reasons }
}

function describeStatus(
  log: EventLog,
  collector: Collector,
  backlogBytes: number,
  lines: readonly string[],
): IngestStatus {
  return {
    topics: log.topics().map(({ name, partitions }) => describeTopic(log, name, partitions)),
    backlogBytes: Math.round(backlogBytes),
    unknownPaths: collector.unknownPaths(),
    attention: [...describeHealth(log).reasons, ...gapLines(log), ...lines],
    memoryBytes: process.memoryUsage.rss(),
  }
}

function describeTopic(log: EventLog, name: string, partitions: number): LogTopicStatus {
  const states = log.states().filter((state) => state.topic === name)
  const kept = states.reduce((sum, state) => sum + keptRecords(state), 0)
  const bytes = states.reduce((sum, state) => sum + state.bytes, 0)
  return { name, partitions, kept, bytes }
}

function gapLines(log: EventLog): string[] {
  return log
    .states()
    .filter((state) => state.missingOffsets > 0)
    .map(
      ({ topic, partition, missingOffsets }) =>
        `${topic}/${partition} has ${formatMany(missingOffsets, 'offset')} without a record, from a restart or a repair`,
    )
}

function logMetrics(log: EventLog, backlogBytes: number): readonly Metric[] {
  const states = log.states()
  const perPartition = (
    name: string,
    help: string,
    pick: (state: (typeof states)[number]) => number,
  ): Metric => ({
    name,
    help,
    type: 'gauge',
    values: states.map((state) => ({
      labels: { topic: state.topic, partition: String(state.partition) },
      value: pick(state),
    })),
  })
  return [
    perPartition(
      'questlog_log_end_offset',
      'Next offset to be acknowledged.',
      (state) => state.highWatermark,
    ),
    perPartition(
      'questlog_log_last_stable_offset',
      'First offset of the earliest open transaction, or the next one to be acknowledged: tables read up to here.',
      (state) => state.visibleOffset,
    ),
    perPartition(
      'questlog_log_excluded_offsets',
      'Offsets that hold no event: control records, and records of aborted transactions.',
      (state) => state.excludedOffsets,
    ),
    perPartition(
      'questlog_log_start_offset',
      'First offset that the log holds.',
      (state) => state.startOffset,
    ),
    perPartition(
      'questlog_log_removed_records',
      'Records that retention has removed.',
      (state) => state.removedRecords,
    ),
    perPartition('questlog_log_bytes', 'Bytes of the segments.', (state) => state.bytes),
    perPartition(
      'questlog_log_pending_bytes',
      'Bytes that wait for their sync.',
      (state) => state.pendingBytes,
    ),
    perPartition('questlog_log_offline', '1 when the partition takes no more records.', (state) =>
      state.offline === null ? 0 : 1,
    ),
    perPartition('questlog_log_disk_full', '1 while the disk has no room for records.', (state) =>
      state.diskFull ? 1 : 0,
    ),
    {
      name: 'questlog_backlog_bytes',
      help: 'Bytes of log that wait for the tables.',
      type: 'gauge',
      values: [{ value: Math.round(backlogBytes) }],
    },
  ]
}
