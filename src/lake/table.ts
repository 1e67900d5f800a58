import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import type { Clock } from '../core/clock.ts'
import { allDone } from '../core/all-done.ts'
import { QuestlogError, systemErrorCode } from '../core/errors.ts'
import type { Files } from '../core/files.ts'
import type { Column } from '../plan/columns.ts'
import { buildAppend, buildPropertyChange, commitProperties } from './append.ts'
import { expiredSnapshots, type ExpiredSnapshot, type SnapshotPolicy } from './expiry.ts'
import { locationOf, metadataFolder } from './location.ts'
import type { DataFile, LiveFile } from './manifest.ts'
import { readManifestList, type ManifestFile } from './manifest-list.ts'
import {
  asSuccessor,
  currentSchema,
  currentSnapshot,
  decodeMetadata,
  encodeMetadata,
  formerSchemas,
  holdsBatch,
  newMetadata,
  nextTimestampMs,
  ownSpec,
  withFormerSchema,
  withoutSnapshots,
  withSchema,
  type TableMetadata,
} from './metadata.ts'
import type { NextVersion } from './next-version.ts'
import { buildReplace } from './replace.ts'
import { readLiveFiles } from './time-travel.ts'
import {
  contentOf,
  dayColumnOf,
  recordCountOf,
  type Prepare,
  type Prepared,
} from './table-content.ts'
import {
  assignIds,
  columnsOf,
  hasColumns,
  type FieldsWithIds,
  type IcebergField,
  type Renamed,
  type TableSchema,
  type WantedColumns,
} from './schema.ts'
import {
  findVersion,
  highestVersion,
  linkVersion,
  stagedPath,
  tidyAfterCommit,
  versionPath,
  writeWhatItNames,
} from './versions.ts'

/** An Iceberg v2 table in a folder of this machine, as of its newest commit that this object knows. One writer at a time wins; others get COMMIT_CONFLICT. */
export interface LakeTable {
  readonly namespace: string
  readonly name: string
  /** Absolute path of the folder that holds `metadata` and `data`. */
  readonly folder: string
  readonly uuid: string
  /** Number of the current metadata file. */
  readonly version: number
  readonly columns: readonly Column[]
  /** The current schema with its field ids. */
  readonly schema: TableSchema
  /** The column whose UTC day partitions the table, or null. */
  readonly dayColumn: string | null
  readonly properties: Readonly<Record<string, string>>
  /** Rows of the current snapshot. */
  readonly recordCount: number
  readonly snapshot: TableSnapshot | null
  /** The current metadata file. */
  readonly metadata: TableMetadata
  /** Data files of the current snapshot, oldest first. Read once; a commit extends them. */
  liveFiles(): Promise<readonly LiveFile[]>
  /**
   * Adds files (written by `writeDataFiles` or `copyDataFiles`) and properties in one atomic step; without files only properties. When it resolves the
   * commit is durable and the object shows it. A batch id that is already in the table resolves as done.
   * `prepare` gets what the commit makes of the table, while its files are written, and `show` of what it gave runs when the object shows the commit, beside the removal of
   * what it left behind; what they throw is thrown, the commit stays. When it turns out otherwise, what was prepared is dropped, and prepared anew if the commit has happened.
   * Throws COMMIT_CONFLICT when another writer won: the object shows the other's state, nothing of this commit is in the table.
   * Throws OUTCOME_UNKNOWN when it could not be found out: call again with the same batch id. Any other error: nothing was committed.
   */
  commit(change: TableCommit, prepare?: Prepare): Promise<void>
  /** Makes these the columns, in this order, by changing metadata only; nothing happens when they are. EVOLUTION_REFUSED as `assignIds` says; otherwise throws as `commit` does. */
  evolve(columns: readonly Column[], renamed?: Renamed): Promise<void>
  /** Throws EVOLUTION_REFUSED where `evolve` would. */
  requireEvolution(columns: readonly Column[], renamed?: Renamed): void
  /**
   * A schema that `evolve` has replaced, without a row that was written since, and that already has what `wanted` asks for: given its columns, that answers with the same. Undefined
   * when there is none, or the current one has that too.
   */
  formerSchema(wanted: WantedColumns, renamed?: Renamed): TableSchema | undefined
  /** Makes such a schema the current one again, and these the properties, if given; throws as `commit` does. */
  restore(former: TableSchema, properties?: Readonly<Record<string, string>>): Promise<void>
  /**
   * Puts files (written and synced by `writeDataFiles`) in the place of live ones that hold the same rows. Commits of others that only add files do
   * not matter. When it resolves the change is durable and the object shows it. Throws COMMIT_CONFLICT when a replaced file is not in the table any
   * more: nothing was changed; OUTCOME_UNKNOWN when it could not be found out; TABLE_DAMAGED when the numbers of rows differ.
   */
  replaceFiles(change: FileReplacement): Promise<void>
  /**
   * Stops naming the snapshots that `policy` gives up, by one commit; answers with them, oldest first. Their files are not touched. Does nothing while the outcome
   * of a commit of this object is unknown: the snapshot that tells may be among them. Throws as `commit` does.
   */
  expireSnapshots(policy: SnapshotPolicy): Promise<readonly ExpiredSnapshot[]>
  /** Takes in what other writers have committed. */
  reload(): Promise<void>
}

