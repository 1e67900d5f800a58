import { randomUUID } from 'node:crypto'
import { join, resolve } from 'node:path'
import type { Clock } from '../core/clock.ts'
import { QuestlogError, systemErrorCode } from '../core/errors.ts'
import { replaceFile, type Files } from '../core/files.ts'
import { removeFolder } from '../core/host.ts'
import { isName, isTablePlace, requireInPlace } from './guest-place.ts'
import { locationOf, pathOf } from './location.ts'
import { commitMetadata, readMetadata, type MetadataVersion } from './metadata-commit.ts'
import type { TableMetadata } from './metadata.ts'

const propertiesName = 'namespace.json'
/**
 * Holds the last version of the table in this folder that was dropped, in decimal digits. Its files stay: a table that was renamed may have them here. A
 * later table of the name goes on with the chain of versions, and keeps its files elsewhere.
 */
const droppedName = 'dropped'

/** Where the properties of a namespace lie, below the folder of all. */
export function namespacePath(namespace: string): string {
  return join(namespace, propertiesName)
}

export interface GuestTablesOptions {
  readonly files: Files
  readonly clock: Clock
  /** `<data>/guests`: `<namespace>/<table>/{metadata,data}`. */
  readonly folder: string
}

/**
 * Tables that other engines keep in questlog's catalog: Iceberg of any form that version 2 of the format has. They lie apart from the tables of the stream, which
 * rely on a form of their own. A namespace is a folder with a properties file.
 */
export class GuestTables {
  readonly #options: GuestTablesOptions

  constructor(options: GuestTablesOptions) {
    this.#options = options
  }

  /** Names of the namespaces, sorted. */
  async namespaces(): Promise<readonly string[]> {
    const { files, folder } = this.#options
    const found: string[] = []
    for (const name of (await files.list(folder)).filter(isName))
      if ((await this.namespaceProperties(name)) !== undefined) found.push(name)
    return found
  }

