import { randomUUID } from 'node:crypto'
import { DuckDBInstance } from '@duckdb/node-api'
import type { DuckDBConnection } from '../src/core/duckdb.ts'
import { realClock } from '../src/core/clock.ts'
import { realFiles, type Files } from '../src/core/files.ts'
import type { DataFile } from '../src/lake/manifest.ts'
import { writeDataFiles } from '../src/lake/parquet.ts'
import { createTable, type LakeTable } from '../src/lake/table.ts'
import { leadingColumns, systemColumns, type Column } from '../src/plan/columns.ts'

export interface PastTable {
  readonly name: string
  readonly rows: number
  readonly files: number
}

/** The day that the rows lie in: one, so that a file a day is a file. */
export const pastDay = '2026-01-15'
const dayStartUs = Date.parse(`${pastDay}T00:00:00Z`) * 1000
const dayUs = 86_400_000_000

/** The rows are of the last minute before this. */
export const pastEnd = `${pastDay}T23:59:59.999Z`

const columns: readonly Column[] = [
  ...leadingColumns,
  { name: 'color', type: { kind: 'string' } },
  { name: 'damage', type: { kind: 'long' } },
  ...systemColumns,
]

/** They are read, not kept: syncing thousands of files would take longer than all queries. */
const unsynced: Files = { ...realFiles, syncFile: async () => {}, syncFolder: async () => {} }

/** Writes tables into the lake of a data folder on which nothing runs. Their rows have offsets, but lie on no log. */
export async function writePastTables(
  lakeFolder: string,
  tables: readonly PastTable[],
): Promise<void> {
  const instance = await DuckDBInstance.create(':memory:', { threads: '2', memory_limit: '2GB' })
  const connection = await instance.connect()
  await connection.run("SET TimeZone = 'UTC'")
  for (const table of tables) await writeTable(lakeFolder, connection, table)
  connection.closeSync()
  instance.closeSync()
}

async function writeTable(
  lakeFolder: string,
  connection: DuckDBConnection,
  { name, rows, files }: PastTable,
): Promise<void> {
  const location = { files: unsynced, clock: realClock, lakeFolder, namespace: 'default', name }
  const table = await createTable(location, columns, {})
  const written: DataFile[] = []
  const perFile = rows / files
  for (let file = 0; file < files; file++)
    written.push(...(await writeFile(connection, table, file * perFile, perFile, dayUs / rows)))
  await table.commit({ batchId: randomUUID(), files: written })
}

async function writeFile(
  connection: DuckDBConnection,
  table: LakeTable,
  from: number,
  rows: number,
  stepUs: number,
): Promise<readonly DataFile[]> {
  const time = `make_timestamp(${dayStartUs} + (n * ${stepUs})::BIGINT)`
  const pick = (list: string, salt: number) =>
    `(${list})[1 + (hash(n + ${salt}) % len(${list})::UBIGINT)::BIGINT]`
  await connection.run(`CREATE OR REPLACE TEMP TABLE past AS SELECT
    '{"event_type":"purchase_sword"}' AS raw_event,
    NULL AS "timestamp",
    '*/*' AS "Accept",
    ${pick(`['user1.comcast.com', 'user2.att.com', 'user3.gogov.com']`, 1)} AS "Host",
    'ApacheBench/2.3' AS "User-Agent",
    'purchase_sword' AS event_type,
    ${pick(`['red', 'green', 'blue', 'black', 'white']`, 2)} AS color,
    (hash(n + 3) % 100)::BIGINT AS damage,
    NULL AS event_id,
    0 AS _log_partition,
    n AS _offset,
    ${time}::TIMESTAMPTZ AS _timestamp
    FROM range(${from}, ${from + rows}) AS numbers(n)`)
  return writeDataFiles({
    connection,
    files: unsynced,
    table,
    relation: 'past',
    batchId: randomUUID(),
  })
}
