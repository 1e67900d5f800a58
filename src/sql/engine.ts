import { availableParallelism } from 'node:os'
import type { DuckDBInstance } from '@duckdb/node-api'
import type { Clock } from '../core/clock.ts'
import { asQuestlogError, QuestlogError, type ErrorCode } from '../core/errors.ts'
import type { Logger } from '../core/logger.ts'
import type { Metric } from '../core/metrics.ts'
import type { Settings } from '../core/settings.ts'
import type { Narrowing } from '../lake/pruning.ts'
import type { SnapshotWanted } from '../lake/time-travel.ts'
import { quoteName } from '../plan/columns.ts'
import {
  confineFiles,
  readViews,
  readVisibleNames,
  tablesToWaitFor,
  type Views,
} from './catalog.ts'
import { ConnectionPool, type SqlConnection } from './connections.ts'
import { explainFailure, readFailure, type VisibleNames } from './duckdb-error.ts'
import { cancelled, execute, PrefixedError, type RowsEvent } from './execute.ts'
import { copyRows } from './copy-rows.ts'
import { Gate } from './gate.ts'
import { splitStatements } from './lexer.ts'
import { SqlError } from './sql-error.ts'
import { planStatement, type Plan } from './statements.ts'
import type { NamedTables } from './syntax-tree.ts'
import { TreeCache } from './tree-cache.ts'
import { isPastTable, takeOutPastTables, type PastTable } from './time-travel.ts'

/** What the stream promises to the statements. */
export interface FreshSource {
  /** Another number after every change of which tables there are, once the change is seen by a new transaction. */
  readonly tablesVersion: number
  /** Resolves when everything answered before the call is visible to a new transaction, for these tables (null = all); throws CATCHING_UP after the bound. */
  caughtUp(tables: readonly string[] | null, signal: AbortSignal): Promise<void>
  /** Until release(), no data file that a view names is unlinked. */
  lease(): { release(): void }
  /**
   * A SELECT of a table as it was at a snapshot, without fresh rows; undefined when there is no such table. Under a lease. `namespace` is null when the
   * statement names none. Throws SNAPSHOT_UNKNOWN.
   */
  pastScan(
    namespace: string | null,
    name: string,
    wanted: SnapshotWanted,
  ): Promise<string | undefined>
  /**
   * A SELECT of the rows that a table of the namespace has at this moment, with no more columns and files than are wanted; undefined when there is none that is better than its view. `name` is in lower
   * case. Under a lease. Its text may fail after this moment, or give the rows of it: never fewer, nor some of them twice.
   */
  narrowedScan(name: string, wanted: Narrowing, namespace: string): string | undefined
}

export interface SqlEngineOptions {
  /** The in-memory instance in which the stream keeps the views. It is confined to `lakeFolder` and stays the caller's to close. */
  readonly instance: DuckDBInstance
  /** Schema in which names without one are looked up. */
  readonly namespace: string
  readonly settings: Settings
  readonly clock: Clock
  readonly logger: Logger
  readonly source: FreshSource
  /** Absolute path; the only folder that statements can read files of. */
  readonly lakeFolder: string
}

export interface SqlRequest {
  /** One statement, or several with semicolons between them. */
  readonly sql: string
  /** True: answer at once from what is there, without waiting for what was answered before. */
  readonly stale: boolean
  readonly signal: AbortSignal
}

export interface CopyRequest {
  /** One SELECT. */
  readonly sql: string
  /** A folder that exists, in the lake folder. */
  readonly folder: string
  /** What the names of the files start with. */
  readonly fileName: string
  /** Columns that become folders `name=value`, and are left out of the files. */
  readonly partitionBy: readonly string[]
  readonly signal: AbortSignal
}

export interface SqlStats {
  readonly rows: number
  /** From the start of the statement (the request, for the first one) to its last row. */
  readonly elapsedMs: number
  /** How much of it was spent waiting: for a turn, and for the tables to catch up. */
  readonly waitedMs: number
  readonly stale: boolean
}

/** Every statement of a script gives `columns`, any number of `rows`, then `end`. */
export type SqlEvent = RowsEvent | { readonly kind: 'end'; readonly stats: SqlStats }

