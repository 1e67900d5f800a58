import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import type { Clock } from '../core/clock.ts'
import { QuestlogError, systemErrorCode } from '../core/errors.ts'
import type { Exclusive } from '../core/exclusive.ts'
import type { Files } from '../core/files.ts'
import { removeTree } from '../core/folders.ts'
import type { Logger } from '../core/logger.ts'
import type { Settings } from '../core/settings.ts'
import type { LiveFile } from '../lake/manifest.ts'
import { plainNames } from '../lake/plain-folder.ts'
import { openTable, type LakeTable } from '../lake/table.ts'
import { formatOf } from '../lake/table-format.ts'
import type { Definition } from '../plan/definition.ts'
import { failedAgain, type Failure } from '../stream/failure.ts'
import { exportRoot } from './export-root.ts'
import {
  makeDraft,
  parseTableVersion,
  publishVersion,
  removeReplaced,
  successName,
  tableVersionName,
  versionAt,
} from './export-versions.ts'

export type PublishedTable = Pick<
  LakeTable,
  'name' | 'folder' | 'uuid' | 'schema' | 'snapshot' | 'liveFiles'
>

export interface PublisherOptions {
  readonly files: Files
  readonly clock: Clock
  readonly logger: Logger
  readonly settings: Pick<Settings, 'publishIntervalMs' | 'commitRetryDelayMs'>
  readonly data: string
  /** Held while a version takes its place: the same as that of exports. */
  readonly turn: Exclusive<null>
  /** The tables with format `hive`, as they are at any moment. */
  readonly tables: () => readonly PublishedTable[]
}

/** What a folder was last brought up to. */
interface Published {
  readonly snapshotId: string
  readonly schemaId: number
  readonly version: string
}

const cleanIntervalMs = 60_000

/**
 * Keeps `exports/<table>` equal to the current snapshot of each table with format `hive`: a folder of links to its data files, `_SUCCESS` last, so that nothing is copied. It looks at the
 * tables now and then and does not take part in commits: several commits in a row are one new version, and a folder that can't be written holds nothing up.
 * The folder is derived: when it is not what the snapshot says, it is made anew.
 */
export class Publisher {
  readonly #options: PublisherOptions
  readonly #published = new Map<string, Published>()
  readonly #failures = new Map<string, Failure>()
  readonly #stopped = new AbortController()
  #cleanedAtMs = Number.NEGATIVE_INFINITY
  #loop: Promise<void> | undefined

  constructor(options: PublisherOptions) {
    this.#options = options
  }

  /** Why the folder of a table is behind it, by its name. */
  get failures(): ReadonlyMap<string, Failure> {
    return this.#failures
  }

  start(): void {
    this.#loop ??= this.#run()
  }

  /** Ends, with the folders up to what is committed by now. May be called again. */
  async stop(): Promise<void> {
    if (this.#stopped.signal.aborted) return
    this.#stopped.abort()
    await this.#loop
    this.#failures.clear() // one more try
    await this.publish()
  }

  async #run(): Promise<void> {
    const { clock, settings } = this.#options
    const { signal } = this.#stopped
    while (!signal.aborted) {
      await this.publish()
      await clock.sleep(settings.publishIntervalMs, signal)
    }
  }