export interface TableSnapshot {
  /** 64-bit id as decimal text. */
  readonly id: string
  readonly sequenceNumber: number
  readonly timestampMs: number
  readonly summary: Readonly<Record<string, string>>
}

export interface TableCommit {
  /** The same for every try of the same commit, never used for another. */
  readonly batchId: string
  readonly files: readonly DataFile[]
  /** Ends when the files are durable; left out, they are. The commit writes its metadata meanwhile, and fails if this does. */
  readonly synced?: Promise<void>
  /** Merged into the table's properties, and repeated in the snapshot's summary. */
  readonly properties?: Readonly<Record<string, string>>
}

export interface FileReplacement {
  /** Paths of live files. */
  readonly replaced: readonly string[]
  readonly added: readonly DataFile[]
}

export interface TableLocation {
  readonly files: Files
  readonly clock: Clock
  readonly lakeFolder: string
  readonly namespace: string
  readonly name: string
}

/** Opens a table as it is now; undefined when there is none. TABLE_DAMAGED when a metadata file is missing or can't be read. */
export async function openTable(location: TableLocation): Promise<LakeTable | undefined> {
  const { files } = location
  const folder = metadataFolder(tableFolder(location))
  const version = await findVersion(files, folder)
  return version === 0
    ? undefined
    : new IcebergTable(location, await loadState(files, folder, version))
}

/**
 * As `openTable`, for those who build on what they find or give up what it holds: the commit of a process that died can be visible without being on the disk.
 * Here it is, before this resolves.
 */
export async function openDurableTable(location: TableLocation): Promise<LakeTable | undefined> {
  const table = await openTable(location)
  if (table !== undefined) await location.files.syncFolder(metadataFolder(table.folder))
  return table
}

/** Creates an empty table, partitioned by the UTC day of `_timestamp` if it has that column. COMMIT_CONFLICT when the table exists. */
export async function createTable(
  location: TableLocation,
  columns: readonly Column[],
  properties: Readonly<Record<string, string>>,
): Promise<LakeTable> {
  const { files, clock } = location
  const folder = tableFolder(location)
  await files.makeFolder(metadataFolder(folder))
  await files.makeFolder(join(folder, 'data'))
  const uuid = randomUUID()
  const { fields, lastColumnId } = assignIds([], 0, columns)
  const metadata = newMetadata({
    uuid,
    location: locationOf(folder),
    fields,
    lastColumnId,
    daySource: daySourceOf(fields),
    properties,
    nowMs: clock.nowMs(),
  })
  const table = new IcebergTable(location, { version: 0, metadata, manifests: [], live: [] })
  await table.create()
  return table
}

/** One version of the table in memory. */
interface TableState {
  readonly version: number
  readonly metadata: TableMetadata
  readonly manifests: readonly ManifestFile[]
  /** Undefined until they are asked for. */
  live: readonly LiveFile[] | undefined
}

class IcebergTable implements LakeTable {
  readonly namespace: string
  readonly name: string
  readonly folder: string
  readonly #location: TableLocation
  readonly #metadataFolder: string
  #state: TableState
  /** Batches whose outcome is not known: they will be asked for again. */
  readonly #unknown = new Set<string>()
  /** The end of the queue of changes: they run one after the other. */
  #lastChange: Promise<void> = Promise.resolve()

  constructor(location: TableLocation, state: TableState) {
    this.namespace = location.namespace
    this.name = location.name
    this.folder = tableFolder(location)
    this.#location = location
    this.#metadataFolder = metadataFolder(this.folder)
    this.#state = state
  }

  get uuid(): string {
    return this.#state.metadata['table-uuid']
  }

  get version(): number {
    return this.#state.version
  }

