import { join } from 'node:path'
import type { DuckDBInstance } from '@duckdb/node-api'
import type { Clock } from '../core/clock.ts'
import type { DuckDBConnection } from '../core/duckdb.ts'
import { QuestlogError } from '../core/errors.ts'
import { Exclusive } from '../core/exclusive.ts'
import type { Files } from '../core/files.ts'
import type { Logger } from '../core/logger.ts'
import type { Settings } from '../core/settings.ts'
import { LogReader } from '../log/reader.ts'
import type { PartitionWatermark, Topic, Watermark } from '../log/record.ts'
import type { Narrowing } from '../lake/pruning.ts'
import type { SnapshotWanted } from '../lake/time-travel.ts'
import { defaultNamespace } from '../plan/compile.ts'
import type { Definition } from '../plan/definition.ts'
import { CatalogWriter } from './catalog-writer.ts'
import { checkExpressions } from './check-expressions.ts'
import { Committer, LostTable, reachOf, type Committable } from './committer.ts'
import { CommitSchedule } from './commit-schedule.ts'
import { convertTopic } from './conversion.ts'
import { failedAgain, requireCommitted, type Failure } from './failure.ts'
import { heldTables, requireNotHeld } from './held-tables.ts'
import { LedgerStore } from './ledger-store.ts'
import { ledgerKey, TopicLedger } from './ledger.ts'
import { restAfter, restForAll } from './pace.ts'
import { openProgress, type Progress } from './progress.ts'
import { parseSetAside, SetAsideOffsets, setAsideProperty } from './set-aside-offsets.ts'
import { committedOffsets, endOffsets, type StreamTable } from './stream-table.ts'
import { Steps } from './steps.ts'
import { clearRows } from './table-rows.ts'
import { TableSet } from './table-set.ts'
import { TopicStream } from './topic-stream.ts'
import { ViewChanges } from './view-changes.ts'
import { Wake } from './wake.ts'

export interface StreamOptions {
  readonly instance: DuckDBInstance
  readonly files: Files
  readonly clock: Clock
  readonly logger: Logger
  readonly settings: Settings
  /** The data folder: `log` and `lake` lie in it. */
  readonly dataFolder: string
  /** Called once when what is in memory can no longer be trusted: the process must end and start anew. */
  readonly onFatal: (error: unknown) => void
}

type DeadLetters = Awaited<ReturnType<TableSet['openDeadLetters']>>

/** The stream of all topics into their tables: reads the log's files, fills fresh rows, commits them. */
export class Stream {
  readonly reader: LogReader
  readonly deadLetters: DeadLetters
  /** Why a topic's records are not read at the moment. */
  readonly failures = new Map<string, Failure>()
  readonly #options: StreamOptions
  readonly #connections: readonly DuckDBConnection[]
  readonly #writer: CatalogWriter
  readonly #tableSet: TableSet
  readonly #committer: Committer
  readonly #schedule: CommitSchedule
  readonly #progress: Progress
  readonly #ledgers: Map<string, TopicLedger>
  readonly #ledgerStore: LedgerStore
  /** Held by a step and by a change of the definition, so that neither sees the other half done. */
  readonly #turn = new Exclusive<null>(null)
  /** One commit run at a time. */
  readonly #commitTurn = new Exclusive<null>(null)
  #committing = false
  #tablesVersion = 0
  #definition: Definition | undefined
  /** The topics that have events or tables. What others hold is in no table, whatever it is. */
  #topicNames: ReadonlySet<string> = new Set()
  #tables: readonly StreamTable[] = []
  #topics: readonly TopicStream[] = []
  #incarnation: string | undefined
  /** The last watermark whose topics were compared with those that are read. */
  #followed: Watermark | undefined
  /** The last watermark up to which everything is done that can be: with the same one there is nothing to look for. */
  #doneWith: Watermark | undefined
  readonly #leases = new Set<symbol>()
  readonly #wake: Wake
  readonly #steps: Steps
  /** When the last statement began, monotonic. */
  #askedAtMs = Number.NEGATIVE_INFINITY
  #loop: Promise<void> | undefined
  #stopping = false
  #fatal = false

