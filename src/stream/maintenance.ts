import type { DuckDBInstance } from '@duckdb/node-api'
import type { Clock } from '../core/clock.ts'
import type { DuckDBConnection, Query } from '../core/duckdb.ts'
import { asQuestlogError, QuestlogError } from '../core/errors.ts'
import { Exclusive } from '../core/exclusive.ts'
import type { Files } from '../core/files.ts'
import type { Logger } from '../core/logger.ts'
import type { Settings } from '../core/settings.ts'
import { Cleaner } from '../lake/cleaner.ts'
import { compactFiles } from '../lake/compact.ts'
import { planCompaction, type CompactionPlan, type CompactionPolicy } from '../lake/compaction.ts'
import { expiredSnapshots, type SnapshotPolicy } from '../lake/expiry.ts'
import type { LiveFile } from '../lake/manifest.ts'
import type { LakeTable } from '../lake/table.ts'
import { failedAgain, type Failure } from './failure.ts'

export interface MaintainedTable {
  readonly lake: LakeTable
}

/** Who writes the tables and shows them: the stream. */
export interface TableOwner {
  readonly committables: readonly MaintainedTable[]
  /** Runs a change of a table's files that leaves its rows alone; false when it can not be made now. */
  changeFiles(table: MaintainedTable, change: () => Promise<unknown>): Promise<boolean>
  /** Gives a test whether everything that reads the tables now has ended. */
  readersNow(): () => boolean
  /** Whether a file must stay although no snapshot names it. */
  isInUse(path: string): boolean
}

/** What a command wants done to a table at once. */
export type TableWork = { readonly namespace: string; readonly name: string } & (
  | { readonly work: 'compact' }
  | {
      readonly work: 'expire'
      /** Null = as the settings say. */
      readonly ageMsMin: number | null
      readonly countMin: number | null
    }
)

export interface TableWorkDone {
  readonly files: { readonly before: number; readonly after: number }
  readonly snapshots: { readonly before: number; readonly after: number }
  readonly removedFiles: number
  /** Files of removed snapshots that may still be read. */
  readonly waitingFiles: number
}

/** Runs statements on data files where they are in nobody's way, one at a time. */
export interface Background {
  /** OVERLOADED when everything else left it too little of the machine to be done in time. */
  query(sql: string, timeoutMs: number): ReturnType<Query>
  /** Gives up the statement that runs; later ones are refused. */
  close(): Promise<void>
}

export interface MaintenanceOptions {
  readonly stream: TableOwner
  readonly files: Files
  readonly clock: Clock
  readonly logger: Logger
  readonly settings: Settings
  /** Opens a DuckDB for merging files, with memory and threads of its own. Called when there is something to merge for the first time. */
  readonly openDuckdb: () => Promise<DuckDBInstance>
  /** For merges of more than a little; without it that DuckDB has them too. */
  readonly background?: Background
}

/** A day is closed when it is over in UTC and nothing was added to it for this long. */
const closedAfterMs = 600_000
/** So little is merged in this process: that takes no more of it than to start another one. */
const little = { rows: 10_000, bytes: 4 * 1024 * 1024 }
/** In the background a merge may take so long, and as much longer for each MiB. An idle machine needs a hundredth of it. */
const backgroundMs = { least: 60_000, eachMiB: 1_000 }
/** Snapshots are given up so many at a time, or a part of their age after the last time: each time is a commit. */
const expiryCount = 32
const expiriesPerAge = 6

/**
 * Looks after the tables in the background, one piece of work at a time and with a pause as long as the work after it: merges small files, gives up old
 * snapshots, removes what nothing names. Everything else goes on meanwhile; a failure is logged, and tried again later.
 */
export class Maintenance {
  readonly #options: MaintenanceOptions
  readonly #states = new Map<string, TableState>()
  readonly #stopped = new AbortController()
  /** One piece of work at a time. */
  readonly #turn = new Exclusive<null>(null)
  #duckdb: { readonly instance: DuckDBInstance; readonly connection: DuckDBConnection } | undefined
  #loop: Promise<void> | undefined

  constructor(options: MaintenanceOptions) {
    this.#options = options
  }

  /** Why a table is not looked after at the moment, by `<namespace>.<name>`. */
  get failures(): ReadonlyMap<string, Failure> {
    const failed = [...this.#states.values()].flatMap(({ table: { lake }, failure }) =>
      failure === null ? [] : [[`${lake.namespace}.${lake.name}`, failure] as const],
    )
    return new Map(failed)
  }

  start(): void {
    this.#loop ??= this.#run()
  }

  /** Ends what is going on; a merge that is under way is given up. */
  async stop(): Promise<void> {
    this.#stopped.abort()
    this.#duckdb?.connection.interrupt()
    await this.#options.background?.close()
    await this.#loop
    await this.#turn.run(async () => {})
    this.#duckdb?.connection.closeSync()
    this.#duckdb?.instance.closeSync()
    this.#duckdb = undefined
  }

