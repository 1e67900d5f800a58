import { mkdtempSync, mkdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { tableDdl } from '../../src/cli/table-ddl.ts'
import { openDuckdb, queryRows } from '../../src/core/duckdb.ts'
import { leadingColumns, type Column } from '../../src/plan/columns.ts'

const table = { name: 'sword_purchases', columns: leadingColumns, folder: '/data/exports/tmp/x' }

test('Hive gets an external table of text columns, with quoted names and the property that its writer reads', () => {
  expect(tableDdl(table, 'hive')).toEqual([
    'drop table if exists `sword_purchases`;',
    'create external table if not exists `sword_purchases` (',
    '  `raw_event` string,',
    '  `timestamp` string,',
    '  `Accept` string,',
    '  `Host` string,',
    '  `User-Agent` string,',
    '  `event_type` string',
    ')',
    'stored as parquet',
    "location 'file:///data/exports/tmp/x'",
    "tblproperties ('parquet.compression'='SNAPPY');",
  ])
})

test('Spark and Trino get nested types in their own words', () => {
  const columns: readonly Column[] = [
    { name: 'at', type: { kind: 'timestamptz' } },
    { name: 'Tags', type: { kind: 'list', element: { kind: 'string' } } },
  ]
  const nested = { ...table, columns, folder: "/it's" }
  expect(tableDdl(nested, 'spark').join('\n')).toContain('`Tags` array<string>')
  expect(tableDdl(nested, 'spark').at(-1)).toBe("LOCATION 'file:///it\\'s';")
  expect(tableDdl(nested, 'trino').join('\n')).toContain(
    '"at" timestamp(6),\n  "tags" array(varchar)',
  )
  expect(tableDdl(nested, 'trino').at(-1)).toContain("external_location = 'file:///it''s'")
})

test('DuckDB reads an export by the view that is printed for it', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'questlog-ddl-'))
  const duckdb = await openDuckdb({
    memoryMiB: 256,
    threads: 1,
    temporaryFolder: join(folder, 'temp'),
    temporaryMiB: 64,
  })
  const connection = await duckdb.connect()
  try {
    mkdirSync(join(folder, 'x'))
    await connection.run(`COPY (SELECT 'a' AS "User-Agent") TO '${folder}/x/part-0.snappy.parquet'`)
    await connection.run(tableDdl({ ...table, folder: `${folder}/x` }, 'duckdb').join('\n'))
    const rows = await queryRows(connection, 'SELECT "User-Agent" FROM sword_purchases')
    expect(rows).toEqual([{ 'User-Agent': 'a' }])
  } finally {
    connection.closeSync()
    rmSync(folder, { recursive: true })
  }
})
