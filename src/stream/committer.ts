import { randomUUID } from 'node:crypto'
import { dirname } from 'node:path'
import type { Clock } from '../core/clock.ts'
import { inOneText, type DuckDBConnection, type StatementSink } from '../core/duckdb.ts'
import { asQuestlogError } from '../core/errors.ts'
import type { Files } from '../core/files.ts'
import type { Logger } from '../core/logger.ts'
import type { DataFile } from '../lake/manifest.ts'
import { offsetsProperty } from '../lake/offsets.ts'
import { copyDataFiles, narrowScanSql, scanSql, syncDataFiles } from '../lake/parquet.ts'
import type { LakeTable, TableCommit } from '../lake/table.ts'
import type { Prepare, TableContent } from '../lake/table-content.ts'
import { codecOf } from '../lake/table-format.ts'
import type { CatalogWriter } from './catalog-writer.ts'
import type { SnapshotPart } from './fresh-rows.ts'
import { setAsideProperty } from './set-aside-offsets.ts'
import type { ViewChanges } from './view-changes.ts'

/** A table whose frozen generation can be committed: a table of the stream, or the dead letters. */
export interface Committable {
  readonly lake: LakeTable
  readonly fresh: CommittableRows
}

/** Fresh rows that can be frozen, written and shown in the snapshot instead. What changes runs in the caller's transaction; what is given back is called when that is committed. */
export interface CommittableRows {
  readonly currentRows: number
  readonly totalRows: number
  /** A DuckDB table, or a SELECT in brackets. */
  readonly frozen: string | undefined
  /** The UTC day of all frozen rows, if it is one. */
  readonly frozenDay: string | undefined
  /** Whether they lie in the order of the log. */
  readonly frozenIsSorted: boolean
  /** Whether it is a SELECT whose columns have their declared types. */
  readonly frozenIsTyped: boolean
  freeze(connection: StatementSink): Promise<() => void>
  /** The frozen rows are in the snapshot now. */
  swap(connection: StatementSink, snapshot: SnapshotPart): Promise<() => void>
  /** The snapshot has other files now, with the same rows. */
  show(connection: StatementSink, snapshot: SnapshotPart): Promise<() => void>
  /** Whether the view reads a data file. */
  reads(path: string): boolean
}

/** A table to freeze, and what its commit will store. */
export interface Freezable {
  readonly table: Committable
  readonly properties: () => CommitProperties
  /** Left out unless it has rows: new offsets alone are no reason to commit it. */
  readonly rowsOnly?: boolean
}

/** The properties that a commit stores with the rows it adds: how far they reach. */
export type CommitProperties = Readonly<Record<string, string>>

interface PendingCommit {
  readonly batchId: string
  readonly properties: CommitProperties
  /** The property texts that the table had when the rows were frozen: another writer's commit must not have moved them. */
  readonly before: CommitProperties
  written: WrittenFiles | undefined
}

interface WrittenFiles {
  readonly files: readonly DataFile[]
  /** Their sync, which goes on while the commit writes its metadata. */
  readonly synced: Promise<void>
}

/** The snapshot of a table as its view shows it. */
export async function snapshotPart(lake: LakeTable): Promise<SnapshotPart> {
  const files = await lake.liveFiles()
  const { folder, columns, schema, dayColumn, recordCount } = lake
  return partOf({ folder, columns, schema, dayColumn, recordCount, files })
}

function partOf({ files, recordCount, ...shape }: TableContent): SnapshotPart {
  return {
    scan: scanSql(shape, files),
    narrowed: (wanted) => narrowScanSql(shape, files, wanted),
    recordCount,
    paths: new Set(files.map((file) => file.path)),
  }
}

/** How far the rows of a table reach: only its own commits move it. */
export function reachOf({ lake }: Committable): string {
  return JSON.stringify([lake.properties[offsetsProperty], lake.properties[setAsideProperty]])
}

/** What a commit writes is merged before long, and compressed anew then: so it is done the quickest way. */
export const commitLevel = 1

/** Another writer has moved the offsets of a table: what this process holds in memory is no longer true, it must start anew. */
export class LostTable extends Error {}

/**
 * Moves generations of fresh rows into snapshots. A generation is frozen together with the offsets it reaches, written and committed as one
 * batch with an id of its own; a failed commit is tried again with the same id and the same files, so that it can't happen twice.
 */
export class Committer {
  readonly #writer: CatalogWriter
  readonly #views: ViewChanges
  readonly #exporter: DuckDBConnection
  readonly #files: Files
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #pending = new Map<Committable, PendingCommit>()

  constructor(options: {
    writer: CatalogWriter
    views: ViewChanges
    exporter: DuckDBConnection
    files: Files
    clock: Clock
    logger: Logger
  }) {
    this.#writer = options.writer
    this.#views = options.views
    this.#exporter = options.exporter
    this.#files = options.files
    this.#clock = options.clock
    this.#logger = options.logger
  }