export interface SqlEngine {
  /**
   * Runs a script: every statement is checked before the first one runs, then they run in order, each in a read
   * transaction of its own. Rows are made as they are asked for; a caller that stops asking must call `return()`.
   * Throws SQL_INVALID, SQL_REFUSED, SQL_TOO_MANY, SQL_CANCELLED, CATCHING_UP, OVERLOADED, SHUTTING_DOWN.
   */
  run(request: SqlRequest): AsyncGenerator<SqlEvent, void, undefined>
  /** Writes the rows of one SELECT as Parquet files into a folder, as `run` would give them, and resolves to their number. Throws what `run` throws. */
  copy(request: CopyRequest): Promise<number>
  metrics(): readonly Metric[]
  /** Cancels what runs and waits for its end. May be called again. */
  close(): Promise<void>
}

/** Makes the engine on a DuckDB instance; see `SqlEngineOptions`. */
export async function createSqlEngine(options: SqlEngineOptions): Promise<SqlEngine> {
  await confineFiles(options.instance, options.lakeFolder)
  return new DuckdbEngine(options)
}

class DuckdbEngine implements SqlEngine {
  readonly #options: SqlEngineOptions
  readonly #gate: Gate
  readonly #turns: Gate
  readonly #pool: ConnectionPool
  readonly #trees = new TreeCache()
  /** One entry a running script: how to stop it, and a promise of its end. */
  readonly #running = new Map<AbortController, Promise<void>>()
  #closing: QuestlogError | undefined
  readonly #failures = new Map<ErrorCode, number>()
  #served = 0
  #views: { readonly version: number; readonly views: Views } | undefined

  constructor(options: SqlEngineOptions) {
    this.#options = options
    const { queryConcurrencyMax, queryQueueMax, queryTurnsMax } = options.settings
    this.#gate = new Gate(queryConcurrencyMax, queryQueueMax)
    this.#turns = new Gate(queryTurnsMax || availableParallelism(), queryConcurrencyMax)
    this.#pool = new ConnectionPool(options.instance, options.namespace)
  }

  async *run(request: SqlRequest): AsyncGenerator<SqlEvent, void, undefined> {
    const startMs = this.#options.clock.monotonicMs()
    const running = this.#begin(request.signal)
    try {
      yield* this.#runScript(request, running.signal, startMs)
    } catch (error) {
      throw this.#count(error)
    } finally {
      running.end()
    }
  }