  async #run(): Promise<void> {
    const { clock, settings } = this.#options
    const signal = this.#stopped.signal
    while (!signal.aborted) {
      await clock.sleep(settings.maintenanceIntervalMs, signal)
      await this.runOnce()
    }
  }

  /** Does everything that is due by now. Not while it runs by itself. */
  async runOnce(): Promise<void> {
    while (!this.#stopped.signal.aborted && (await this.#pass())) {
      // Files are merged one plan a table and pass until none is left.
    }
  }

  /**
   * Does something to one table now, and resolves when it is done. `compact` merges the files of every day, closed or not, into as few as the size allows. TABLE_UNKNOWN when
   * the definition does not name the table; COMMIT_CONFLICT when a commit of it is to be tried again.
   */
  do(wanted: TableWork): Promise<TableWorkDone> {
    return this.#turn.run(async () => {
      this.#requireGoingOn()
      const state = this.#find(wanted)
      const { lake } = state.table
      const filesBefore = (await lake.liveFiles()).length
      const snapshotsBefore = lake.metadata.snapshots?.length ?? 0
      if (wanted.work === 'compact') await this.#compactAll(state)
      else await this.#expire(state, wanted)
      const removedFiles = await state.cleaner.removeExpired()
      return {
        files: { before: filesBefore, after: (await lake.liveFiles()).length },
        snapshots: { before: snapshotsBefore, after: lake.metadata.snapshots?.length ?? 0 },
        removedFiles,
        waitingFiles: state.cleaner.waiting,
      }
    })
  }

  #requireGoingOn(): void {
    if (this.#stopped.signal.aborted)
      throw new QuestlogError('SHUTTING_DOWN', 'questlog is stopping')
  }

  #find({ namespace, name }: TableWork): TableState {
    const state = this.#current().find(
      ({ table: { lake } }) => lake.namespace === namespace && lake.name === name,
    )
    if (state !== undefined) return state
    throw new QuestlogError(
      'TABLE_UNKNOWN',
      `the definition has no table ${namespace}.${name}`,
      { table: `${namespace}.${name}` },
      { hint: 'a table of an earlier definition can be changed while questlog is stopped' },
    )
  }

  async #compactAll({ table }: TableState): Promise<void> {
    for (;;) {
      const plan = planCompaction(
        await table.lake.liveFiles(),
        this.#compactionPolicy(),
        () => true,
      )
      if (plan === undefined) return
      if (!(await this.#compact(table, plan))) throw busy(table)
    }
  }

  async #expire(
    { table, cleaner }: TableState,
    wanted: { readonly ageMsMin: number | null; readonly countMin: number | null },
  ): Promise<void> {
    const standard = policyOf(this.#options.settings)
    const policy = {
      ...standard,
      ageMsMin: wanted.ageMsMin ?? standard.ageMsMin,
      countMin: wanted.countMin ?? standard.countMin,
    }
    const isDone = await this.#options.stream.changeFiles(table, () => cleaner.expire(policy))
    if (!isDone) throw busy(table)
  }

  #compactionPolicy(): CompactionPolicy {
    const { compactionBytesMax, liveFilesMax } = this.#options.settings
    return { bytesMax: compactionBytesMax, liveFilesMax }
  }

  /** Looks at every table once; whether there may be more to merge. */
  async #pass(): Promise<boolean> {
    const { clock } = this.#options
    const signal = this.#stopped.signal
    let hasMore = false
    for (const state of this.#current()) {
      if (signal.aborted) return false
      if (state.failure !== null && clock.monotonicMs() < state.failure.retryAtMs) continue
      const startedMs = clock.monotonicMs()
      if (await this.#turn.run(() => this.#attempt(state))) {
        hasMore = true
        await clock.sleep(clock.monotonicMs() - startedMs, signal)
      }
    }
    return hasMore
  }

  async #attempt(state: TableState): Promise<boolean> {
    const { clock, settings, logger } = this.#options
    try {
      // Room first: merging needs some.
      const failed = await this.#clean(state).catch((error: unknown) => ({ error }))
      const hasMerged = await this.#merge(state)
      if (failed !== undefined) throw failed.error
      state.failure = null
      return hasMerged
    } catch (error) {
      if (this.#stopped.signal.aborted) return false
      state.failure = failedAgain(state.failure, error, clock.monotonicMs(), settings)
      logger.warn('a table could not be looked after', { table: state.table.lake.name, error })
      return false
    }
  }

  async #clean(state: TableState): Promise<void> {
    const { logger, stream } = this.#options
    const { table, cleaner } = state
    let snapshots = 0
    if (this.#isExpiryDue(state))
      await stream.changeFiles(table, async () => (snapshots = await cleaner.expire()))
    const files = (await cleaner.removeExpired()) + (await cleaner.removeOrphans())
    if (snapshots + files > 0)
      logger.info('cleaned up', { table: table.lake.name, snapshots, files })
  }

  #isExpiryDue(state: TableState): boolean {
    const { clock, settings } = this.#options
    const { lake } = state.table
    const count = expiredSnapshots(lake.metadata, policyOf(settings), clock.nowMs()).length
    const nowMs = clock.monotonicMs()
    const waitedMs = nowMs - state.expiredAtMs
    if (
      count < expiryCount &&
      (count === 0 || waitedMs < settings.snapshotAgeMsMin / expiriesPerAge)
    )
      return false
    state.expiredAtMs = nowMs
    return true
  }

  async #merge({ table }: TableState): Promise<boolean> {
    const { clock } = this.#options
    const { lake } = table
    const plan = planCompaction(await lake.liveFiles(), this.#compactionPolicy(), (day, files) =>
      isClosed(lake, day, files, clock.nowMs()),
    )
    return plan !== undefined && (await this.#compact(table, plan))
  }

  async #compact(table: MaintainedTable, plan: CompactionPlan): Promise<boolean> {
    const { clock, logger } = this.#options
    const startedMs = clock.monotonicMs()
    const isDone = await this.#compactSomewhere(table, plan)
    if (isDone)
      logger.info('merged files', {
        table: table.lake.name,
        day: plan.day,
        files: plan.files.length,
        rows: sizeOf(plan).rows,
        elapsedMs: Math.round(clock.monotonicMs() - startedMs),
      })
    return isDone
  }

  async #compactSomewhere(table: MaintainedTable, plan: CompactionPlan): Promise<boolean> {
    const { background, logger } = this.#options
    const { rows, bytes } = sizeOf(plan)
    const isLittle = rows <= little.rows && bytes <= little.bytes
    if (background !== undefined && !isLittle) {
      const timeoutMs = backgroundMs.least + (bytes / 1024 ** 2) * backgroundMs.eachMiB
      try {
        return await this.#compactBy((sql) => background.query(sql, timeoutMs), table, plan)
      } catch (error) {
        if (asQuestlogError(error).code !== 'OVERLOADED') throw error
        // Files must not pile up for ever on a machine that is always busy: statements would take more of it with each.
        logger.warn('a merge is done again, not in the background', { error })
      }
    }
    this.#duckdb ??= await this.#open()
    this.#requireGoingOn() // the stop could interrupt nothing yet
    return this.#compactBy(this.#duckdb.connection, table, plan)
  }

  #compactBy(
    connection: DuckDBConnection | Query,
    table: MaintainedTable,
    plan: CompactionPlan,
  ): Promise<boolean> {
    const { files, stream } = this.#options
    const during = (change: () => Promise<unknown>) => stream.changeFiles(table, change)
    return compactFiles({ connection, files, table: table.lake, plan, during })
  }

  async #open() {
    const instance = await this.#options.openDuckdb()
    return { instance, connection: await instance.connect() }
  }

  /** The tables there are, with what is known of them. A definition that changed has opened them anew. */
  #current(): readonly TableState[] {
    const { stream, files, clock, settings } = this.#options
    const current = stream.committables.map((table) => {
      const known = this.#states.get(table.lake.uuid)
      const cleaner =
        known?.cleaner ??
        new Cleaner({
          files,
          clock,
          table: table.lake,
          snapshots: policyOf(settings),
          orphanAgeMsMin: settings.orphanAgeMsMin,
          readersNow: () => stream.readersNow(),
          isInUse: (path) => stream.isInUse(path),
        })
      cleaner.use(table.lake)
      const { failure = null, expiredAtMs = Number.NEGATIVE_INFINITY } = known ?? {}
      return { table, cleaner, failure, expiredAtMs }
    })
    this.#states.clear()
    for (const state of current) this.#states.set(state.table.lake.uuid, state)
    return current
  }
}