  isPending(table: Committable): boolean {
    return this.#pending.has(table)
  }

  /** Whether a commit that is under way, or to be tried again, has written the data file. */
  hasWritten(path: string): boolean {
    return [...this.#pending.values()].some(
      ({ written }) => written?.files.some((file) => file.path === path) === true,
    )
  }

  /** Shows the files of a table as they are now, after a change that has left its rows alone. Not while a commit of the table is under way. */
  async show(table: Committable): Promise<void> {
    const snapshot = await snapshotPart(table.lake)
    await this.#writer.run(async (connection) => {
      const shown = await inOneText(connection, (sink) => table.fresh.show(sink, snapshot))
      shown()
    })
  }

  /**
   * Freezes the current generations of these tables in one transaction. Everything is decided once the writer is held, so that the offsets
   * of `properties` are those of the frozen rows. A table with a commit under way, or without rows and without new offsets, is left out.
   */
  async freeze(tables: readonly Freezable[]): Promise<void> {
    await this.#writer.runRows(async (connection) => {
      const chosen = tables
        .filter(
          ({ table, rowsOnly }) =>
            !this.#pending.has(table) && (rowsOnly !== true || table.fresh.currentRows > 0),
        )
        .map(({ table, properties }) => ({ table, properties: properties() }))
        .filter(
          ({ table, properties }) => table.fresh.currentRows > 0 || changed(table.lake, properties),
        )
      const withRows = chosen.filter(({ table }) => table.fresh.currentRows > 0)
      if (withRows.length > 0) {
        const frozen = await this.#writer.changeInOneText(connection, (sink) =>
          Promise.all(withRows.map(({ table }) => table.fresh.freeze(sink))),
        )
        for (const done of frozen) done()
      }
      for (const { table, properties } of chosen) {
        const before = Object.fromEntries(
          Object.keys(properties).map((name) => [name, table.lake.properties[name] ?? '']),
        )
        const batchId = randomUUID()
        this.#pending.set(table, { batchId, properties, before, written: undefined })
      }
    })
  }

  /** Commits what `freeze` prepared for the table, and shows it in the table's view. Nothing to do is no error. */
  async commit(table: Committable): Promise<void> {
    const pending = this.#pending.get(table)
    if (pending === undefined) return
    const startedMs = this.#clock.monotonicMs()
    const { batchId, properties, before } = pending
    const written = (pending.written ??= await this.#write(table, batchId))
    let elapsedMs = 0
    try {
      const change = { batchId, ...written, properties }
      await this.#commitOnce(table, change, before, async (content) => {
        const swap = await this.#views.prepare((sink) => table.fresh.swap(sink, partOf(content)))
        const show = async () => {
          const swapped = await swap.commit()
          swapped()
          elapsedMs = Math.round(this.#clock.monotonicMs() - startedMs)
        }
        return { show, drop: () => swap.rollback() }
      })
    } catch (error) {
      // Files whose sync failed are gone: the next attempt writes them anew.
      await written.synced.catch(() => (pending.written = undefined))
      throw error
    }
    this.#pending.delete(table)
    const rows = written.files.reduce((sum, file) => sum + file.recordCount, 0)
    if (rows > 0) this.#logger.info('committed', { table: table.lake.name, rows, elapsedMs })
  }

  async #write(table: Committable, batchId: string): Promise<WrittenFiles> {
    const relation = table.fresh.frozen
    if (relation === undefined) return { files: [], synced: Promise.resolve() }
    const live = await table.lake.liveFiles()
    const files = await copyDataFiles({
      connection: this.#exporter,
      files: this.#files,
      table: table.lake,
      relation,
      batchId,
      day: table.fresh.frozenDay,
      isSorted: table.fresh.frozenIsSorted,
      isTyped: table.fresh.frozenIsTyped,
      folders: new Set(live.map(({ path }) => dirname(path))),
      codec: codecOf(table.lake.properties),
      level: commitLevel,
    })
    return { files, synced: syncDataFiles(this.#files, files) }
  }

  async #commitOnce(
    table: Committable,
    change: TableCommit,
    before: CommitProperties,
    prepare: Prepare,
  ): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        await table.lake.commit(change, prepare)
        return
      } catch (error) {
        if (asQuestlogError(error).code !== 'COMMIT_CONFLICT' || attempt === 5) throw error
        // The table shows the other writer's state now. Its compaction or evolution is welcome; if it took records of ours, we are a zombie.
        const moved = Object.entries(before).some(
          ([name, text]) => (table.lake.properties[name] ?? '') !== text,
        )
        if (moved)
          throw new LostTable(`another process has committed records to ${table.lake.name}`, {
            cause: error,
          })
      }
    }
  }
}

function changed(lake: LakeTable, properties: CommitProperties): boolean {
  return Object.entries(properties).some(([name, text]) => lake.properties[name] !== text)
}