  async copy(request: CopyRequest): Promise<number> {
    const running = this.#begin(request.signal)
    const leave = await this.#gate.enter(running.signal).catch((error: unknown) => {
      running.end()
      throw this.#count(error)
    })
    let connection: SqlConnection | undefined
    try {
      connection = await this.#pool.take()
      return await this.#copy(request, connection, running.signal)
    } catch (error) {
      throw this.#count(error)
    } finally {
      if (connection !== undefined) this.#pool.drop(connection)
      leave()
      running.end()
    }
  }

  async #copy(
    request: CopyRequest,
    connection: SqlConnection,
    signal: AbortSignal,
  ): Promise<number> {
    const { namespace, source } = this.#options
    const { serialize } = connection
    const { sql, past } = takeOutPastTables(request.sql)
    const [part, ...more] = readParts(sql)
    const pastLease = past.length === 0 ? undefined : source.lease()
    try {
      for (const table of past) await this.#showPast(table, connection)
      const plan =
        part === undefined || more.length > 0
          ? undefined
          : await planStatement(sql, part, { namespace, serialize })
      if (plan?.kind !== 'select')
        throw new SqlError('SQL_REFUSED', 'only the rows of one SELECT can be written to files')
      const views = await this.#currentViews(connection)
      const tables = tablesToWaitFor(withoutPast(plan.named), views, namespace)
      if (tables === null || tables.length > 0) await source.caughtUp(tables, signal)
      return await this.#copyPlanned(plan, request, connection, signal)
    } finally {
      pastLease?.release()
    }
  }

  async #copyPlanned(
    plan: Extract<Plan, { kind: 'select' }>,
    request: CopyRequest,
    connection: SqlConnection,
    signal: AbortSignal,
  ): Promise<number> {
    const { duckdb } = connection
    const interrupt = () => duckdb.interrupt()
    signal.addEventListener('abort', interrupt, { once: true })
    const lease = this.#options.source.lease()
    try {
      return await copyRows(duckdb, plan, request)
    } catch (error) {
      throw signal.aborted ? cancelled(signal) : await this.#explain(error, plan, connection)
    } finally {
      lease.release()
      signal.removeEventListener('abort', interrupt)
    }
  }

  /** What is known of a request while it runs: it can be cancelled, by its caller, by the time, by the end of the engine. */
  #begin(outer: AbortSignal): { readonly signal: AbortSignal; end(): void } {
    const { clock, settings } = this.#options
    const stop = new AbortController()
    const onAbort = () => stop.abort(outer.reason)
    let finish = () => {}
    const finished = new Promise<void>((resolve) => {
      finish = resolve
    })
    this.#running.set(stop, finished)
    outer.addEventListener('abort', onAbort, { once: true })
    if (outer.aborted) onAbort()
    if (this.#closing !== undefined) stop.abort(this.#closing)
    const stopTimer = clock.after(settings.queryTimeoutMs, () =>
      stop.abort(timeoutError(settings.queryTimeoutMs)),
    )
    const end = () => {
      outer.removeEventListener('abort', onAbort)
      stopTimer()
      this.#running.delete(stop)
      finish()
    }
    return { signal: stop.signal, end }
  }

  #count(error: unknown): QuestlogError {
    const known = asQuestlogError(error)
    this.#failures.set(known.code, (this.#failures.get(known.code) ?? 0) + 1)
    if (known.code === 'INTERNAL')
      this.#options.logger.error('a statement failed', { error: known.cause ?? known })
    return known
  }

  async *#runScript(
    request: SqlRequest,
    signal: AbortSignal,
    startMs: number,
  ): AsyncGenerator<SqlEvent> {
    const { clock, source } = this.#options
    const { sql, past } = takeOutPastTables(request.sql)
    const parts = readParts(sql)
    const leave = await this.#gate.enter(signal).catch((error: unknown) => {
      throw signal.aborted ? cancelled(signal) : error
    })
    let connection: SqlConnection | undefined
    const lease = past.length === 0 ? undefined : source.lease()
    try {
      connection = await this.#pool.take()
      for (const table of past) await this.#showPast(table, connection)
      const plans: Plan[] = []
      const { serialize } = connection
      const planner = {
        namespace: this.#options.namespace,
        serialize: (text: string) => this.#trees.tree(text, serialize),
      }
      for (const part of parts) plans.push(await planStatement(sql, part, planner))
      let statementStartMs = startMs
      const queuedMs = clock.monotonicMs() - startMs
      for (const [index, plan] of plans.entries()) {
        const times = { startMs: statementStartMs, queuedMs: index === 0 ? queuedMs : 0 }
        yield* this.#runPlan(plan, connection, request.stale, signal, times)
        statementStartMs = clock.monotonicMs()
      }
      for (const { view } of past) await connection.duckdb.run(`DROP VIEW temp.${quoteName(view)}`)
      this.#pool.put(connection)
      connection = undefined
    } finally {
      lease?.release()
      // Not put back: it failed, or was stopped half-way.
      if (connection !== undefined) this.#pool.drop(connection)
      leave()
    }
  }

  /** Makes a view of this connection, of a table as it was. */
  async #showPast(
    { view, namespace, name, wanted, place }: PastTable,
    { duckdb }: SqlConnection,
  ): Promise<void> {
    const scan = await this.#options.source.pastScan(namespace, name, wanted)
    if (scan === undefined)
      throw new SqlError('SQL_INVALID', `table "${name}" does not exist`, { place })
    await duckdb.run(`CREATE OR REPLACE TEMP VIEW ${quoteName(view)} AS ${scan}`)
  }

  async *#runPlan(
    plan: Plan,
    connection: SqlConnection,
    stale: boolean,
    signal: AbortSignal,
    times: { readonly startMs: number; readonly queuedMs: number },
  ): AsyncGenerator<SqlEvent> {
    const { clock, namespace, source } = this.#options
    const { duckdb } = connection
    const waitStartMs = clock.monotonicMs()
    let views = await this.#currentViews(connection)
    if ((plan.kind === 'select' || plan.kind === 'explain') && !stale) {
      const tables = tablesToWaitFor(withoutPast(plan.named), views, namespace)
      if (tables === null || tables.length > 0) {
        await source.caughtUp(tables, signal).catch((error: unknown) => {
          throw signal.aborted ? cancelled(signal) : error
        })
        // What was waited for may have been the first rows of a table.
        if (tables === null) views = await this.#currentViews(connection)
      }
    }
    const giveTurn = await this.#takeTurn(signal)
    const waitedMs = times.queuedMs + (clock.monotonicMs() - waitStartMs)
    let rows = 0
    const lease = source.lease()
    let mayBeOpen = true
    try {
      const narrowedScan = (name: string, wanted: Narrowing) =>
        source.narrowedScan(name, wanted, namespace)
      const execution = { duckdb, signal, clock, namespace, views, narrowedScan }
      for await (const event of execute(plan, execution)) {
        if (event.kind === 'rows') rows += event.chunk.rowCount
        yield event
      }
      mayBeOpen = false
    } catch (error) {
      await rollback(connection)
      mayBeOpen = false
      throw await this.#explain(error, plan, connection)
    } finally {
      if (mayBeOpen) await rollback(connection)
      lease.release()
      giveTurn()
    }
    this.#served++
    const elapsedMs = clock.monotonicMs() - times.startMs
    yield { kind: 'end', stats: { rows, elapsedMs, waitedMs, stale } }
  }

  /**
   * Small statements one after another are answered sooner than all at the same time, each of them on a part of a processor. Resolves to what gives the turn
   * to the next one, which is done after `queryTurnMs` in any case: a long statement holds nobody up.
   */
  async #takeTurn(signal: AbortSignal): Promise<() => void> {
    const { clock, settings } = this.#options
    const leave = await this.#turns.enter(signal).catch((error: unknown) => {
      throw signal.aborted ? cancelled(signal) : error
    })
    const stopTimer = clock.after(settings.queryTurnMs, leave)
    return () => {
      stopTimer()
      leave()
    }
  }

  /** DuckDB takes longer to list its views than to answer a small statement. */
  async #currentViews({ duckdb }: SqlConnection): Promise<Views> {
    const version = this.#options.source.tablesVersion
    if (this.#views?.version === version) return this.#views.views
    const views = await readViews(duckdb, this.#options.namespace)
    this.#views = { version, views }
    return views
  }

  /** DuckDB's error in the words of the user's own statement and tables. */
  async #explain(error: unknown, plan: Plan, connection: SqlConnection): Promise<unknown> {
    const prefixBytes = error instanceof PrefixedError ? error.prefixBytes : 0
    const cause = error instanceof PrefixedError ? error.cause : error
    const failure = readFailure(cause)
    if (failure === undefined || plan.kind === 'show') return cause
    const position = failure.position === undefined ? undefined : failure.position - prefixBytes
    let names: VisibleNames = { tables: [], columns: [] }
    try {
      names = await readVisibleNames(connection.duckdb, this.#options.namespace, plan.named)
    } catch {
      // Suggestions are a kindness; the failure itself is what must be told.
    }
    return explainFailure({ ...failure, position }, plan.source, names, cause)
  }

  metrics(): readonly Metric[] {
    const failed = [...this.#failures].map(([code, value]) => ({ labels: { code }, value }))
    return [
      {
        name: 'questlog_sql_statements_total',
        help: 'Statements answered to their last row.',
        type: 'counter',
        values: [{ value: this.#served }],
      },
      {
        name: 'questlog_sql_failures_total',
        help: 'Requests that ended with an error, by its code.',
        type: 'counter',
        values: failed,
      },
      {
        name: 'questlog_sql_running',
        help: 'Requests that run now.',
        type: 'gauge',
        values: [{ value: this.#gate.running }],
      },
      {
        name: 'questlog_sql_waiting',
        help: 'Requests that wait for their turn.',
        type: 'gauge',
        values: [{ value: this.#gate.waiting }],
      },
    ]
  }

  async close(): Promise<void> {
    this.#closing ??= new QuestlogError('SHUTTING_DOWN', 'questlog is stopping')
    for (const stop of this.#running.keys()) stop.abort(this.#closing)
    // A caller that neither asks for more rows nor gives up can't hold the stop up.
    const enough = new AbortController()
    const { clock, settings } = this.#options
    await Promise.race([
      Promise.all(this.#running.values()),
      clock.sleep(settings.drainTimeoutMs, enough.signal),
    ])
    enough.abort()
    this.#pool.close()
  }
}

/** What was is there already. */
function withoutPast(named: NamedTables): NamedTables {
  return { ...named, tables: named.tables.filter(({ name }) => !isPastTable(name)) }
}

function readParts(sql: string) {
  // DuckDB's parser reads up to a NUL: what is checked and what runs could differ.
  if (sql.includes('\0')) throw new SqlError('SQL_INVALID', 'the statement holds a NUL character')
  const parts = splitStatements(sql)
  if (parts.length === 0) throw new SqlError('SQL_INVALID', 'there is no statement')
  return parts
}

async function rollback({ duckdb }: SqlConnection): Promise<void> {
  // The connection is given up afterwards; an error here says only that nothing was open.
  await duckdb.run('ROLLBACK').catch(() => {})
}

function timeoutError(timeoutMs: number): SqlError {
  return new SqlError('SQL_CANCELLED', `the statement took longer than ${timeoutMs} ms`, {
    hint: 'narrow the statement, or raise queryTimeoutMs',
  })
}
