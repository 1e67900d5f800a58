import { randomUUID } from 'node:crypto'
import { join, resolve } from 'node:path'
import type { Clock } from '../core/clock.ts'
import { asQuestlogError, QuestlogError } from '../core/errors.ts'
import { Exclusive } from '../core/exclusive.ts'
import type { Files } from '../core/files.ts'
import { listTables } from '../lake/catalog.ts'
import { emptyMetadata, metadataOf, type CreateRequest } from '../lake/guest-metadata.ts'
import { checkName, GuestTables } from '../lake/guest-tables.ts'
import { pathOf } from '../lake/location.ts'
import { isLive, readManifest } from '../lake/manifest.ts'
import { readManifestList } from '../lake/manifest-list.ts'
import { pathBelow, tableRoots } from '../lake/pinned-table.ts'
import { commitMetadata, readMetadata, type MetadataVersion } from '../lake/metadata-commit.ts'
import {
  applyUpdates,
  checkRequirements,
  type CommitRequirement,
  type MetadataUpdate,
} from '../lake/metadata-updates.ts'
import {
  currentSnapshot,
  decodeMetadata,
  ownSpec,
  type PartitionSpec,
  type Snapshot,
  type TableMetadata,
} from '../lake/metadata.ts'

export interface IcebergCatalogOptions {
  readonly files: Files
  readonly clock: Clock
  /** `<data>/lake`: the tables of the stream. */
  readonly lakeFolder: string
  /** `<data>/guests`: the tables of other engines. */
  readonly guestFolder: string
}

export interface TableName {
  readonly namespace: string
  readonly name: string
}

/** What a table of the stream may be changed by from outside. */
const compactingActions: ReadonlySet<string> = new Set(['add-snapshot', 'set-snapshot-ref'])

/**
 * The tables of the stream and those of other engines as one catalog. On the stream's tables others may compact: a `replace` snapshot with as many rows, on the current one. The offsets of
 * the stream are a property of the table, which such a commit does not touch.
 */
export class IcebergCatalog {
  readonly #options: IcebergCatalogOptions
  readonly #guests: GuestTables
  /** One change of what guests have at a time: what was looked at before it must still be so. */
  readonly #turn = new Exclusive<null>(null)

  constructor(options: IcebergCatalogOptions) {
    this.#options = options
    this.#guests = new GuestTables({ ...options, folder: options.guestFolder })
  }