  private constructor(
    options: StreamOptions,
    parts: {
      connections: readonly DuckDBConnection[]
      exporter: DuckDBConnection
      views: ViewChanges
      guarded: CatalogWriter
      tableSet: TableSet
      deadLetters: DeadLetters
      ledgers: Map<string, TopicLedger>
      ledgerStore: LedgerStore
    },
  ) {
    this.#options = options
    this.#steps = new Steps(options.clock)
    this.#wake = new Wake(options.clock)
    this.#connections = parts.connections
    this.#writer = parts.guarded
    this.#tableSet = parts.tableSet
    this.#ledgers = parts.ledgers
    this.#ledgerStore = parts.ledgerStore
    this.deadLetters = parts.deadLetters
    this.reader = new LogReader(options.files, join(options.dataFolder, 'log'))
    this.#committer = new Committer({ ...options, ...parts, writer: this.#writer })
    this.#schedule = new CommitSchedule({
      ...options,
      committer: this.#committer,
      deadLetters: this.deadLetters,
      topics: () => this.#topics,
      syncLog: (topic) => this.#syncLog(topic),
      release: (topic) => this.#release(topic),
    })
    this.#progress = openProgress(options.files, join(options.dataFolder, 'lake', 'progress'))
  }

  /** Opens the lake, without reading any topic yet: `activate` and `start` do that. */
  static async open(options: StreamOptions): Promise<Stream> {
    const lakeFolder = join(options.dataFolder, 'lake')
    await options.files.makeFolder(lakeFolder)
    const connect = () => options.instance.connect()
    const connections = [await connect(), await connect(), await connect()] as const
    const [writer, exporter, viewer] = connections
    const guarded = new CatalogWriter(writer)
    const views = new ViewChanges(viewer, guarded.catalog)
    const tableSet = new TableSet({
      files: options.files,
      clock: options.clock,
      lakeFolder,
      writer: guarded,
      partBytes: options.settings.freshBytesMax,
    })
    const deadLetters = await tableSet.openDeadLetters()
    const path = join(lakeFolder, 'ledger')
    const { store: ledgerStore, ledgers } = await LedgerStore.open({ ...options, path })
    const own = { tableSet, deadLetters, ledgers, ledgerStore }
    return new Stream(options, { connections, exporter, views, guarded, ...own })
  }

  get definition(): Definition | undefined {
    return this.#definition
  }

  get topics(): readonly TopicStream[] {
    return this.#topics
  }

  get tables(): readonly StreamTable[] {
    return this.#tables
  }

  /** Tables with too many fresh rows to read on. */
  get held(): ReadonlySet<StreamTable> {
    return heldTables(this.#tables, this.#options.settings)
  }

  /** Another number after every change of which tables have views. */
  get tablesVersion(): number {
    return this.#tablesVersion
  }

  /** The connection that writes to DuckDB, for one piece of work at a time. */
  get writer(): Exclusive<DuckDBConnection> {
    return this.#writer
  }

  /**
   * Brings the tables to a definition: commits what is fresh, creates and evolves tables, then reads on. DEFINITION_INVALID and
   * EVOLUTION_REFUSED leave everything as it was. `live` is the definition that the whole system went by last: what another one has done to the tables may be taken back.
   */
  async activate(definition: Definition, live = this.#definition ?? definition): Promise<void> {
    await this.#turn.run(async () => {
      await this.#writer.run((connection) => checkExpressions(connection, definition))
      requireCommitted(await this.#flush(), this.deadLetters.fresh.totalRows)
      if (this.#topics.length > 0) await this.#commitTurn.run(() => this.#saveLedgers())
      await this.#commitTurn
        .run(async () => {
          // Nothing may change the files of a table while it is opened anew, nor by what it was before from then on.
          this.#tables = await this.#tableSet.apply(definition, live, this.#tables, (table) =>
            endOffsets(this.reader, table),
          )
        })
        .catch((error: unknown) => {
          if (error instanceof LostTable) this.#die(error)
          throw error
        })
      await this.#take(definition).catch((error: unknown) => {
        this.#die(error) // the tables are the new ones, but nothing reads for them
        throw error
      })
    })
    this.wake()
  }

  async #take(definition: Definition): Promise<void> {
    this.#definition = definition
    const readers = [...definition.events, ...definition.tables]
    this.#topicNames = new Set(readers.map(({ topic }) => topic))
    this.#tablesVersion++
    this.#doneWith = undefined
    for (const topic of this.#topics) topic.close()
    this.#topics = []
    await this.#attachTopics()
  }

  /** Starts reading. */
  start(): void {
    this.#loop ??= this.#run()
  }

  /** Reads what is left up to the watermark, commits everything, and ends. Resolves to the tables that could not be committed. */
  async stop(): Promise<readonly StreamTable[]> {
    if (this.#stopping) return []
    this.#stopping = true
    this.wake()
    await this.#loop
    try {
      return this.#fatal ? this.#tables : await this.#finish()
    } finally {
      this.#progress.close()
      await this.reader.close()
      for (const topic of this.#topics) topic.close()
      for (const connection of this.#connections) connection.closeSync()
    }
  }

  async #finish(): Promise<readonly StreamTable[]> {
    const step = () => this.#turn.run(() => this.#step())
    let failed: readonly StreamTable[]
    do {
      while ((await step()) && this.failures.size === 0) await this.#options.clock.sleep(0)
      failed = await this.#flush()
    } while (this.failures.size === 0 && (await step())) // a table that was held reads on
    await this.#saveLedgers()
    this.#progress.write(this.#topics)
    return failed
  }

  /** Statements whose data files must stay: nothing that a view names is unlinked while there are any. */
  get leases(): number {
    return this.#leases.size
  }

  /** Until `release`, no data file that a view names is unlinked. */
  lease(): { release: () => void } {
    const lease = Symbol('lease')
    this.#leases.add(lease)
    return { release: () => void this.#leases.delete(lease) }
  }

  /** Gives a test whether all statements that run now have ended. */
  readersNow(): () => boolean {
    const held = [...this.#leases]
    return () => held.every((lease) => !this.#leases.has(lease))
  }

  /** What this process writes: the tables of the definition, and the dead letters. */
  get committables(): readonly Committable[] {
    return [...this.#tables, this.deadLetters]
  }

  /** Whether a view reads the data file, or a commit needs it that is not done. */
  isInUse(path: string): boolean {
    return (
      this.#committer.hasWritten(path) || this.committables.some(({ fresh }) => fresh.reads(path))
    )
  }

  /**
   * Runs work that may change the files of a table, but not its rows, between two commits, and then shows its files as they are. Resolves to false,
   * with nothing done, when the definition has changed since the table was taken from `committables`, or a commit of it is to be tried again.
   */
  changeFiles(table: Committable, change: () => Promise<unknown>): Promise<boolean> {
    return this.#commitTurn.run(async () => {
      if (!this.committables.includes(table) || this.#committer.isPending(table)) return false
      const snapshotBefore = table.lake.snapshot?.id
      const reachBefore = reachOf(table)
      try {
        await change()
      } finally {
        if (reachOf(table) !== reachBefore)
          this.#die(new LostTable(`another process has committed records to ${table.lake.name}`))
        // Also after a failure: the table may have taken in what another writer has committed.
        if (table.lake.snapshot?.id !== snapshotBefore) await this.#committer.show(table)
      }
      return true
    })
  }

  /** A SELECT of a table as it was at one of its snapshots; undefined when there is no such table. The caller holds a lease. SNAPSHOT_UNKNOWN */
  pastScan(
    namespace: string | null,
    name: string,
    wanted: SnapshotWanted,
  ): Promise<string | undefined> {
    const standard = this.#definition?.namespace ?? defaultNamespace
    return this.#tableSet.pastScan(namespace ?? standard, name, wanted)
  }

  /** A SELECT of a table's rows of this moment, of no more columns and files than are wanted; undefined when there is none that is better than its view. `name` is in lower case. */
  narrowedScan(name: string, wanted: Narrowing, namespace: string): string | undefined {
    const table = this.#tables.find(
      ({ lake }) => lake.name.toLowerCase() === name && lake.namespace === namespace,
    )
    return table?.fresh.narrowed(wanted)
  }

  /** Looks for new records at once instead of at the next poll. */
  wake(): void {
    this.#wake.call()
  }

  /**
   * Resolves when everything that was answered before the call is in the fresh rows of these tables (null = all), so that a transaction
   * begun afterwards sees it. CATCHING_UP after `catchUpTimeoutMs`, or when one of them fails and reads no further; returns early when the signal aborts.
   */
  async caughtUp(names: readonly string[] | null, signal: AbortSignal): Promise<void> {
    const target = this.reader.watermark()
    if (target === undefined) return
    const { clock, settings } = this.#options
    this.#askedAtMs = clock.monotonicMs()
    const endMs = this.#askedAtMs + settings.catchUpTimeoutMs
    // A topic that was created a moment ago is attached by the next whole step.
    const enoughSteps = this.#steps.count + (this.#unattached() ? 2 : 0)
    const wanted =
      names === null || names.some((name) => name === 'dead_letters') ? null : new Set(names)
    let worked = true
    while (!signal.aborted) {
      if (this.#steps.count >= enoughSteps && this.#isLevel(target, wanted)) return
      requireNotHeld(this.held, wanted)
      const leftMs = endMs - clock.monotonicMs()
      if (leftMs <= 0)
        throw new QuestlogError(
          'CATCHING_UP',
          `the tables were not level with the log within ${settings.catchUpTimeoutMs} ms`,
        )
      // After a step that could do nothing the next one can't either, for now: asking for it at once, over and over, would leave no turn to timers and commits.
      if (worked || this.#steps.count < enoughSteps) this.wake()
      worked = await this.#steps.next(leftMs, signal)
    }
  }

  #isLevel(target: Watermark, wanted: ReadonlySet<string> | null): boolean {
    return this.#topics.every((topic) => {
      const limits = topic.limits(target)
      const tables = topic.tables.filter(
        (table) => wanted === null || wanted.has(table.definition.name),
      )
      return [...limits].every(
        ([partition, { visibleOffset }]) =>
          tables.every((table) => topic.applied(table, partition) >= visibleOffset) &&
          (wanted !== null || topic.head(partition) >= visibleOffset),
      )
    })
  }

  async #run(): Promise<void> {
    const { clock, settings } = this.#options
    while (!this.#stopping) {
      this.#wake.begin()
      const startMs = clock.monotonicMs()
      const worked = await this.#turn
        .run(() => this.#step())
        .catch((error: unknown) => this.#die(error))
      if (this.#fatal) return
      this.#steps.ended(worked)
      this.#startCommits()
      const isBusy = worked && this.#topics.some((topic) => topic.isBusy)
      const tookMs = clock.monotonicMs() - startMs
      if (worked && !isBusy) await clock.sleep(restForAll(tookMs, settings))
      const sinceAskedMs = clock.monotonicMs() - this.#askedAtMs
      await this.#wake.rest(isBusy ? 0 : restAfter(tookMs, sinceAskedMs, settings))
    }
  }

  async #step(): Promise<boolean> {
    const watermark = this.reader.watermark()
    if (watermark === undefined || watermark === this.#doneWith) return false
    this.#checkIncarnation(watermark)
    await this.#followTopics(watermark)
    if (this.#unattached()) await this.#attachTopics()
    let worked = false
    const wasHeld = this.held.size > 0 // it may be free again, and not have read
    for (const topic of this.#topics) worked = (await this.#stepTopic(topic, watermark)) || worked
    if (worked) this.#progress.write(this.#topics)
    const waits = this.failures.size + this.held.size > 0 || wasHeld || this.#unattached()
    this.#doneWith = worked || waits || this.#followed !== watermark ? undefined : watermark
    return worked
  }

  async #stepTopic(topic: TopicStream, watermark: Watermark): Promise<boolean> {
    const { name } = topic.topic
    const failure = this.failures.get(name)
    const nowMs = this.#options.clock.monotonicMs()
    if (failure !== undefined && nowMs < failure.retryAtMs) return false
    try {
      const worked = await topic.step(watermark)
      this.failures.delete(name)
      return worked
    } catch (error) {
      const again = failedAgain(failure, error, nowMs, this.#options.settings)
      this.failures.set(name, again)
      this.#options.logger.error('topic stopped', { topic: name, attempts: again.attempts, error })
      return false
    }
  }

  /** After a start of ingest the log may have lost what was read of it: with durability os, its tail. What is in memory must go. */
  #checkIncarnation(watermark: Watermark): void {
    if (watermark.incarnation === this.#incarnation) return
    this.#incarnation = watermark.incarnation
    for (const topic of this.#topics) {
      const limits = topic.limits(watermark)
      if (limits.size === 0) continue // deleted: what was read of it is still to be committed
      const isShort = [...limits].some(
        ([partition, end]) => topic.read(partition) > end.visibleOffset,
      )
      if (isShort || topic.ledger.isAhead([...limits.values()]))
        throw new Error(`the log of ${topic.topic.name} has lost records that were read`)
    }
  }

  /** A topic may get more partitions, and one that was deleted may be there again under its name: then it is attached anew. */
  async #followTopics(watermark: Watermark): Promise<void> {
    if (watermark === this.#followed) return
    const suspects = this.#topics.filter((topic) => {
      const { size } = topic.limits(watermark)
      return size === 0 || size > topic.topic.partitions
    })
    const known = suspects.length === 0 ? [] : await this.reader.topics()
    const outdated = suspects.filter(({ topic }) =>
      known.some(
        ({ name, id, partitions }) =>
          name === topic.name && (id !== topic.id || partitions > topic.partitions),
      ),
    )
    if (outdated.length === 0 || (await this.#reattach(outdated))) this.#followed = watermark
  }

  /** False when what was read could not be committed: then it stays as it is for now. */
  async #reattach(outdated: readonly TopicStream[]): Promise<boolean> {
    const nowMs = this.#options.clock.monotonicMs()
    if (this.#tables.some(({ failure }) => failure !== null && nowMs < failure.retryAtMs))
      return false
    const failed = await this.#flush()
    if (failed.length > 0 || this.deadLetters.fresh.totalRows > 0) return false
    // Offsets of a topic that was made anew may be those of the old one again: nothing is measured by how far they reached.
    for (const { tables } of outdated)
      await this.#writer.run((connection) =>
        clearRows(
          connection,
          tables.map(({ fresh }) => fresh),
        ),
      )
    for (const topic of outdated) {
      topic.close()
      this.failures.delete(topic.topic.name)
      for (const { next } of topic.tables) next.clear()
    }
    this.#topics = this.#topics.filter((topic) => !outdated.includes(topic))
    await this.#attachTopics()
    return true
  }

  #unattached(): boolean {
    return this.#topics.length < this.#topicNames.size
  }

  async #attachTopics(): Promise<void> {
    const definition = this.#definition
    if (definition === undefined) return
    const known = await this.reader.topics()
    const attached: TopicStream[] = []
    for (const name of this.#topicNames) {
      const running = this.#topics.find((topic) => topic.topic.name === name)
      const topic = known.find((candidate) => candidate.name === name)
      if (running !== undefined) attached.push(running)
      else if (topic !== undefined) attached.push(await this.#attach(definition, topic))
    }
    this.#topics = attached
    // From now on retention waits for them.
    const isNew = ({ topic, tables }: TopicStream) =>
      tables.length === 0 && !this.#ledgerStore.has(topic.id)
    if (attached.some(isNew)) await this.#commitTurn.run(() => this.#saveLedgers())
  }

  async #attach(definition: Definition, topic: Topic): Promise<TopicStream> {
    const tables = this.#tables.filter((table) => table.definition.topic === topic.name)
    for (const table of tables) {
      for (const [partition, offset] of committedOffsets(table.lake, topic.id))
        table.next.set(partition, offset)
    }
    const limits = (this.reader.watermark()?.partitions ?? []).filter(
      (entry) => entry.topicId === topic.id,
    )
    const ledger = this.#ledger(definition, topic, limits)
    const setAside = new SetAsideOffsets(
      topic.id,
      parseSetAside(this.deadLetters.lake.properties[setAsideProperty]),
    )
    const context = {
      reader: this.reader,
      writer: this.#writer,
      deadLetters: this.deadLetters.fresh,
      settings: this.#options.settings,
      held: () => this.held,
    }
    const stream = new TopicStream({
      topic,
      conversion: tables[0]?.fresh.shared.conversion ?? convertTopic(definition, topic.name),
      tables,
      ledger,
      setAside,
      connection: await this.#options.instance.connect(),
      context,
    })
    stream.beginLedger(new Map(limits.map((limit) => [limit.partition, limit])))
    return stream
  }

  /** The stored ledger of a topic, unless the definition has changed or the log has lost what it counted: then an empty one. */
  #ledger(
    definition: Definition,
    topic: Topic,
    limits: readonly PartitionWatermark[],
  ): TopicLedger {
    const key = ledgerKey(definition, topic.name)
    const stored = this.#ledgers.get(topic.id)
    const ledger = stored?.key === key && !stored.isAhead(limits) ? stored : new TopicLedger(key)
    this.#ledgers.set(topic.id, ledger)
    return ledger
  }

  /** Commits everything that is fresh; a table that is lost ends the stream. */
  async #flush(): Promise<readonly StreamTable[]> {
    this.#schedule.hurry()
    try {
      return await this.#commitTurn.run(() => this.#schedule.flush(this.#topics))
    } catch (error) {
      this.#die(error)
      throw error
    }
  }

  #startCommits(): void {
    if (this.#committing) return
    const due = this.#schedule.due(this.#topics)
    if (due.length === 0 && !this.#schedule.deadLettersDue() && !this.#ledgersDue()) return
    this.#committing = true
    // Errors end in #die; stop() waits for the turn.
    void this.#commitTurn
      .run(() => this.#schedule.runDue(due).then(() => this.#saveLedgers()))
      .catch((error: unknown) => this.#die(error))
      .finally(() => (this.#committing = false))
  }

  /** With durability os the log's tail may be in the page cache only. A commit reaches no further than what is synced, so sync it here. */
  async #syncLog(topic: TopicStream): Promise<void> {
    const watermark = this.reader.watermark()
    if (watermark === undefined) return
    for (const [partition, limit] of topic.limits(watermark)) {
      if (limit.syncedOffset < limit.visibleOffset)
        await this.reader.syncSegment(topic.topic, partition, limit.segmentBaseOffset)
    }
  }

  async #release(topic: TopicStream): Promise<void> {
    await this.#writer.runRows(async (connection) => {
      const release = topic.tables[0]?.fresh.shared.release()
      if (release === undefined) return
      const released = await this.#writer.changeInOneText(connection, release)
      released()
    })
  }

  #ledgersDue(): boolean {
    return this.#ledgerStore.isDue(this.#topics, this.deadLetters.fresh.totalRows)
  }

  #saveLedgers(): Promise<void> {
    return this.#ledgerStore.save(this.#topics, this.deadLetters.fresh.totalRows)
  }

  #die(error: unknown): false {
    if (this.#fatal) return false
    this.#fatal = true
    this.#options.logger.error('the stream must start anew', { error })
    this.#options.onFatal(error)
    return false
  }
}