  get schema(): TableSchema {
    return currentSchema(this.#state.metadata)
  }

  get columns(): readonly Column[] {
    return columnsOf(this.schema)
  }

  get dayColumn(): string | null {
    return dayColumnOf(this.#state.metadata)
  }

  get properties(): Readonly<Record<string, string>> {
    return this.#state.metadata.properties ?? {}
  }

  get recordCount(): number {
    return recordCountOf(this.#state.manifests)
  }

  get metadata(): TableMetadata {
    return this.#state.metadata
  }

  get snapshot(): TableSnapshot | null {
    const snapshot = currentSnapshot(this.#state.metadata)
    if (snapshot === undefined) return null
    return {
      id: String(snapshot['snapshot-id']),
      sequenceNumber: snapshot['sequence-number'],
      timestampMs: snapshot['timestamp-ms'],
      summary: snapshot.summary,
    }
  }

  async liveFiles(): Promise<readonly LiveFile[]> {
    const state = this.#state
    state.live ??= await readLiveFiles(
      this.#location.files,
      state.manifests,
      ownSpec(state.metadata),
    )
    return state.live
  }

  commit(change: TableCommit, prepare?: Prepare): Promise<void> {
    change.synced?.catch(() => {}) // it may fail before it is waited for
    return this.#inTurn(() => this.#commit(change, prepare)).then(
      () => void this.#unknown.delete(change.batchId),
      (error: unknown) => {
        if (error instanceof QuestlogError && error.code === 'OUTCOME_UNKNOWN')
          this.#unknown.add(change.batchId)
        throw error
      },
    )
  }

  async #commit(change: TableCommit, prepare?: Prepare): Promise<void> {
    const isDone = (metadata: TableMetadata) => holdsBatch(metadata, change.batchId)
    if (isDone(this.#state.metadata)) {
      await change.synced
      await this.#makeDurable()
      return this.#show(prepare)
    }
    const properties = commitProperties(change.batchId, change.properties)
    const { metadata, manifests } = this.#state
    if (change.files.length === 0)
      return this.#publish(buildPropertyChange(this.#state, properties), isDone, { prepare })
    const base = { metadata, manifests, live: await this.liveFiles() }
    const next = await buildAppend(
      this.#location.files,
      this.#metadataFolder,
      base,
      change.files,
      properties,
      nextTimestampMs(metadata, this.#location.clock.nowMs()),
    )
    return this.#publish(next, isDone, { synced: change.synced, prepare })
  }

  /** Shows the version that this object knows. */
  async #show(prepare: Prepare | undefined): Promise<void> {
    if (prepare === undefined) return
    const files = await this.liveFiles()
    const prepared = await prepare(contentOf(this.folder, this.#state, files))
    await prepared.show()
  }

  /** Prepares a version that may come about. What fails here is done again, and may fail, when it has. */
  async #prepared(prepare: Prepare | undefined, next: NextVersion): Promise<Prepared | undefined> {
    if (prepare === undefined) return undefined
    const files = next.live ?? (await this.liveFiles()) // without new ones they stay
    return prepare(contentOf(this.folder, next, files))
  }

  requireEvolution(columns: readonly Column[], renamed?: Renamed): void {
    this.#evolved(columns, renamed)
  }

  #evolved(columns: readonly Column[], renamed?: Renamed): FieldsWithIds {
    const { metadata } = this.#state
    const last = metadata['last-column-id']
    const evolved = assignIds(this.schema.fields, last, columns, renamed)
    refuseLostDayColumn(metadata, evolved.fields)
    return evolved
  }

  evolve(columns: readonly Column[], renamed?: Renamed): Promise<void> {
    return this.#inTurn(async () => {
      const { metadata, manifests, live } = this.#state
      const { fields, lastColumnId } = this.#evolved(columns, renamed)
      if (isSame(fields, this.schema.fields)) return
      const changed = withSchema(metadata, fields, lastColumnId)
      const next = isWidened(this.schema.fields, fields) ? withoutVectorization(changed) : changed
      await this.#publish({ metadata: next, manifests, live, pending: [] }, (other) =>
        isSame(currentSchema(other).fields, fields),
      )
    })
  }

