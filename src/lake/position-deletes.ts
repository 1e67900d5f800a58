import { queryRows, type DuckDBConnection } from '../core/duckdb.ts'
import type { Files } from '../core/files.ts'
import { quoteText } from '../plan/columns.ts'
import { locationOf } from './location.ts'

/** Field ids that the spec reserves for position delete files ("Position Delete Files"). */
export const deletedPathId = 2147483546
const deletedPositionId = 2147483545

/**
 * Writes a Parquet file of position deletes anew with the files that it names in another place, and syncs it. `roots` are the folders that paths below which move to `to`.
 * Deleted rows that the file repeats are left out: no reader needs them. Answers with its size.
 */
export async function movePositionDeletes(options: {
  readonly connection: DuckDBConnection
  readonly files: Files
  readonly source: string
  readonly target: string
  readonly roots: readonly string[]
  readonly to: string
}): Promise<number> {
  const { connection, files, source, target, roots, to } = options
  const cases = roots.flatMap((root) =>
    [`file://${root}/`, `file:${root}/`, `${root}/`].map(
      (prefix) =>
        `WHEN starts_with(file_path, ${quoteText(prefix)}) THEN ${quoteText(`${locationOf(to)}/`)} || file_path[${prefix.length + 1}:]`,
    ),
  )
  const moved = `CASE ${cases.join(' ')} ELSE file_path END`
  await queryRows(
    connection,
    `COPY (SELECT ${moved} AS file_path, pos FROM read_parquet(${quoteText(source)}, hive_partitioning = false) ORDER BY ALL) TO ${quoteText(target)} (FORMAT parquet, COMPRESSION zstd, FIELD_IDS {file_path: ${deletedPathId}, pos: ${deletedPositionId}})`,
  )
  await files.syncFile(target)
  return (await files.sizeOf(target)) ?? 0
}