function sizeOf({ files }: CompactionPlan) {
  return {
    rows: files.reduce((sum, file) => sum + file.recordCount, 0),
    bytes: files.reduce((sum, file) => sum + file.sizeBytes, 0),
  }
}

interface TableState {
  readonly table: MaintainedTable
  readonly cleaner: Cleaner
  failure: Failure | null
  /** When snapshots were given up for the last time, monotonic milliseconds. */
  expiredAtMs: number
}

function busy({ lake }: MaintainedTable): QuestlogError {
  return new QuestlogError(
    'COMMIT_CONFLICT',
    `${lake.namespace}.${lake.name} can't be changed now: its definition has changed, or a commit is to be tried again`,
    { table: `${lake.namespace}.${lake.name}` },
    { hint: 'try again; see `questlog ps`' },
  )
}

export function policyOf(settings: Settings): SnapshotPolicy {
  return {
    ageMsMin: settings.snapshotAgeMsMin,
    countMin: settings.snapshotCountMin,
    countMax: settings.snapshotCountMax,
  }
}

/** Whether a day of a table is over, and nothing was added to it for a while. */
export function isClosed(
  lake: LakeTable,
  day: string | null,
  files: readonly LiveFile[],
  nowMs: number,
): boolean {
  if (day === null || day >= new Date(nowMs).toISOString().slice(0, 10)) return false
  const recent = new Set(
    (lake.metadata.snapshots ?? [])
      .filter((snapshot) => nowMs - snapshot['timestamp-ms'] < closedAfterMs)
      .map((snapshot) => String(snapshot['snapshot-id'])),
  )
  return !files.some((file) => recent.has(file.snapshotId))
}
