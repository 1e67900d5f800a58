import { dirname, join } from 'node:path'
import type { Clock } from '../core/clock.ts'
import { copyFile, sumBytes, type FileSum } from '../core/copy.ts'
import { openDuckdb, type DuckDBConnection } from '../core/duckdb.ts'
import type { Files } from '../core/files.ts'
import { removeFolder } from '../core/host.ts'
import { GuestTables, namespacePath } from '../lake/guest-tables.ts'
import { metadataFolder } from '../lake/location.ts'
import type { MetadataVersion } from '../lake/metadata-commit.ts'
import { guestRoots, pinGuest } from '../lake/pinned-guest.ts'
import { movePositionDeletes } from '../lake/position-deletes.ts'
import { Relocator } from '../lake/relocate.ts'
import { versionPath } from '../lake/versions.ts'
import type { BackupGuest } from './backup-file.ts'
import { asDamaged, copyNamed, hasVanished } from './copied-tables.ts'

/** The folder of the tables of other engines, in data folders and in backups. */
export const guestsName = 'guests'
const repairHint = 'drop the table with the engine that made it, or repair it there'
const triesMax = 5

export interface CopiedGuests {
  readonly guests: readonly BackupGuest[]
  /** All files of the copy by path. */
  readonly sums: ReadonlyMap<string, FileSum>
}

/**
 * Copies the tables of other engines, which may be written to meanwhile: each at one version, with everything that this names. Namespaces without tables are copied, too; what
 * belongs to no table is not. The folders are not synced. TABLE_DAMAGED names a table that can't be copied.
 */
export async function copyGuests(options: {
  readonly files: Files
  readonly clock: Clock
  readonly data: string
  readonly folder: string
}): Promise<CopiedGuests> {
  const { files, clock } = options
  const [from, to] = [join(options.data, guestsName), join(options.folder, guestsName)]
  const tables = new GuestTables({ files, clock, folder: from })
  const copied = new Map<string, FileSum>()
  const named = new Set<string>()
  const guests: BackupGuest[] = []
  for (const namespace of await tables.namespaces()) {
    const properties = namespacePath(namespace)
    await files.makeFolder(join(to, namespace))
    try {
      const sum = await copyFile(files, join(from, properties), join(to, properties))
      copied.set(join(to, properties), sum)
    } catch (error) {
      if (!hasVanished(error)) throw error
      continue // dropped meanwhile
    }
    named.add(join(to, properties))
    for (const name of await tables.tables(namespace)) {
      const table = await copyGuest({ files, from, to, copied }, tables, namespace, name)
      if (table === undefined) continue
      const { version, metadata } = table.found
      guests.push({ namespace, name, uuid: metadata['table-uuid'], folder: from, version })
      for (const path of table.paths) named.add(path)
    }
  }
  return { guests, sums: new Map([...copied].filter(([path]) => named.has(path))) }
}

interface GuestCopy {
  readonly files: Files
  readonly from: string
  readonly to: string
  readonly copied: Map<string, FileSum>
}

/** Its engine may remove files of snapshots that it gives up: a version that does not need them follows, or has followed. */
async function copyGuest(
  copy: GuestCopy,
  tables: GuestTables,
  namespace: string,
  name: string,
): Promise<{ found: MetadataVersion; paths: readonly string[] } | undefined> {
  for (let tries = 1; ; tries++) {
    const found = await tables.load(namespace, name)
    if (found === undefined) return undefined
    try {
      const pinned = await pinGuest(copy.files, copy.from, found)
      const paths = await copyNamed(copy.files, pinned, copy.to, copy.copied)
      const path = versionPath(metadataFolder(join(copy.to, namespace, name)), found.version)
      if (!copy.copied.has(path)) {
        const bytes = Buffer.from(found.text)
        await copy.files.makeFolder(dirname(path))
        await copy.files.writeNew(path, bytes)
        copy.copied.set(path, sumBytes(bytes))
      }
      return { found, paths: [path, ...paths] }
    } catch (error) {
      if (!hasVanished(error) || tries === triesMax)
        throw asDamaged(error, `${namespace}.${name}`, repairHint)
    }
  }
}

/**
 * Writes the tables of other engines anew in `data`, from a backup whose metadata were checked. Files of position deletes are written anew as well: they name data files by their paths. Answers
 * with the files of the backup, as paths below it, that need not be copied.
 */
export async function moveGuests(
  files: Files,
  folder: string,
  guests: readonly BackupGuest[],
  data: string,
): Promise<ReadonlySet<string>> {
  const [from, to] = [join(folder, guestsName), join(data, guestsName)]
  const temporary = join(to, '.temporary')
  const duckdb = new LazyDuckdb(temporary)
  try {
    const relocator = new Relocator({
      files,
      from,
      to,
      moveDeletes: async (source, target, roots) => {
        const connection = await duckdb.connect()
        return movePositionDeletes({ connection, files, source, target, roots, to })
      },
    })
    for (const { namespace, name, version, folder: original } of guests)
      await relocator.move({
        folder: join(namespace, name),
        version,
        roots: (metadata) => guestRoots(metadata, original),
      })
    return new Set([...relocator.read].map((path) => `${guestsName}/${path}`))
  } finally {
    duckdb.close()
    removeFolder(temporary)
  }
}

/** Opened when there is something to do for it: few tables have position deletes. */
class LazyDuckdb {
  readonly #temporary: string
  #open: { close: () => void; connection: DuckDBConnection } | undefined

  /** `temporary`: the folder for what has no room in memory. A file of deletes may have tens of millions. */
  constructor(temporary: string) {
    this.#temporary = temporary
  }

  async connect(): Promise<DuckDBConnection> {
    if (this.#open === undefined) {
      const instance = await openDuckdb({
        memoryMiB: 256,
        threads: 1,
        temporaryFolder: this.#temporary,
        temporaryMiB: 1024 * 1024, // as the disk has room
      })
      const connection = await instance.connect()
      const close = () => {
        connection.closeSync()
        instance.closeSync()
      }
      this.#open = { connection, close }
    }
    return this.#open.connection
  }

  close(): void {
    this.#open?.close()
  }
}