  formerSchema(wanted: WantedColumns, renamed?: Renamed): TableSchema | undefined {
    if (hasColumns(this.schema, wanted, renamed)) return undefined
    return formerSchemas(this.#state.metadata).find((schema) => hasColumns(schema, wanted, renamed))
  }

  restore(former: TableSchema, properties?: Readonly<Record<string, string>>): Promise<void> {
    return this.#inTurn(async () => {
      const { metadata, manifests, live } = this.#state
      const restored = withFormerSchema(metadata, former)
      const next = properties === undefined ? restored : { ...restored, properties }
      await this.#publish({ metadata: next, manifests, live, pending: [] }, (other) =>
        isSame(
          [other['current-schema-id'], other.properties],
          [next['current-schema-id'], next.properties],
        ),
      )
    })
  }

  replaceFiles(change: FileReplacement): Promise<void> {
    const replaced = new Set(change.replaced)
    const { added } = change
    return this.#inTurn(() =>
      this.#untilNoOtherWins(async () => {
        const { metadata, manifests } = this.#state
        const next = await buildReplace(
          this.#location.files,
          this.#metadataFolder,
          { metadata, manifests, live: await this.liveFiles() },
          { replaced, added },
          nextTimestampMs(metadata, this.#location.clock.nowMs()),
        )
        if (next === undefined)
          throw new QuestlogError(
            'COMMIT_CONFLICT',
            `another writer has removed files of ${this.#fullName} that were to be replaced`,
            { table: this.#fullName },
          )
        const id = next.metadata['current-snapshot-id']
        const holdsSnapshot = (other: TableMetadata) =>
          other.snapshots?.some((snapshot) => snapshot['snapshot-id'] === id) === true
        await this.#publish(next, holdsSnapshot)
      }),
    )
  }

  async expireSnapshots(policy: SnapshotPolicy): Promise<readonly ExpiredSnapshot[]> {
    let expired: readonly ExpiredSnapshot[] = []
    await this.#inTurn(async () => {
      const { metadata, manifests, live } = this.#state
      expired = expiredSnapshots(metadata, policy, this.#location.clock.nowMs())
      if (this.#unknown.size > 0) expired = []
      if (expired.length === 0) return
      const ids = new Set(expired.map(({ snapshot }) => snapshot['snapshot-id']))
      await this.#publish(
        { metadata: withoutSnapshots(metadata, ids), manifests, live, pending: [] },
        (other) => other.snapshots?.every((snapshot) => !ids.has(snapshot['snapshot-id'])) === true,
      )
    })
    return expired
  }

  reload(): Promise<void> {
    return this.#inTurn(() => this.#reload())
  }

  /** Commits the first version. */
  create(): Promise<void> {
    const { metadata, manifests, live } = this.#state
    return this.#inTurn(() =>
      this.#publish(
        { metadata, manifests, live, pending: [] },
        // Before there is a version, the state is the one that was to be committed.
        (other) => this.version > 0 && other['table-uuid'] === metadata['table-uuid'],
      ),
    )
  }

  /** Writes everything that the next version names, then gives it its name, when `synced` has ended too; `prepare` as of `commit`. */
  async #publish(
    next: NextVersion,
    isDone: (metadata: TableMetadata) => boolean,
    { synced, prepare }: { synced?: Promise<void> | undefined; prepare?: Prepare | undefined } = {},
  ): Promise<void> {
    const { files, clock } = this.#location
    const folder = this.#metadataFolder
    const { version: base, metadata: old } = this.#state
    const previous = {
      location: locationOf(versionPath(folder, base)),
      timestampMs: old['last-updated-ms'],
    }
    const metadata =
      base === 0
        ? next.metadata
        : asSuccessor(next.metadata, previous, nextTimestampMs(old, clock.nowMs()))
    const staged = stagedPath(folder)
    const pending = [...next.pending, { path: staged, bytes: encodeMetadata(metadata) }]
    const version = base + 1
    const write = async () => {
      await writeWhatItNames(files, folder, pending, synced)
      return linkVersion(files, folder, staged, version).catch(asFailure)
    }
    const [written, preparing] = await Promise.allSettled([write(), this.#prepared(prepare, next)])
    const prepared = preparing.status === 'fulfilled' ? preparing.value : undefined
    if (written.status === 'rejected' || written.value !== true) await prepared?.drop()
    if (written.status === 'rejected') throw written.reason
    if (written.value !== true) {
      await this.#settle(isDone, written.value)
      return this.#show(prepare)
    }
    this.#state = { version, metadata, manifests: next.manifests, live: next.live }
    const show = () => (prepared === undefined ? this.#show(prepare) : prepared.show())
    await allDone([show(), tidyAfterCommit(files, folder, staged, version)])
  }

  /** Builds and publishes again on the version of another writer that won. */
  async #untilNoOtherWins(publish: () => Promise<void>): Promise<void> {
    for (let tries = 1; ; tries++) {
      const base = this.version
      try {
        return await publish()
      } catch (error) {
        const hasLost = error instanceof QuestlogError && error.code === 'COMMIT_CONFLICT'
        if (!hasLost || this.version === base || tries === triesMax) throw error
      }
    }
  }

  /** After a link that failed, or whose answer was lost, or that came too late: the folder says what happened. Nothing is repeated and nothing removed. */
  async #settle(
    isDone: (metadata: TableMetadata) => boolean,
    linked: false | Failure,
  ): Promise<void> {
    const cause = linked === false ? undefined : linked.error
    try {
      await this.#reload()
      if (isDone(this.#state.metadata)) return await this.#makeDurable()
    } catch (error) {
      throw new QuestlogError(
        'OUTCOME_UNKNOWN',
        `a commit to ${this.folder} may or may not have happened`,
        { table: this.#fullName },
        {
          cause: cause ?? error,
          hint: 'commit again with the same batch id: it is never added twice',
        },
      )
    }
    if (linked !== false && systemErrorCode(cause) !== 'EEXIST') throw cause
    throw new QuestlogError(
      'COMMIT_CONFLICT',
      `another writer committed to ${this.#fullName}; it is now at version ${this.version}`,
      { table: this.#fullName, version: this.version },
      { cause },
    )
  }

  async #reload(): Promise<void> {
    const { files } = this.#location
    const version = await highestVersion(files, this.#metadataFolder)
    if (version === this.#state.version) return
    const state = version === 0 ? undefined : await loadState(files, this.#metadataFolder, version)
    const isFirst = this.#state.version === 0
    if (state === undefined || (!isFirst && state.metadata['table-uuid'] !== this.uuid))
      throw new QuestlogError('TABLE_UNKNOWN', `${this.folder} was removed or replaced`, {
        table: this.#fullName,
      })
    this.#state = state
  }

  /** What was found in the folder may not be on the disk yet. */
  async #makeDurable(): Promise<void> {
    await this.#location.files.syncFolder(this.#metadataFolder)
  }

  get #fullName(): string {
    return `${this.namespace}.${this.name}`
  }

  #inTurn(change: () => Promise<void>): Promise<void> {
    const turn = this.#lastChange.then(change)
    this.#lastChange = turn.catch(() => {}) // its caller gets the error
    return turn
  }
}

/** A change that others' commits do not contradict is built anew so often. */
const triesMax = 5

interface Failure {
  readonly error: unknown
}

function asFailure(error: unknown): Failure {
  return { error }
}

function tableFolder({ lakeFolder, namespace, name }: TableLocation): string {
  return join(lakeFolder, namespace, name)
}

async function loadState(files: Files, folder: string, version: number): Promise<TableState> {
  const path = versionPath(folder, version)
  const metadata = decodeMetadata(await files.readAll(path), path)
  ownSpec(metadata)
  const snapshot = currentSnapshot(metadata)
  if (snapshot === undefined) return { version, metadata, manifests: [], live: [] }
  const manifests = await readManifestList(files, snapshot['manifest-list'])
  if (manifests.some((manifest) => manifest.content !== 0))
    throw new QuestlogError(
      'FORMAT_UNKNOWN',
      `${metadata.location} has delete files, which questlog does not apply`,
      { table: metadata.location },
      { hint: 'rewrite its data files with the engine that deleted rows' },
    )
  return { version, metadata, manifests, live: undefined }
}

function daySourceOf(fields: readonly IcebergField[]): number | null {
  const source = fields.find((field) => field.name === '_timestamp')
  return source?.type === 'timestamptz' || source?.type === 'timestamp' ? source.id : null
}

function refuseLostDayColumn(metadata: TableMetadata, fields: readonly IcebergField[]): void {
  const source = ownSpec(metadata).fields[0]?.['source-id']
  if (source === undefined || fields.some((field) => field.id === source)) return
  throw new QuestlogError(
    'EVOLUTION_REFUSED',
    'column _timestamp can not be left out: the table is partitioned by it',
    { column: '_timestamp' },
    { hint: 'keep the column, or start a new table' },
  )
}

function isSame(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b)
}

function isWidened(before: readonly IcebergField[], after: readonly IcebergField[]): boolean {
  const types = new Map(before.map(({ id, type }) => [id, type]))
  return after.some(({ id, type }) => type === 'long' && types.get(id) === 'int')
}

/** The vectorized reader of Iceberg's Java library (1.11) casts the ints of older files to vectors of longs, and fails: Spark reads such a table row by row. */
function withoutVectorization(metadata: TableMetadata): TableMetadata {
  const properties = { ...metadata.properties, 'read.parquet.vectorization.enabled': 'false' }
  return { ...metadata, properties }
}
