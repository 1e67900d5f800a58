import { join, relative, sep } from 'node:path'
import type { Clock } from '../core/clock.ts'
import { copyFile, inParallel, sumBytes, sumFile, type FileSum } from '../core/copy.ts'
import { QuestlogError } from '../core/errors.ts'
import type { Files } from '../core/files.ts'
import { removeFolder } from '../core/host.ts'
import { listTables } from '../lake/catalog.ts'
import { pinTable, type PinnedTable } from '../lake/pinned-table.ts'
import { LogCopy } from '../log/log-copy.ts'
import { activeVersion, readDefinition, setActiveVersion, storedVersions } from '../plan/store.ts'
import { deadLetterNamespace, deadLetterTable } from '../stream/dead-letters.ts'
import {
  readBackup,
  requireSame,
  writeBackup,
  type Backup,
  type BackupFile,
} from './backup-file.ts'
import { copyGuests, guestsName } from './backup-guests.ts'
import { asDamaged, copiesMax, copyNamed, hasVanished } from './copied-tables.ts'
import type { LogEnds } from './log-ends.ts'
import { explainWrite, requireApart, requireEmpty } from './target-folder.ts'

/** Maintenance of tables or retention of the log may take a file away while it is about to be copied: then that part begins anew, so often at most. */
const triesMax = 5
const ledgerName = join('lake', 'ledger')

export interface BackupOptions {
  readonly files: Files
  readonly clock: Clock
  /** Data folder, absolute. It may be in use. */
  readonly data: string
  /** Where the backup goes, absolute: a folder that is empty or not there. */
  readonly folder: string
  /** The ends of the log as they are now. */
  readonly ends: LogEnds
  readonly version: string
}

/**
 * Writes a consistent copy of log, tables and definitions while they are in use. The order makes it consistent: first a pass over the log, which takes long and
 * protects from retention; then every table at one version with all that it names, the dead letters last, since they are committed before the tables; then the rest
 * of the log up to an end that is read after all of that. So no table of the copy has read beyond the copy's log, and nothing that it has read is missing among
 * the dead letters. Takes back what it wrote when it fails.
 */
export async function backUp(options: BackupOptions): Promise<Backup> {
  const { files, data, folder } = options
  if (
    (await files.list(join(data, 'log'))).length === 0 &&
    (await files.list(join(data, 'lake'))).length === 0
  )
    throw new QuestlogError('DATA_UNUSABLE', `${data} holds no log and no tables`, { data })
  requireApart(data, folder)
  await requireEmpty(files, folder)
  await files.makeFolder(folder)
  try {
    return await new BackupWriter(options).write()
  } catch (error) {
    for (const name of ['log', 'lake', guestsName, 'definitions']) removeFolder(join(folder, name))
    throw explainWrite(error, folder)
  }
}

class BackupWriter {
  readonly #options: BackupOptions
  readonly #sums = new Map<string, FileSum>()

  constructor(options: BackupOptions) {
    this.#options = options
  }

  async write(): Promise<Backup> {
    const { files, clock, data, folder, ends, version } = this.#options
    const log = new LogCopy(files, join(data, 'log'), join(folder, 'log'))
    await log.advance(await ends.read())
    let tables: readonly PinnedTable[] = []
    let ledger: Buffer | undefined
    let createdAtMs = 0
    for (let tries = 1; ; tries++) {
      tables = await this.#copyTables()
      ledger = await this.#readLedger()
      createdAtMs = clock.nowMs()
      if (await log.advance(await ends.read())) break
      if (tries === triesMax) throw moving(`segments of ${join(data, 'log')}`)
    }
    const { partitions, sums } = await log.finish()
    for (const [path, sum] of sums) this.#sums.set(path, sum)
    if (ledger !== undefined) await this.#writeNew(join(folder, ledgerName), ledger)
    const guests = await copyGuests({ files, clock, data, folder })
    for (const [path, sum] of guests.sums) this.#sums.set(path, sum)
    const definitionVersion = await this.#copyDefinitions()
    await this.#syncFolders()
    const backup: Backup = {
      createdAt: new Date(createdAtMs).toISOString(),
      questlog: version,
      definitionVersion: definitionVersion ?? null,
      partitions,
      tables: tables.map((table) => ({
        namespace: table.namespace,
        name: table.name,
        uuid: table.uuid,
        folder: table.folder,
        version: table.version,
        rows: table.recordCount,
      })),
      guests: guests.guests,
      files: this.#listFiles(tables),
    }
    await writeBackup(files, folder, backup)
    return backup
  }

