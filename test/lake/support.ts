import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DuckDBInstance, type DuckDBConnection } from '@duckdb/node-api'
import { icebergRead } from 'icebird'
import type { Clock } from '../../src/core/clock.ts'
import { queryRows } from '../../src/core/duckdb.ts'
import { realFiles, type Files } from '../../src/core/files.ts'
import { pathOf } from '../../src/lake/location.ts'
import type { DataFile, FileMetrics } from '../../src/lake/manifest.ts'
import { scanSql, writeDataFiles } from '../../src/lake/parquet.ts'
import type { LakeTable, TableLocation } from '../../src/lake/table.ts'
import { duckdbType, quoteName, type Column } from '../../src/plan/columns.ts'

/** Of a file about which nothing is known but its size. */
export const noMetrics: FileMetrics = {
  columnSizes: new Map(),
  valueCounts: new Map(),
  nullCounts: new Map(),
  nanCounts: new Map(),
  lowerBounds: new Map(),
  upperBounds: new Map(),
}

/** A clock that stands until it is told to go on. */
export class TestClock implements Clock {
  ms = Date.parse('2026-11-21T12:00:00Z')
  nowMs(): number {
    return this.ms
  }
  monotonicMs(): number {
    return this.ms
  }
  async sleep(): Promise<void> {}
  after(): () => void {
    return () => {}
  }
}

export interface Lake extends AsyncDisposable {
  readonly folder: string
  readonly clock: TestClock
  at(name?: string, files?: Files): TableLocation
}

export interface LakeWithDuckdb extends Lake {
  readonly connection: DuckDBConnection
}

/** An empty lake in a temporary folder. */
export async function createBareLake(prefix = 'questlog lake '): Promise<Lake> {
  const folder = await mkdtemp(join(tmpdir(), prefix))
  const clock = new TestClock()
  return {
    folder,
    clock,
    at: (name = 'swords', files = realFiles) => ({
      files,
      clock,
      lakeFolder: folder,
      namespace: 'default',
      name,
    }),
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true }),
  }
}

/** An empty lake in a temporary folder, and a DuckDB. */
export async function createLake(prefix?: string): Promise<LakeWithDuckdb> {
  const lake = await createBareLake(prefix)
  const instance = await DuckDBInstance.create(':memory:', { threads: '2' })
  const connection = await instance.connect()
  await connection.run("SET TimeZone = 'UTC'")
  return {
    ...lake,
    connection,
    async [Symbol.asyncDispose]() {
      connection.closeSync()
      instance.closeSync()
      await lake[Symbol.asyncDispose]()
    },
  }
}

/** The columns of most tests: one of the user's and questlog's own. */
export const plainColumns: readonly Column[] = [
  { name: 'Host', type: { kind: 'string' } },
  { name: '_log_partition', type: { kind: 'int' } },
  { name: '_offset', type: { kind: 'long' } },
  { name: '_timestamp', type: { kind: 'timestamptz' } },
]

/** Writes the rows of a SELECT as data files of the table. */
export async function writeRows(
  lake: LakeWithDuckdb,
  table: LakeTable,
  select: string,
  batchId: string,
): Promise<readonly DataFile[]> {
  const columns = table.columns.map(
    (column) => `${quoteName(column.name)} ${duckdbType(column.type)}`,
  )
  await lake.connection.run(`CREATE OR REPLACE TABLE staged (${columns.join(', ')})`)
  await lake.connection.run(`INSERT INTO staged BY NAME ${select}`)
  return writeDataFiles({
    connection: lake.connection,
    files: realFiles,
    table,
    relation: 'staged',
    batchId,
  })
}

/** `count` rows of `plainColumns` from offset `first`, all on one day. */
export function plainRows(first: number, count: number): string {
  return `SELECT 'user' || (i % 3) || '.example' AS "Host", 0 AS _log_partition, i AS _offset,
    TIMESTAMPTZ '2026-11-21 10:00:00+00' + INTERVAL (i) MILLISECOND AS _timestamp
    FROM range(${first}, ${first + count}) r(i)`
}

/** All rows of the current snapshot through our own scan. */
export async function scanRows(lake: LakeWithDuckdb, table: LakeTable, tail = '') {
  const sql = scanSql(table, await table.liveFiles())
  return queryRows(lake.connection, `SELECT * FROM (${sql}) ${tail}`)
}

/** All rows through icebird, which knows nothing of our code but the files. */
export async function readByIcebird(table: LakeTable): Promise<Record<string, unknown>[]> {
  const before = globalThis.fetch
  globalThis.fetch = fetchFile
  try {
    return await icebergRead({ tableUrl: `file://${table.folder}` })
  } finally {
    globalThis.fetch = before
  }
}

/** fetch for file locations, with ranges. */
async function fetchFile(input: unknown, init?: RequestInit): Promise<Response> {
  const bytes = await readFile(pathOf(String(input)))
  const range = /bytes=(\d+)-(\d*)/.exec(new Headers(init?.headers).get('range') ?? '')
  if (init?.method === 'HEAD')
    return new Response(null, { headers: { 'content-length': String(bytes.length) } })
  if (range === null) return new Response(bytes)
  const end = range[2] === '' ? bytes.length : Number(range[2]) + 1
  return new Response(bytes.subarray(Number(range[1]), end), { status: 206 })
}

/** What happens at an operation: nothing, or a failure before or after it took place. */
export type Fault = 'none' | 'before' | 'after'

/** The real files, except that operation number `n` of those that change or sync something meets `fault(n, name)`. */
export function faultyFiles(fault: (n: number, name: string) => Fault): Files & { count: number } {
  const counted = {
    ...realFiles,
    count: 0,
    async openAppend(path: string) {
      await meet('openAppend', async () => (await realFiles.openAppend(path)).close())
      return realFiles.openAppend(path)
    },
    readAll: (path: string) => meet('readAll', () => realFiles.readAll(path)),
    writeNew: (path: string, bytes: Uint8Array, named?: () => void) =>
      meet(
        'writeNew',
        () => realFiles.writeNew(path, bytes, named),
        () => realFiles.writeNew(path, bytes.subarray(0, bytes.length / 2)),
      ),
    syncFile: (path: string) => meet('syncFile', () => realFiles.syncFile(path)),
    syncFolder: (path: string) => meet('syncFolder', () => realFiles.syncFolder(path)),
    link: (from: string, to: string) => meet('link', () => realFiles.link(from, to)),
    rename: (from: string, to: string) => meet('rename', () => realFiles.rename(from, to)),
    unlink: (path: string) => meet('unlink', () => realFiles.unlink(path)),
    makeFolder: (path: string) => meet('makeFolder', () => realFiles.makeFolder(path)),
    list: (path: string) => meet('list', () => realFiles.list(path)),
    sizeOf: (path: string) => meet('sizeOf', () => realFiles.sizeOf(path)),
  }
  /** `torn` is what is left behind by an operation that fails before its end. */
  async function meet<T>(
    name: string,
    operation: () => Promise<T>,
    torn?: () => Promise<unknown>,
  ): Promise<T> {
    const kind = fault(++counted.count, name)
    if (kind === 'before') {
      await torn?.()
      throw new IoError(name)
    }
    const result = await operation()
    if (kind === 'after') throw new IoError(name)
    return result
  }
  return counted
}

class IoError extends Error {
  readonly code = 'EIO'
  constructor(operation: string) {
    super(`EIO: i/o error, ${operation}`)
  }
}
