import { createHash, randomUUID } from 'node:crypto'
import { inTransaction, type DuckDBConnection } from '../core/duckdb.ts'
import { asQuestlogError, QuestlogError } from '../core/errors.ts'
import type { Exclusive } from '../core/exclusive.ts'
import type { Clock } from '../core/clock.ts'
import type { Files } from '../core/files.ts'
import { listTables } from '../lake/catalog.ts'
import { offsetsProperty } from '../lake/offsets.ts'
import { metadataFolder } from '../lake/location.ts'
import { currentSchema, type TableMetadata } from '../lake/metadata.ts'
import { scanSql } from '../lake/parquet.ts'
import { requirePlainColumns } from '../lake/plain-folder.ts'
import { columnsOf, hasColumns, type TableSchema, type WantedColumns } from '../lake/schema.ts'
import {
  createTable,
  openDurableTable,
  openTable,
  type LakeTable,
  type TableLocation,
} from '../lake/table.ts'
import { formatOf, formatProperties } from '../lake/table-format.ts'
import {
  filesOfSnapshot,
  schemaOfSnapshot,
  snapshotAt,
  type SnapshotWanted,
} from '../lake/time-travel.ts'
import { removeVersions } from '../lake/versions.ts'
import { systemColumns, type Column } from '../plan/columns.ts'
import { tableEventTypes, type Definition, type TableDefinition } from '../plan/definition.ts'
import { LostTable, snapshotPart } from './committer.ts'
import { deadLetterColumns, deadLetterNamespace, deadLetterTable } from './dead-letters.ts'
import { convertTopic } from './conversion.ts'
import { createSnapshotViews, FreshRows } from './fresh-rows.ts'
import { SharedRows } from './shared-rows.ts'
import type { StreamTable } from './stream-table.ts'
import { TableRows } from './table-rows.ts'

/**
 * Table properties: a hash of what decides which records the table takes, and the offsets from which on that was so, in the form of
 * `questlog.offsets`. What lies before was decided by other rules, or before the table began.
 */
const rulesProperty = 'questlog.rules'
export const rulesSinceProperty = 'questlog.rules-since'

export interface TableSetOptions {
  readonly files: Files
  readonly clock: Clock
  readonly lakeFolder: string
  readonly writer: Exclusive<DuckDBConnection>
  /** About so many bytes of log are committed at a time. */
  readonly partBytes: number
}

/** A table that is there already. */
interface Existing {
  readonly lake: LakeTable
  /** The schema to go back to. */
  readonly former: TableSchema | undefined
}

/** Opens the tables of the lake, brings them to a definition, and keeps their views in DuckDB. */
export class TableSet {
  readonly #options: TableSetOptions
  #generation = 0

  constructor(options: TableSetOptions) {
    this.#options = options
  }

