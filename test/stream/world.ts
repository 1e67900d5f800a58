import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { DuckDBInstance } from '@duckdb/node-api'
import { realClock } from '../../src/core/clock.ts'
import { openDuckdb, queryRows } from '../../src/core/duckdb.ts'
import { realFiles, type Files } from '../../src/core/files.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { resolveSettings, type Settings } from '../../src/core/settings.ts'
import { openEventLog, type EventLog } from '../../src/log/event-log.ts'
import { compileDefinition } from '../../src/plan/compile.ts'
import type { Definition } from '../../src/plan/definition.ts'
import { Stream } from '../../src/stream/stream.ts'

/** A log and a stream over one temporary data folder, as the two processes have them. */
export class World {
  readonly folder: string
  readonly settings: Settings
  readonly files: Files
  log: EventLog
  stream: Stream | undefined
  instance: DuckDBInstance | undefined
  fatal: unknown

  private constructor(folder: string, settings: Settings, files: Files, log: EventLog) {
    this.folder = folder
    this.settings = settings
    this.files = files
    this.log = log
  }

  static async open(
    options: { settings?: Record<string, unknown>; files?: Files } = {},
  ): Promise<World> {
    const folder = await mkdtemp(join(tmpdir(), 'questlog-stream-'))
    const small = { pollIntervalMs: 5, duckdbMemoryMiB: 512, duckdbTempMiB: 100 }
    const settings = resolveSettings({ ...small, ...options.settings })
    const log = await openLog(folder, settings)
    return new World(folder, settings, options.files ?? realFiles, log)
  }

  /** Starts the stream with a definition, creating its topics first. */
  async start(definition: Definition): Promise<Stream> {
    await this.createTopics(definition)
    return this.startOn(definition)
  }

  /** Starts the stream with the topics that there are. `live` as of `Stream.activate`. */
  async startOn(definition: Definition, live?: Definition): Promise<Stream> {
    this.instance = await openDuckdb({
      memoryMiB: this.settings.duckdbMemoryMiB,
      threads: 2,
      temporaryFolder: join(this.folder, 'temp'),
      temporaryMiB: this.settings.duckdbTempMiB,
    })
    this.stream = await Stream.open({
      instance: this.instance,
      files: this.files,
      clock: realClock,
      logger: silentLogger,
      settings: this.settings,
      dataFolder: this.folder,
      onFatal: (error) => (this.fatal = error),
    })
    await this.stream.activate(definition, live)
    this.stream.start()
    return this.stream
  }

  async createTopics(definition: Definition): Promise<void> {
    for (const topic of definition.topics) {
      if (this.log.topic(topic.name) === undefined) await this.log.createTopic(topic)
    }
  }

  /** Forgets everything that the stream has in memory, as kill -9 does, without giving it a chance to commit. */
  abandon(): void {
    this.stream = undefined
    this.instance = undefined
  }

  /** Appends values; objects as JSON. Resolves when they are acknowledged. */
  async append(
    values: readonly (object | string | Uint8Array)[],
    topic = 'events',
    headers: { key: string; value: Uint8Array }[] = [],
  ) {
    const records = values.map((value) => ({
      key: null,
      value:
        value instanceof Uint8Array
          ? value
          : Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)),
      headers,
    }))
    return this.log.append(topic, null, records)
  }

  /** Rows of a query that sees everything acknowledged before. */
  async query(sql: string) {
    const stream = this.stream
    if (stream === undefined || this.instance === undefined)
      throw new Error('the stream is not running')
    await stream.caughtUp(null, new AbortController().signal)
    const connection = await this.instance.connect()
    try {
      return await queryRows(connection, sql)
    } finally {
      connection.closeSync()
    }
  }

  async count(table: string): Promise<number> {
    const [row] = await this.query(`SELECT count(*)::INTEGER AS n FROM ${table}`)
    return Number(row?.['n'])
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stream?.stop()
    this.instance?.closeSync()
    await this.log.close()
    await rm(this.folder, { recursive: true, force: true })
  }
}

async function openLog(folder: string, settings: Settings): Promise<EventLog> {
  return openEventLog({
    files: realFiles,
    clock: realClock,
    logger: silentLogger,
    folder: join(folder, 'log'),
    settings,
    floors: new Map(),
    repair: false,
  })
}

/** The definition of an authored config that has no problems. */
export function define(config: unknown): Definition {
  const compiled = compileDefinition(config)
  if (compiled.definition === undefined) throw new Error(JSON.stringify(compiled.problems))
  return compiled.definition
}