  /** All tables, the dead letters last. */
  async #copyTables(): Promise<readonly PinnedTable[]> {
    const { files, data } = this.#options
    const isDeadLetters = (table: { namespace: string; name: string }) =>
      table.namespace === deadLetterNamespace && table.name === deadLetterTable
    const listed = await listTables(files, join(data, 'lake'))
    const ordered = [
      ...listed.filter((table) => !isDeadLetters(table)),
      ...listed.filter(isDeadLetters),
    ]
    const pinned: PinnedTable[] = []
    for (const { namespace, name } of ordered) {
      const table = await this.#copyTable(namespace, name)
      if (table !== undefined) pinned.push(table)
    }
    return pinned
  }

  /** One version of a table with all that it names. A file that vanished meanwhile was not needed any more by a newer version. */
  async #copyTable(namespace: string, name: string): Promise<PinnedTable | undefined> {
    const { files, data } = this.#options
    for (let tries = 1; ; tries++) {
      try {
        const table = await pinTable(files, join(data, 'lake'), namespace, name)
        if (table !== undefined) await this.#copyPinned(table)
        return table
      } catch (error) {
        if (!hasVanished(error) || tries === triesMax)
          throw asDamaged(error, `${namespace}.${name}`)
      }
    }
  }

  async #copyPinned(table: PinnedTable): Promise<void> {
    const { files } = this.#options
    const target = this.#tableFolder(table)
    await files.makeFolder(join(target, 'metadata'))
    await copyNamed(files, table.files, target, this.#sums)
    const metadata = this.#metadataPath(table)
    if (!this.#sums.has(metadata)) await this.#writeNew(metadata, table.metadataBytes)
  }

  /** What it counts depends on the log and the definition alone: any that is older than the log's end fits. It knows what retention has removed. */
  async #readLedger(): Promise<Buffer | undefined> {
    const { files, data } = this.#options
    const path = join(data, ledgerName)
    return (await files.sizeOf(path)) === undefined ? undefined : files.readAll(path)
  }

  async #writeNew(path: string, bytes: Buffer): Promise<void> {
    await this.#options.files.writeNew(path, bytes)
    this.#sums.set(path, sumBytes(bytes))
  }

  #tableFolder({ namespace, name }: PinnedTable): string {
    return join(this.#options.folder, 'lake', namespace, name)
  }

  #metadataPath(table: PinnedTable): string {
    return join(this.#tableFolder(table), 'metadata', `v${table.version}.metadata.json`)
  }

  /** The stored versions that are whole, and which one was active. */
  async #copyDefinitions(): Promise<number | undefined> {
    const { files, data, folder } = this.#options
    const active = await activeVersion(files, data)
    const [from, to] = [join(data, 'definitions'), join(folder, 'definitions')]
    await files.makeFolder(to)
    for (const version of await storedVersions(files, data)) {
      const isWhole = await readDefinition(files, data, version).then(
        () => true,
        (error: unknown) => (error instanceof QuestlogError ? false : Promise.reject(error)),
      )
      if (!isWhole && version !== active) continue // left by a crash, never active
      const name = `${version}.json`
      this.#sums.set(join(to, name), await copyFile(files, join(from, name), join(to, name)))
    }
    if (active === undefined) return undefined
    await setActiveVersion(files, folder, active)
    this.#sums.set(join(to, 'active'), await sumFile(files, join(to, 'active')))
    return active
  }

  async #syncFolders(): Promise<void> {
    const folders = new Set([...this.#sums.keys()].map((path) => join(path, '..')))
    await inParallel(folders, copiesMax, (path) => this.#options.files.syncFolder(path))
  }

  /** Every file of the copy but those of versions of tables that a later try replaced: they are there, and nothing names them. */
  #listFiles(tables: readonly PinnedTable[]): BackupFile[] {
    const { folder } = this.#options
    const lake = `${join(folder, 'lake')}${sep}`
    const named = new Set([
      join(folder, ledgerName),
      ...tables.flatMap((table) => [
        this.#metadataPath(table),
        ...table.files.map(({ path }) => join(this.#tableFolder(table), path)),
      ]),
    ])
    return [...this.#sums]
      .filter(([path]) => !path.startsWith(lake) || named.has(path))
      .map(([path, sum]) => ({ path: relative(folder, path).split(sep).join('/'), ...sum }))
      .toSorted((left, right) => (left.path < right.path ? -1 : 1))
  }
}

function moving(what: string): QuestlogError {
  return new QuestlogError(
    'OVERLOADED',
    `${what} went away faster than they could be copied`,
    {},
    { hint: 'try again; keep more of the log (retention.ms, retention.bytes) if it stays so' },
  )
}

/** Reads every file of a backup again. BACKUP_UNUSABLE names the first one that is missing or was changed. */
export async function verifyBackup(files: Files, folder: string): Promise<Backup> {
  const backup = await readBackup(files, folder)
  await inParallel(backup.files, copiesMax, async (file) => {
    const path = join(folder, file.path)
    const isThere = (await files.sizeOf(path)) !== undefined
    requireSame(folder, file, isThere ? await sumFile(files, path) : undefined)
  })
  return backup
}
