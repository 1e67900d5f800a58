import type { DuckDBConnection, Query } from '../core/duckdb.ts'
import { asQuestlogError, QuestlogError } from '../core/errors.ts'
import type { Files } from '../core/files.ts'
import type { CompactionPlan } from './compaction.ts'
import { removeLeftovers } from './leftovers.ts'
import type { DataFile } from './manifest.ts'
import { scanSql, writeDataFiles } from './parquet.ts'
import type { LakeTable } from './table.ts'
import { codecOf } from './table-format.ts'

/**
 * Writes the rows of the plan's files as one sorted file and puts it in their place. That change happens inside `during`, which may do more around it or leave it
 * out. Resolves to whether it was made. What was written goes again when it did not become part of the table; when that is not known it stays, an
 * orphan at worst. Throws TABLE_DAMAGED when the files do not hold as many rows as the table says, else as `LakeTable.replaceFiles`.
 */
export async function compactFiles(options: {
  /** Of a DuckDB that no statement uses, or what runs statements in one of another process. */
  readonly connection: DuckDBConnection | Query
  readonly files: Files
  readonly table: LakeTable
  readonly plan: CompactionPlan
  readonly during: (change: () => Promise<void>) => Promise<unknown>
}): Promise<boolean> {
  const { connection, files, table, plan, during } = options
  const added = await writeMerged(connection, files, table, plan)
  let isDone = false
  let isUnknown = false
  try {
    await during(async () => {
      requireAllRows(plan, added, table.folder)
      await table
        .replaceFiles({ replaced: plan.files.map(({ path }) => path), added })
        .catch((error: unknown) => {
          isUnknown = asQuestlogError(error).code === 'OUTCOME_UNKNOWN'
          throw error
        })
      isDone = true
    })
  } finally {
    if (!isDone && !isUnknown)
      await removeLeftovers(
        files,
        added.map(({ path }) => path),
      )
  }
  return isDone
}

function writeMerged(
  connection: DuckDBConnection | Query,
  files: Files,
  { folder, columns, schema, dayColumn, properties }: LakeTable,
  plan: CompactionPlan,
): Promise<readonly DataFile[]> {
  const table = { folder, columns, schema, dayColumn } // as it is now: its columns may change meanwhile
  return writeDataFiles({
    connection,
    files,
    table,
    relation: `(${scanSql(table, plan.files)})`,
    batchId: 'compacted',
    day: plan.day ?? undefined,
    codec: codecOf(properties),
  })
}

function requireAllRows(plan: CompactionPlan, added: readonly DataFile[], folder: string): void {
  const sum = (list: readonly { recordCount: number }[]) =>
    list.reduce((total, file) => total + file.recordCount, 0)
  if (sum(plan.files) === sum(added)) return
  throw new QuestlogError(
    'TABLE_DAMAGED',
    `${plan.files.length} data files of ${folder} hold ${sum(added)} rows, but the table says ${sum(plan.files)}`,
    { table: folder },
  )
}
