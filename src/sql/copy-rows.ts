import { join } from 'node:path'
import { cellText, queryRows, type DuckDBConnection } from '../core/duckdb.ts'
import { QuestlogError } from '../core/errors.ts'
import { quoteName, quoteText } from '../plan/columns.ts'
import { resultNames } from './naming.ts'
import { SqlError } from './sql-error.ts'
import type { Plan } from './statements.ts'

/**
 * Writes the rows of a planned SELECT as Parquet with snappy, the form of Spark's writer: columns of `partitionBy` become folders and are not in the files. Columns keep their
 * names, those without one are `_col<position>`. An empty text to partition by becomes null, as in Hive and Spark: no folder can be named by it. Resolves to the number of rows. SQL_INVALID for a partition column that is not among the columns.
 */
export async function copyRows(
  duckdb: DuckDBConnection,
  plan: Extract<Plan, { kind: 'select' }>,
  target: {
    readonly folder: string
    readonly fileName: string
    readonly partitionBy: readonly string[]
  },
): Promise<number> {
  const { sql } = plan.source
  const described = await describeColumns(duckdb, plan)
  const names = described.map(({ name }) => name)
  const partitions = target.partitionBy.map((wanted) => {
    const found = names.find((name) => name.toLowerCase() === wanted.toLowerCase())
    if (found?.startsWith('.') === true)
      throw new SqlError(
        'SQL_INVALID',
        `column ${found} can't be partitioned by: readers skip folders whose name starts with a dot`,
        { hint: 'give it another name with AS' },
      )
    if (found !== undefined) return quoteName(found)
    throw new QuestlogError(
      'SQL_INVALID',
      `there is no column ${wanted} to partition by; there are ${names.join(', ')}`,
    )
  })
  const texts = described.filter(({ isText }) => isText).map(({ name }) => quoteName(name))
  const emptied = texts
    .filter((name) => partitions.includes(name))
    .map((name) => `nullif(${name}, '') AS ${name}`)
  const columns = emptied.length === 0 ? '*' : `* REPLACE (${emptied.join(', ')})`
  const rows = `SELECT ${columns} FROM (${sql}\n) AS rows(${names.map(quoteName).join(', ')})`
  const options = ['FORMAT parquet', 'COMPRESSION snappy']
  let path = join(target.folder, `${target.fileName}.snappy.parquet`)
  if (partitions.length > 0) {
    path = target.folder
    const pattern = target.fileName.replace(/0$/, '{i}') // the number that DuckDB gives a file of a folder
    options.push(
      `PARTITION_BY (${partitions.join(', ')})`,
      `FILENAME_PATTERN ${quoteText(pattern)}`,
      "FILE_EXTENSION 'snappy.parquet'",
      'OVERWRITE_OR_IGNORE true',
    )
  }
  const [result] = await queryRows(
    duckdb,
    `COPY (${rows}) TO ${quoteText(path)} (${options.join(', ')})`,
  )
  return Number(result?.['Count'] ?? 0)
}

/** DuckDB's names, in the case of the table; unnamed columns as in a result. */
async function describeColumns(
  duckdb: DuckDBConnection,
  plan: Extract<Plan, { kind: 'select' }>,
): Promise<readonly { readonly name: string; readonly isText: boolean }[]> {
  const described = await queryRows(duckdb, `DESCRIBE ${plan.source.sql}`)
  const own = described.map((row) => cellText(row, 'column_name'))
  return resultNames(plan.tree, own).map((shown, index) => {
    const name = own[index] ?? shown
    const isText = cellText(described[index] ?? {}, 'column_type') === 'VARCHAR'
    return { name: name.toLowerCase() === shown ? name : shown, isText }
  })
}