  /** Undefined when there is no such namespace. */
  async namespaceProperties(
    namespace: string,
  ): Promise<Readonly<Record<string, string>> | undefined> {
    try {
      const path = join(this.#folderOf(namespace), propertiesName)
      const text = (await this.#options.files.readAll(path)).toString('utf8')
      return JSON.parse(text) as Record<string, string> // written below
    } catch (error) {
      if (['ENOENT', 'ENOTDIR'].includes(systemErrorCode(error) ?? '')) return undefined
      throw error
    }
  }

  async setNamespaceProperties(
    namespace: string,
    properties: Readonly<Record<string, string>>,
  ): Promise<void> {
    const { files } = this.#options
    const folder = this.#folderOf(namespace)
    await files.makeFolder(folder)
    const text = `${JSON.stringify(properties)}\n`
    await replaceFile(files, join(folder, propertiesName), Buffer.from(text))
    await files.syncFolder(folder)
  }

  /** NAMESPACE_IN_USE while it holds tables. */
  async dropNamespace(namespace: string): Promise<void> {
    const { files } = this.#options
    if ((await this.tables(namespace)).length > 0)
      throw new QuestlogError('NAMESPACE_IN_USE', `namespace ${namespace} holds tables`)
    const folder = this.#folderOf(namespace)
    await files.unlink(join(folder, propertiesName))
    await files.syncFolder(folder)
  }

  /** Names of the tables of a namespace, sorted. */
  async tables(namespace: string): Promise<readonly string[]> {
    const { files } = this.#options
    const found: string[] = []
    const names = await files.list(this.#folderOf(namespace)).catch(noNames)
    for (const name of names.filter(isName))
      if ((await this.load(namespace, name)) !== undefined) found.push(name)
    return found
  }

  /** Undefined when there is no such table. */
  async load(namespace: string, name: string): Promise<MetadataVersion | undefined> {
    const { files } = this.#options
    const folder = this.tableFolder(namespace, name)
    const table = await readMetadata(files, folder).catch((error: unknown) => {
      if (systemErrorCode(error) === 'ENOTDIR') return undefined
      throw error
    })
    const isThere = table !== undefined && table.version > (await this.#droppedVersion(folder))
    return isThere ? table : undefined
  }

  /** Where a new table of this name is to keep its files: not where a dropped one has left some, nor where one that was renamed has its own. */
  async location(namespace: string, name: string): Promise<string> {
    const folder = this.tableFolder(namespace, name)
    const isUsed =
      (await this.#droppedVersion(folder)) > 0 ||
      (await this.#usedFolders()).some((other) => overlap(folder, other)) // after a restore
    return locationOf(isUsed ? `${folder}.${randomUUID()}` : folder)
  }

  /** Commits what `build` makes of the table, or of none. COMMIT_CONFLICT, OUTCOME_UNKNOWN; REQUEST_MALFORMED when it would leave its folder, or name files outside of it */
  async commit(
    namespace: string,
    name: string,
    build: (current: TableMetadata | undefined, nowMs: number) => TableMetadata,
  ): Promise<MetadataVersion> {
    const folder = this.tableFolder(namespace, name)
    return commitMetadata(
      this.#options,
      folder,
      async (current, nowMs) => {
        const next = build(current, nowMs)
        if (current === undefined) await this.#requireNewPlace(namespace, name, next)
        await requireInPlace(this.#options.files, current, next)
        return next
      },
      await this.#droppedVersion(folder),
    )
  }

  /** A new table lies where `location` says, and not where another one does. */
  async #requireNewPlace(namespace: string, name: string, table: TableMetadata): Promise<void> {
    const place = pathOf(table.location)
    const folder = this.tableFolder(namespace, name)
    const isOwn =
      isTablePlace(this.#options.folder, place) &&
      (place === folder
        ? (await this.#droppedVersion(folder)) === 0
        : place.startsWith(`${folder}.`))
    const used = isOwn ? await this.#usedFolders() : []
    if (isOwn && !used.some((other) => overlap(place, other))) return
    throw new QuestlogError(
      'REQUEST_MALFORMED',
      `a new table ${namespace}.${name} can't lie at ${table.location}`,
      { location: table.location },
      { hint: 'leave the location out' },
    )
  }

  /** Takes a table out of the catalog; with `purge` the files go too that no other table may have. TABLE_UNKNOWN */
  async drop(namespace: string, name: string, purge: boolean): Promise<void> {
    const { files } = this.#options
    const folder = this.tableFolder(namespace, name)
    const table = await this.load(namespace, name)
    if (table === undefined) throw unknownTable(namespace, name)
    const marker = Buffer.from(String(table.version))
    await replaceFile(files, join(folder, droppedName), marker)
    if (!purge) return
    // A renamed or registered table has its files elsewhere.
    const used = await this.#usedFolders()
    for (const path of new Set([folder, resolve(pathOf(table.metadata.location))])) {
      if (!isTablePlace(this.#options.folder, path) || used.some((other) => overlap(path, other)))
        continue
      const aside = `${path}.${droppedName}-${randomUUID()}`
      // What a crash leaves of it must not look like a table.
      if ((await files.sizeOf(path)) !== undefined) await files.rename(path, aside)
      removeFolder(aside)
    }
  }

  /** Where the tables that there are have their metadata and their files. */
  async #usedFolders(): Promise<readonly string[]> {
    const found: string[] = []
    for (const namespace of await this.namespaces())
      for (const name of await this.tables(namespace)) {
        const table = await this.load(namespace, name)
        if (table === undefined) continue
        const location = resolve(pathOf(table.metadata.location))
        found.push(this.tableFolder(namespace, name), location)
      }
    return found
  }

  /** Gives a table another name; its files stay where they are. TABLE_UNKNOWN, TABLE_EXISTS */
  async rename(
    from: { readonly namespace: string; readonly name: string },
    to: { readonly namespace: string; readonly name: string },
  ): Promise<void> {
    const table = await this.load(from.namespace, from.name)
    if (table === undefined) throw unknownTable(from.namespace, from.name)
    await this.#takeIn(to.namespace, to.name, table.metadata)
    await this.drop(from.namespace, from.name, false)
  }

  /** Makes a table of this metadata, which has nothing yet. TABLE_EXISTS */
  async create(namespace: string, name: string, metadata: TableMetadata): Promise<MetadataVersion> {
    return this.commit(namespace, name, (current) => {
      if (current === undefined) return metadata
      throw tableExists(namespace, name)
    })
  }

  /** Makes a table of metadata that was one before. TABLE_EXISTS; REQUEST_MALFORMED when its files do not lie where those of tables of this catalog do */
  async register(
    namespace: string,
    name: string,
    metadata: TableMetadata,
  ): Promise<MetadataVersion> {
    const { files, folder } = this.#options
    if (!isTablePlace(folder, pathOf(metadata.location)))
      throw new QuestlogError(
        'REQUEST_MALFORMED',
        `a table at ${metadata.location} can't be taken in: those of this catalog lie below ${locationOf(folder)}`,
        { location: metadata.location },
        { hint: 'make a new table of its rows: CREATE TABLE … AS SELECT' },
      )
    await requireInPlace(files, undefined, metadata)
    return this.#takeIn(namespace, name, metadata)
  }

  #takeIn(namespace: string, name: string, metadata: TableMetadata): Promise<MetadataVersion> {
    const folder = this.tableFolder(namespace, name)
    return this.#droppedVersion(folder).then((dropped) =>
      commitMetadata(
        this.#options,
        folder,
        async (current) => {
          if (current === undefined) return metadata
          throw tableExists(namespace, name)
        },
        dropped,
      ),
    )
  }

  tableFolder(namespace: string, name: string): string {
    return join(this.#folderOf(namespace), checkName(name))
  }

  #folderOf(namespace: string): string {
    return join(this.#options.folder, checkName(namespace))
  }

  /** Up to which version the tables of a folder were dropped; 0 when none was. */
  async #droppedVersion(folder: string): Promise<number> {
    try {
      const text = await this.#options.files.readAll(join(folder, droppedName))
      return Number(text.toString('latin1'))
    } catch (error) {
      if (['ENOENT', 'ENOTDIR'].includes(systemErrorCode(error) ?? '')) return 0
      throw error
    }
  }
}

/** Names become folders. REQUEST_MALFORMED */
export function checkName(name: string): string {
  if (isName(name)) return name
  throw new QuestlogError(
    'REQUEST_MALFORMED',
    `"${name}" is no name for a table or namespace here: 1 to 128 letters, digits, "_", "@" and "-"`,
  )
}

function unknownTable(namespace: string, name: string): QuestlogError {
  return new QuestlogError('TABLE_UNKNOWN', `there is no table ${namespace}.${name}`)
}

function tableExists(namespace: string, name: string): QuestlogError {
  return new QuestlogError('TABLE_EXISTS', `table ${namespace}.${name} exists`)
}

function noNames(error: unknown): string[] {
  if (['ENOENT', 'ENOTDIR'].includes(systemErrorCode(error) ?? '')) return []
  throw error
}

/** Whether two folders are one, or one lies in the other. */
function overlap(one: string, other: string): boolean {
  return `${one}/`.startsWith(`${other}/`) || `${other}/`.startsWith(`${one}/`)
}