  async namespaces(): Promise<readonly string[]> {
    const own = await this.#own()
    const names = new Set([
      ...own.map(({ namespace }) => namespace),
      ...(await this.#guests.namespaces()),
    ])
    return [...names].toSorted()
  }

  /** NAMESPACE_UNKNOWN */
  async namespaceProperties(namespace: string): Promise<Readonly<Record<string, string>>> {
    const guests = await this.#guests.namespaceProperties(checkName(namespace))
    const isOwn = await this.#isOwnNamespace(namespace)
    if (guests === undefined && !isOwn) throw unknownNamespace(namespace)
    return { ...guests, ...(isOwn ? { owner: 'questlog' } : {}) }
  }

  /** NAMESPACE_EXISTS */
  async createNamespace(
    namespace: string,
    properties: Readonly<Record<string, string>>,
  ): Promise<void> {
    await this.#turn.run(async () => {
      if ((await this.namespaces()).includes(checkName(namespace)))
        throw new QuestlogError('NAMESPACE_EXISTS', `namespace ${namespace} exists`)
      await this.#guests.setNamespaceProperties(namespace, properties)
    })
  }

  /** Removes and sets properties; answers with the names that were removed. NAMESPACE_UNKNOWN */
  async changeNamespace(
    namespace: string,
    removals: readonly string[],
    updates: Readonly<Record<string, string>>,
  ): Promise<readonly string[]> {
    return this.#turn.run(async () => {
      const properties = await this.namespaceProperties(namespace)
      const removed = removals.filter((name) => Object.hasOwn(properties, name))
      const kept = Object.entries(properties).filter(([name]) => !removed.includes(name))
      await this.#guests.setNamespaceProperties(namespace, {
        ...Object.fromEntries(kept),
        ...updates,
      })
      return removed
    })
  }

  /** NAMESPACE_UNKNOWN, NAMESPACE_IN_USE, TABLE_OWNED */
  async dropNamespace(namespace: string): Promise<void> {
    await this.#turn.run(async () => {
      await this.namespaceProperties(namespace)
      if (await this.#isOwnNamespace(namespace))
        throw new QuestlogError('TABLE_OWNED', `namespace ${namespace} holds tables of the stream`)
      await this.#guests.dropNamespace(namespace)
    })
  }

  /** NAMESPACE_UNKNOWN */
  async tables(namespace: string): Promise<readonly string[]> {
    await this.namespaceProperties(namespace)
    const own = (await this.#own()).filter((table) => table.namespace === namespace)
    const names = new Set([
      ...own.map(({ name }) => name),
      ...(await this.#guests.tables(namespace)),
    ])
    return [...names].toSorted()
  }

  /** TABLE_UNKNOWN */
  async load(table: TableName): Promise<MetadataVersion> {
    const own = await this.#loadOwn(table)
    const found = own ?? (await this.#guests.load(table.namespace, table.name))
    if (found !== undefined) return found
    throw new QuestlogError('TABLE_UNKNOWN', `there is no table ${table.namespace}.${table.name}`)
  }

  /** Creates a table, or with `stage-create` only says what it would be. TABLE_EXISTS, NAMESPACE_UNKNOWN, REQUEST_MALFORMED */
  create(
    namespace: string,
    request: CreateRequest,
  ): Promise<MetadataVersion | { readonly metadata: TableMetadata }> {
    return this.#turn.run(() => this.#create(namespace, request))
  }

  async #create(
    namespace: string,
    request: CreateRequest,
  ): Promise<MetadataVersion | { readonly metadata: TableMetadata }> {
    await this.namespaceProperties(namespace)
    const { name } = request
    const table = { namespace, name: checkName(name) }
    if (await this.#exists(table))
      throw new QuestlogError('TABLE_EXISTS', `table ${namespace}.${name} exists`)
    const location = await this.#guests.location(namespace, name)
    if (typeof request.location === 'string' && pathOf(request.location) !== pathOf(location))
      throw new QuestlogError(
        'REQUEST_MALFORMED',
        `tables of this catalog lie at ${location}, not at ${request.location}`,
        {},
        { hint: 'leave the location out' },
      )
    const nowMs = this.#options.clock.nowMs()
    const metadata = metadataOf(request, { uuid: randomUUID(), location, nowMs })
    if (request['stage-create'] === true) return { metadata }
    return this.#guests.create(namespace, name, metadata)
  }

  /** Applies a commit of another engine. COMMIT_CONFLICT, TABLE_OWNED, TABLE_UNKNOWN, OUTCOME_UNKNOWN */
  async commit(
    table: TableName,
    requirements: readonly CommitRequirement[],
    updates: readonly MetadataUpdate[],
  ): Promise<MetadataVersion> {
    const own = await this.#loadOwn(table)
    if (own !== undefined) return this.#compact(table, requirements, updates)
    return this.#turn.run(() => this.#commitGuest(table, requirements, updates))
  }

  async #commitGuest(
    table: TableName,
    requirements: readonly CommitRequirement[],
    updates: readonly MetadataUpdate[],
  ): Promise<MetadataVersion> {
    const creates = requirements.some(({ type }) => type === 'assert-create')
    const { namespace, name } = table
    if (creates) await this.namespaceProperties(namespace)
    const location = creates
      ? await this.#guests.location(namespace, name)
      : (await this.load(table)).metadata.location
    return this.#guests.commit(namespace, name, (current, nowMs) => {
      checkRequirements(current, requirements)
      const base = current ?? emptyMetadata({ uuid: randomUUID(), location, nowMs })
      return applyUpdates(base, updates, nowMs)
    })
  }

  async #compact(
    { namespace, name }: TableName,
    requirements: readonly CommitRequirement[],
    updates: readonly MetadataUpdate[],
  ): Promise<MetadataVersion> {
    const refused = updates.find(({ action }) => !compactingActions.has(action))
    if (refused !== undefined) throw owned({ namespace, name }, `it sends ${refused.action}`)
    const ref = updates.find((each) => (each['ref-name'] ?? 'main') !== 'main')
    if (ref !== undefined)
      throw owned({ namespace, name }, `it makes the reference ${String(ref['ref-name'])}`)
    if (updates.filter(({ action }) => action === 'add-snapshot').length > 1)
      throw owned({ namespace, name }, 'it adds several snapshots')
    const folder = join(this.#options.lakeFolder, namespace, name)
    return commitMetadata(this.#options, folder, async (current, nowMs) => {
      checkRequirements(current, requirements)
      if (current === undefined) throw new QuestlogError('COMMIT_CONFLICT', 'the table is gone')
      const next = applyUpdates(current, updates, nowMs)
      await this.#requireSameRows({ namespace, name }, current, next)
      return next
    })
  }

  async #requireSameRows(
    table: TableName,
    before: TableMetadata,
    after: TableMetadata,
  ): Promise<void> {
    const snapshot = currentSnapshot(after)
    const base = currentSnapshot(before)
    if (snapshot === undefined || base === undefined) throw owned(table, 'there is no snapshot')
    const isOnBase = snapshot['parent-snapshot-id'] === base['snapshot-id']
    if (snapshot.summary['operation'] !== 'replace' || !isOnBase)
      throw owned(table, `the snapshot is not a replacement of files of the current one`)
    const folder = join(this.#options.lakeFolder, table.namespace, table.name)
    const roots = tableRoots(before, folder)
    if (pathBelow(roots, snapshot['manifest-list']) === undefined)
      throw owned(table, 'its manifest list lies outside of the table')
    const rows = await ifReadable(table, this.#countRows(snapshot))
    const rowsBefore = await this.#countRows(base)
    if (rows !== rowsBefore)
      throw owned(table, `the snapshot has ${rows} rows, the current one ${rowsBefore}`)
    await ifReadable(table, this.#requireReadable(table, snapshot, ownSpec(before), roots))
  }

  /** SQL reads Parquet files below the table's folder, and nothing else: one other file, and the table could not be read any more. */
  async #requireReadable(
    table: TableName,
    snapshot: Snapshot,
    spec: PartitionSpec,
    roots: readonly string[],
  ): Promise<void> {
    const { files } = this.#options
    for (const manifest of await readManifestList(files, snapshot['manifest-list'])) {
      if (manifest.partition_spec_id !== spec['spec-id'])
        throw owned(table, `it has files of partition spec ${manifest.partition_spec_id}`)
      if (pathBelow(roots, manifest.manifest_path) === undefined)
        throw owned(table, `the manifest ${manifest.manifest_path} lies outside of the table`)
      const entries = await readManifest(files, manifest, spec)
      for (const { data_file: file } of entries.filter(isLive))
        if (
          file.file_format.toUpperCase() !== 'PARQUET' ||
          pathBelow(roots, file.file_path) === undefined
        )
          throw owned(table, `${file.file_path} is no Parquet file in the table's folder`)
    }
  }

  /** Rows by the manifest list. */
  async #countRows(snapshot: Snapshot): Promise<bigint | 'deleted'> {
    const manifests = await readManifestList(this.#options.files, snapshot['manifest-list'])
    if (manifests.some(({ content }) => content !== 0)) return 'deleted'
    return manifests.reduce(
      (sum, manifest) =>
        sum + BigInt(manifest.added_rows_count) + BigInt(manifest.existing_rows_count),
      0n,
    )
  }

  /** TABLE_UNKNOWN, TABLE_OWNED */
  async drop(table: TableName, purge: boolean): Promise<void> {
    await this.#turn.run(async () => {
      await this.#requireGuest(table)
      await this.#guests.drop(table.namespace, table.name, purge)
    })
  }

  /** TABLE_UNKNOWN, TABLE_EXISTS, TABLE_OWNED */
  async rename(from: TableName, to: TableName): Promise<void> {
    await this.#turn.run(async () => {
      await this.#requireGuest(from)
      await this.namespaceProperties(to.namespace)
      if (await this.#exists(to))
        throw new QuestlogError('TABLE_EXISTS', `table ${to.namespace}.${to.name} exists`)
      await this.#guests.rename(from, to)
    })
  }

  /** Takes a table in by its metadata file. TABLE_EXISTS, TABLE_OWNED, REQUEST_MALFORMED */
  register(table: TableName, metadataLocation: string): Promise<MetadataVersion> {
    return this.#turn.run(async () => {
      await this.namespaceProperties(table.namespace)
      if (await this.#exists(table))
        throw new QuestlogError('TABLE_EXISTS', `table ${table.namespace}.${table.name} exists`)
      const metadata = await this.#readRegistered(metadataLocation)
      // Its owner could remove files of the stream.
      if (this.#isInLake(metadata.location)) throw owned(table, `it lies at ${metadata.location}`)
      if (pathBelow([this.#options.guestFolder], metadataLocation) === undefined)
        throw new QuestlogError(
          'REQUEST_MALFORMED',
          `${metadataLocation} can't be taken in: it lies outside of ${this.#options.guestFolder}`,
        )
      return this.#guests.register(table.namespace, table.name, metadata)
    })
  }

  async #readRegistered(location: string): Promise<TableMetadata> {
    const path = pathOf(location)
    try {
      if (!path.endsWith('.metadata.json')) throw new Error('it is no .metadata.json')
      return decodeMetadata(await this.#options.files.readAll(path), path)
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error)
      throw new QuestlogError('REQUEST_MALFORMED', `${location} can't be taken in: ${why}`)
    }
  }

  #isInLake(location: string): boolean {
    return `${resolve(pathOf(location))}/`.startsWith(`${resolve(this.#options.lakeFolder)}/`)
  }

  async #exists(table: TableName): Promise<boolean> {
    if ((await this.#loadOwn(table)) !== undefined) return true
    return (await this.#guests.load(table.namespace, table.name)) !== undefined
  }

  async #requireGuest(table: TableName): Promise<void> {
    if ((await this.#loadOwn(table)) !== undefined) throw owned(table, 'it would be removed')
  }

  #own(): Promise<readonly TableName[]> {
    return listTables(this.#options.files, this.#options.lakeFolder)
  }

  async #isOwnNamespace(namespace: string): Promise<boolean> {
    return (await this.#own()).some((table) => table.namespace === namespace)
  }

  async #loadOwn(table: TableName): Promise<MetadataVersion | undefined> {
    const { files, lakeFolder } = this.#options
    const [namespace, name] = [checkName(table.namespace), checkName(table.name)]
    return readMetadata(files, join(lakeFolder, namespace, name))
  }
}

/** What comes of files that a commit names. That one of them is missing, or not what it should be, is the client's error: the table is as it was. */
async function ifReadable<T>(table: TableName, work: Promise<T>): Promise<T> {
  try {
    return await work
  } catch (error) {
    const reason = unreadable(error)
    if (reason === undefined) throw error
    throw new QuestlogError(
      'REQUEST_MALFORMED',
      `the commit to ${table.namespace}.${table.name} names a file that can't be read: ${reason}`,
      {},
      { cause: error },
    )
  }
}

/** Why a file of a table can't be read; undefined for an error of another kind. */
function unreadable(error: unknown): string | undefined {
  if (error instanceof TypeError) return 'a manifest lacks fields' // they are found missing where they are used
  const { code, message } = asQuestlogError(error)
  return code === 'TABLE_DAMAGED' ? message : undefined
}

function unknownNamespace(namespace: string): QuestlogError {
  return new QuestlogError('NAMESPACE_UNKNOWN', `there is no namespace ${namespace}`)
}

function owned({ namespace, name }: TableName, why: string): QuestlogError {
  return new QuestlogError(
    'TABLE_OWNED',
    `table ${namespace}.${name} is filled by questlog's stream; others may only compact it: ${why}`,
    { table: `${namespace}.${name}` },
  )
}