  /** Brings every folder up to its table, but for those that have failed a moment ago. Throws nothing. */
  async publish(): Promise<void> {
    const { clock, logger, settings } = this.#options
    const tables = this.#options.tables()
    const names = new Set(tables.map(({ name }) => name))
    for (const name of this.#failures.keys()) if (!names.has(name)) this.#failures.delete(name)
    for (const table of tables) {
      const failure = this.#failures.get(table.name)
      if (failure !== undefined && clock.monotonicMs() < failure.retryAtMs) continue
      try {
        if (!this.#isLevel(table)) await this.#makeLevel(table)
        this.#failures.delete(table.name)
      } catch (error) {
        const again = failedAgain(failure, error, clock.monotonicMs(), settings)
        this.#failures.set(table.name, again)
        const { attempts } = again
        logger.warn('a table could not be published', { table: table.name, attempts, error })
      }
    }
    await this.#clean()
  }

  #pathOf({ name }: PublishedTable): string {
    return join(exportRoot(this.#options.data), name)
  }

  /** Without a look at the files: somebody else may have removed the link, or turned it. */
  #isLevel(table: PublishedTable): boolean {
    const published = this.#published.get(table.uuid)
    return (
      published !== undefined &&
      published.snapshotId === snapshotOf(table) &&
      published.schemaId === table.schema['schema-id'] &&
      published.version === versionAt(this.#options.data, this.#pathOf(table))
    )
  }

  async #makeLevel(table: PublishedTable): Promise<void> {
    const { data, turn } = this.#options
    const { schema, uuid: tableUuid } = table
    const snapshotId = snapshotOf(table)
    const live = await table.liveFiles() // of the same moment: it takes the snapshot before it waits
    const path = this.#pathOf(table)
    const before = requireOwn(data, path, table.name)
    const { epoch, names, isThere } = await this.#namesFor(table, live, before)
    const of = before === null ? undefined : parseTableVersion(before)
    const isCurrent = isThere && of?.tableUuid === tableUuid && of.snapshotId === snapshotId
    let version = isCurrent ? before : null
    if (version === null) {
      const draft = await makeDraft(this.#options.files, data)
      try {
        if (!(await this.#link(table, snapshotId, names, draft))) return
        version = await turn.run(() =>
          publishVersion(this.#options, {
            path,
            draft,
            name: tableVersionName({ tableUuid, snapshotId, epoch }),
            replaced: requireOwn(data, path, table.name), // an export may have come between
          }),
        )
      } finally {
        await removeTree(draft)
      }
    }
    this.#published.set(tableUuid, { snapshotId, schemaId: schema['schema-id'], version })
  }

  /**
   * Names for the files, those of the version before as long as all of them stay. When one goes, all get other names: a reader that lists the folder and looks at each file leaves out those that are gone meanwhile
   * (Hadoop and pyarrow do so), and would take the others for all there is.
   */
  async #namesFor(
    { folder, schema }: PublishedTable,
    live: readonly LiveFile[],
    before: string | null,
  ): Promise<{ epoch: string; names: ReadonlyMap<string, string>; isThere: boolean }> {
    const found = before === null ? [] : await this.#options.files.list(before)
    const parts = found.filter((name) => name !== successName && !name.startsWith('.'))
    const former = before === null ? undefined : parseTableVersion(before)?.epoch
    const names = former === undefined ? undefined : plainNames({ folder, schema }, live, former)
    if (former !== undefined && names !== undefined && parts.every((name) => names.has(name))) {
      const isThere = parts.length === names.size && found.includes(successName)
      return { epoch: former, names, isThere }
    }
    const epoch = randomUUID().slice(0, 8)
    return { epoch, names: plainNames({ folder, schema }, live, epoch), isThere: false }
  }

  /** False when a file is gone because the table has moved on: there is a newer snapshot to publish. */
  async #link(
    table: PublishedTable,
    snapshotId: string,
    names: ReadonlyMap<string, string>,
    draft: string,
  ): Promise<boolean> {
    try {
      for (const [name, file] of names) await this.#options.files.link(file, join(draft, name))
      return true
    } catch (error) {
      if (systemErrorCode(error) === 'ENOENT' && snapshotOf(table) !== snapshotId) return false
      throw error
    }
  }

  async #clean(): Promise<void> {
    const { clock, turn } = this.#options
    if (this.#published.size === 0 || clock.monotonicMs() - this.#cleanedAtMs < cleanIntervalMs)
      return
    this.#cleanedAtMs = clock.monotonicMs()
    await turn.run(() => removeReplaced(this.#options))
  }
}

/** A table without rows has none. */
function snapshotOf({ snapshot }: PublishedTable): string {
  return snapshot?.id ?? 'none'
}

function isTables(version: string): boolean {
  return parseTableVersion(version) !== undefined
}

/** The version that the path of a table leads to, null when there is none. EXPORT_EXISTS when somebody else has put something there. */
function requireOwn(data: string, path: string, table: string): string | null {
  const version = versionAt(data, path)
  if (version === null || (version !== undefined && isTables(version))) return version
  throw taken(path, table)
}

function taken(path: string, table: string): QuestlogError {
  return new QuestlogError(
    'EXPORT_EXISTS',
    `table ${table} can't be published as /${table}: an export or something else is there`,
    { path, table },
    { hint: `give it another name: mv ${path} ${path}_export; or the table` },
  )
}

/**
 * Refuses a definition that would publish a table where an export or something else lies. EXPORT_EXISTS. A table that was published before is not held up: its folder is, until the
 * path is free.
 */
export async function requireFreeFolders(
  { files, clock, data }: { readonly files: Files; readonly clock: Clock; readonly data: string },
  definition: Definition,
): Promise<void> {
  const { namespace } = definition
  const lakeFolder = join(data, 'lake')
  for (const { name, format } of definition.tables) {
    const path = join(exportRoot(data), name)
    const version = format === 'hive' ? versionAt(data, path) : null
    if (version === null || (version !== undefined && isTables(version))) continue
    const lake = await openTable({ files, clock, lakeFolder, namespace, name })
    if (lake === undefined || formatOf(lake.properties) !== 'hive') throw taken(path, name)
  }
}
