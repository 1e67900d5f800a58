import { join } from 'node:path'
import type { DuckDBInstance } from '@duckdb/node-api'
import { realClock } from '../core/clock.ts'
import { openDuckdb } from '../core/duckdb.ts'
import { QuestlogError } from '../core/errors.ts'
import { realFiles, type Files } from '../core/files.ts'
import { acquireLock } from '../core/lock.ts'
import { silentLogger } from '../core/logger.ts'
import { resolveSettings } from '../core/settings.ts'
import { activeVersion, readDefinition, storedVersions } from '../plan/store.ts'
import { Stream } from '../stream/stream.ts'
import type { StreamTable } from '../stream/stream-table.ts'
import type { TopicStream } from '../stream/topic-stream.ts'
import type { WriteLine } from './line-response.ts'
import { TopicAudit } from './topic-audit.ts'

/**
 * Counts again, from the log and the tables: every record of the log must be in each of its tables once, or set aside with a reason, or
 * left out by the definition; no table may hold another record; every data file must be there; the ledger must say the same. Writes what
 * it finds, line by line, and resolves to the exit code: 0 when everything adds up, else 1.
 */
export async function auditRunning(
  stream: Stream,
  instance: DuckDBInstance,
  files: Files,
  data: string,
  write: WriteLine,
): Promise<number> {
  await stream.caughtUp(null, new AbortController().signal)
  const everDeclared = await declaredTypes(stream, files, data)
  const readable = new Set<StreamTable>()
  let differences = 0
  for (const table of stream.tables) {
    const missing = await missingFiles(table, files, write)
    if (missing === 0) readable.add(table)
    differences += missing
  }
  for (const topic of stream.topics) {
    const audit = new TopicAudit({
      stream,
      topic,
      readable,
      connection: await instance.connect(),
      everDeclared,
    })
    differences += await auditTopic(audit, stream, topic, write)
  }
  await write(
    differences === 0
      ? 'everything adds up'
      : `${differences} ${differences === 1 ? 'difference' : 'differences'}`,
  )
  return differences === 0 ? 0 : 1
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
    const exit = await auditRunning(stream, instance, realFiles, data, write)
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
  audit: TopicAudit,
  stream: Stream,
  topic: TopicStream,
  write: WriteLine,
): Promise<number> {
  try {
    const limits = topic.limits(stream.reader.watermark() ?? { incarnation: '', partitions: [] })
    for (const limit of limits.values()) await audit.scan(limit)
    await audit.countRemoved()
    await audit.countLost()
    const lines = audit.report()
    for (const line of lines) await write(line)
    await write(`${topic.topic.name}: ${describeCounts(audit)}`)
    return lines.length
  } finally {
    audit.close()
  }
}

function describeCounts({ counts, records, removed }: TopicAudit): string {
  const removedRecords = removed.inTables + removed.deadLetters + removed.rest
  const line = [
    `answered ${records + removedRecords} = in tables ${counts.inTables + removed.inTables}`,
    `filtered ${counts.filtered}`,
    `set aside ${counts.deadLetters + removed.deadLetters}`,
    `in no table ${counts.unrouted}`,
    ...(removed.rest === 0
      ? []
      : [`filtered or in no table and no longer on the log ${removed.rest}`]),
  ].join(' + ')
  return removedRecords === 0
    ? line
    : `${line} (${removedRecords} of them retention has removed from the log)`
}

/** Every event type that any version of the definition has declared: a record of another type must have been set aside. */
async function declaredTypes(
  stream: Stream,
  files: Files,
  data: string,
): Promise<ReadonlySet<string>> {
  const versions = await storedVersions(files, data)
  const stored = await Promise.all(versions.map((version) => readDefinition(files, data, version)))
  const definitions = [...stored, ...(stream.definition === undefined ? [] : [stream.definition])]
  return new Set(definitions.flatMap((definition) => definition.events.map((event) => event.type)))
}
