import { join } from 'node:path'
import type { Clock } from '../core/clock.ts'
import { openDuckdb, type DuckdbOptions } from '../core/duckdb.ts'
import { QuestlogError } from '../core/errors.ts'
import type { Files } from '../core/files.ts'
import { acquireLock } from '../core/lock.ts'
import { silentLogger } from '../core/logger.ts'
import { resolveSettings, type Settings } from '../core/settings.ts'
import { openDurableTable, type LakeTable } from '../lake/table.ts'
import { activeVersion, readDefinition } from '../plan/store.ts'
import {
  Maintenance,
  type TableOwner,
  type TableWork,
  type TableWorkDone,
} from '../stream/maintenance.ts'

/** Looks after one table of a data folder on which nothing runs. TABLE_UNKNOWN when there is none; ALREADY_RUNNING when the folder is in use after all. */
export async function maintainStopped(
  files: Files,
  clock: Clock,
  data: string,
  work: TableWork,
): Promise<TableWorkDone> {
  const lakeFolder = join(data, 'lake')
  await files.makeFolder(lakeFolder)
  const lock = acquireLock(join(lakeFolder, 'lock'))
  if (lock === undefined)
    throw new QuestlogError('ALREADY_RUNNING', `another process holds ${lakeFolder}`, { data })
  try {
    const { namespace, name } = work
    const table = await openDurableTable({ files, clock, lakeFolder, namespace, name })
    if (table === undefined)
      throw new QuestlogError('TABLE_UNKNOWN', `there is no table ${namespace}.${name}`)
    const settings = await settingsOf(files, data)
    const maintenance = new Maintenance({
      stream: ownerOf(table),
      files,
      clock,
      logger: silentLogger,
      settings,
      openDuckdb: () => openDuckdb(mergingDuckdb(settings, data, 'compaction-temp')),
    })
    try {
      return await maintenance.do(work)
    } finally {
      await maintenance.stop()
    }
  } finally {
    lock.release()
  }
}

/** Of a table that nothing else writes or reads meanwhile. */
export function ownerOf(table: LakeTable): TableOwner {
  return {
    committables: [{ lake: table }],
    async changeFiles(_table, change) {
      await change()
      return true
    },
    readersNow: () => () => true,
    isInUse: () => false,
  }
}

/** For a DuckDB that merges files beside the one of the tables: one thread, memory and a folder of its own. */
export function mergingDuckdb(settings: Settings, data: string, folder: string): DuckdbOptions {
  return {
    memoryMiB: settings.compactionMemoryMiB,
    threads: 1, // the tables and the statements need the others
    temporaryFolder: join(data, 'run', folder),
    temporaryMiB: settings.duckdbTempMiB,
  }
}

async function settingsOf(files: Files, data: string): Promise<Settings> {
  const version = await activeVersion(files, data)
  const definition = version === undefined ? undefined : await readDefinition(files, data, version)
  return resolveSettings(definition?.settings, process.env)
}