  /** `questlog.dead_letters`, created if it is missing, with its view. */
  async openDeadLetters(): Promise<{ lake: LakeTable; fresh: FreshRows }> {
    const location = this.#location(deadLetterNamespace, deadLetterTable)
    const lake =
      (await openDurableTable(location)) ?? (await createTable(location, deadLetterColumns, {}))
    const { namespace, name } = lake
    const fresh = new FreshRows(
      namespace,
      name,
      deadLetterColumns,
      await snapshotPart(lake),
      this.#nextGeneration,
    )
    await this.#options.writer.run((connection) =>
      inTransaction(connection, () => fresh.create(connection)),
    )
    return { lake, fresh }
  }

  /**
   * Creates and evolves the tables of the definition; then replaces the views and generations of `before` in one transaction. The fresh
   * rows of `before` must be committed. Tables that the definition no longer names stay readable. `startOffsets` gives the
   * `questlog.offsets` text of a table that starts at the end of its topic. What another definition than `live` has done to a table without writing rows is taken back first, where that
   * is what the definition wants. After an error everything is as it was; where even that could not be done, it is a LostTable.
   */
  async apply(
    definition: Definition,
    live: Definition,
    before: readonly StreamTable[],
    startOffsets: (table: TableDefinition) => Promise<string | undefined>,
  ): Promise<StreamTable[]> {
    const existing = await this.#openEvolvable(definition, live)
    const former = new Map([...existing].map(([name, { lake }]) => [name, lake.metadata]))
    try {
      return await this.#change(definition, before, existing, startOffsets)
    } catch (error) {
      await this.#undo(definition, former, before).catch((cause: unknown) => {
        throw new LostTable(
          `the tables could be brought neither to the new definition nor back: ${asQuestlogError(error).message}`,
          { cause },
        )
      })
      throw error
    }
  }

  async #change(
    definition: Definition,
    before: readonly StreamTable[],
    existing: ReadonlyMap<string, Existing>,
    startOffsets: (table: TableDefinition) => Promise<string | undefined>,
  ): Promise<StreamTable[]> {
    const tables: StreamTable[] = []
    const topics = new Map(
      definition.tables.map(({ topic }) => [topic, this.#sharedRows(definition, topic)]),
    )
    for (const table of definition.tables) {
      const offsets = table.from === 'latest' ? await startOffsets(table) : undefined
      const found = existing.get(table.name)
      const lake =
        found?.lake ??
        (await createTable(this.#location(definition.namespace, table.name), table.columns, {
          ...(offsets === undefined ? {} : { [offsetsProperty]: offsets }),
          ...(table.format === undefined ? {} : formatProperties(table.format)),
        }))
      const columns = await bringTo(lake, table, found?.former)
      await noteRules(lake, definition, table)
      await noteFormat(lake, table)
      const next = new Map<number, number>()
      const shared = topics.get(table.topic) ?? this.#sharedRows(definition, table.topic)
      const { namespace, name } = lake
      const snapshot = await snapshotPart(lake)
      tables.push({
        definition: table,
        lake,
        fresh: new TableRows({
          namespace,
          name,
          columns,
          snapshot,
          shared,
          next,
          partBytes: this.#options.partBytes,
        }),
        next,
        committedAtMs: this.#options.clock.monotonicMs(),
        failure: null,
      })
    }
    const others = await this.#unnamed(definition)
    await this.#options.writer.run((connection) =>
      inTransaction(connection, async () => {
        for (const shared of topics.values()) await shared.create(connection)
        for (const { fresh } of tables) await fresh.create(connection)
        for (const { lake, part } of others)
          await createSnapshotViews(connection, lake.namespace, lake.name, part)
        for (const shared of new Set(before.map(({ fresh }) => fresh.shared)))
          await shared.drop(connection)
      }),
    )
    return tables
  }

  /** Takes back what was done to the tables of a definition; `former` has the metadata of those that were there before. */
  async #undo(
    definition: Definition,
    former: ReadonlyMap<string, TableMetadata>,
    before: readonly StreamTable[],
  ): Promise<void> {
    for (const { name } of definition.tables) {
      const lake = await openTable(this.#location(definition.namespace, name))
      const metadata = former.get(name)
      if (lake === undefined) continue
      if (metadata === undefined)
        await removeVersions(this.#options.files, metadataFolder(lake.folder))
      else if (isChanged(lake.metadata, metadata))
        await lake.restore(currentSchema(metadata), metadata.properties)
    }
    for (const { lake } of before) await lake.reload()
  }

  /** The tables that are there already. Refuses the definition as a whole when one of them can't follow it: the others must not have changed by then. */
  async #openEvolvable(
    definition: Definition,
    live: Definition,
  ): Promise<ReadonlyMap<string, Existing>> {
    const tables = new Map<string, Existing>()
    for (const table of definition.tables) {
      const lake = await openDurableTable(this.#location(definition.namespace, table.name))
      if (lake === undefined) continue
      try {
        const former = formerSchema(lake, table, liveTable(definition, live, table))
        tables.set(table.name, { lake, former })
        if (former !== undefined) continue
        const columns = withFormer(table, lake.columns)
        lake.requireEvolution(columns, renamedOf(table))
        if (table.format === 'hive') requirePlainColumns(lake.metadata, columns, renamedOf(table))
      } catch (error) {
        throw refusedEvolution(error, definition, table)
      }
    }
    return tables
  }

  async #unnamed(definition: Definition) {
    const { files, lakeFolder } = this.#options
    const named = new Set(definition.tables.map((table) => table.name))
    const found = await listTables(files, lakeFolder)
    const others = found.filter(
      ({ namespace, name }) =>
        namespace !== deadLetterNamespace &&
        !(namespace === definition.namespace && named.has(name)),
    )
    const opened = await Promise.all(
      others.map(({ namespace, name }) => openTable({ ...this.#options, namespace, name })),
    )
    return Promise.all(
      opened
        .filter((lake) => lake !== undefined)
        .map(async (lake) => ({ lake, part: await snapshotPart(lake) })),
    )
  }

  /** A SELECT of a committed table as it was at one of its snapshots, with the columns of then; undefined when there is no such table. Names match without regard to case. */
  async pastScan(
    namespace: string,
    name: string,
    wanted: SnapshotWanted,
  ): Promise<string | undefined> {
    const { files, lakeFolder } = this.#options
    const isMeant = (table: { namespace: string; name: string }) =>
      table.namespace.toLowerCase() === namespace.toLowerCase() &&
      table.name.toLowerCase() === name.toLowerCase()
    const found = (await listTables(files, lakeFolder)).find(isMeant)
    const table = found && (await openTable(this.#location(found.namespace, found.name)))
    if (table === undefined) return undefined
    const { folder, dayColumn, metadata } = table
    const snapshot = snapshotAt(metadata, wanted)
    const schema = schemaOfSnapshot(metadata, snapshot)
    const shape = { folder, dayColumn, schema, columns: columnsOf(schema) }
    return scanSql(shape, await filesOfSnapshot(files, metadata, snapshot))
  }

  readonly #nextGeneration = () => ++this.#generation

  #sharedRows(definition: Definition, topic: string): SharedRows {
    return new SharedRows(topic, convertTopic(definition, topic), this.#nextGeneration)
  }

  #location(namespace: string, name: string): TableLocation {
    const { files, clock, lakeFolder } = this.#options
    return { files, clock, lakeFolder, namespace, name }
  }
}

/** Old names by new ones. `_partition`, as tables once had it, is the name of a column that Iceberg adds to every table: Spark refuses to read both. */
function renamedOf(table: TableDefinition): Readonly<Record<string, string>> {
  return { _log_partition: '_partition', ...table.renamed }
}

/** A table as the live definition has it; where that has none, as the definition that is to be applied. */
function liveTable(
  definition: Definition,
  live: Definition,
  table: TableDefinition,
): TableDefinition {
  const named = live.namespace === definition.namespace ? live.tables : []
  return named.find(({ name }) => name === table.name) ?? table
}

/**
 * The schema that a table had before a definition that never went live changed it, when it had what is wanted and nothing was written since: an activation that was refused, or that a kill
 * has ended half-way, must not cost the columns that it had taken out already. What the live definition has done is done: a column that it has dropped comes back as a new one.
 */
function formerSchema(
  lake: LakeTable,
  table: TableDefinition,
  live: TableDefinition,
): TableSchema | undefined {
  if (hasColumns(lake.schema, wantedOf(live), renamedOf(live))) return undefined
  return lake.formerSchema(wantedOf(table), renamedOf(table))
}

/** The table's columns once it has those of the definition, or a former schema again. */
async function bringTo(
  lake: LakeTable,
  table: TableDefinition,
  former: TableSchema | undefined,
): Promise<readonly Column[]> {
  if (former !== undefined) {
    await lake.restore(former)
    return lake.columns
  }
  const columns = withFormer(table, lake.columns)
  await lake.evolve(columns, renamedOf(table))
  return columns
}

function wantedOf(table: TableDefinition): WantedColumns {
  return (existing) => withFormer(table, existing)
}

function isChanged(now: TableMetadata, before: TableMetadata): boolean {
  const what = (metadata: TableMetadata) =>
    JSON.stringify([metadata['current-schema-id'], metadata.properties])
  return what(now) !== what(before)
}

/** A column that the definition no longer declares stays, NULL in new rows: an edit of the file must not hide what was kept. Unless the file says so, or gives it another name. */
function withFormer(table: TableDefinition, existing: readonly Column[]): readonly Column[] {
  const declared = table.columns
  const gone = [
    ...declared.map((column) => column.name),
    ...(table.dropped ?? []),
    ...Object.values(renamedOf(table)),
  ]
  const names = new Set(gone.map((name) => name.toLowerCase()))
  const former = existing.filter((column) => !names.has(column.name.toLowerCase()))
  const end = declared.findIndex((column) => column.name === systemColumns[0]?.name)
  return [...declared.slice(0, end), ...former, ...declared.slice(end)]
}

/** The refusal with the table's name, and the way out that always is one. */
function refusedEvolution(error: unknown, definition: Definition, table: TableDefinition): unknown {
  if (!(error instanceof QuestlogError) || error.code !== 'EVOLUTION_REFUSED') return error
  const [type = table.name] = tableEventTypes(definition, table)
  return new QuestlogError(
    'EVOLUTION_REFUSED',
    `table ${table.name}: ${error.message}`,
    { ...error.facts, table: table.name },
    {
      cause: error,
      hint: `${error.hint}; or begin anew beside it: an event '${type}@2' with a table of its own`,
    },
  )
}

/** What is written from now on goes by the table's properties: also while questlog is stopped, or by another engine. */
async function noteFormat(lake: LakeTable, table: TableDefinition): Promise<void> {
  const format = table.format ?? 'iceberg'
  if (formatOf(lake.properties) === format) return
  await lake.commit({ batchId: randomUUID(), files: [], properties: formatProperties(format) })
}

async function noteRules(
  lake: LakeTable,
  definition: Definition,
  table: TableDefinition,
): Promise<void> {
  const types = tableEventTypes(definition, table)
  const events = definition.events.filter((event) => types.includes(event.type))
  const rules = [
    table.where,
    table.set,
    table.columns,
    events.map(({ type, params, required }) => ({ type, params, required })),
  ]
  const hash = createHash('sha256').update(JSON.stringify(rules)).digest('hex').slice(0, 32)
  if (lake.properties[rulesProperty] === hash) return
  const since = lake.properties[offsetsProperty] ?? '{}'
  await lake.commit({
    batchId: randomUUID(),
    files: [],
    properties: { [rulesProperty]: hash, [rulesSinceProperty]: since },
  })
}
