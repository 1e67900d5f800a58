import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { openDuckdb, queryRows } from '../../src/core/duckdb.ts'
import { realFiles, type Files } from '../../src/core/files.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { resolveSettings } from '../../src/core/settings.ts'
import { scanSql, writeDataFiles } from '../../src/lake/parquet.ts'
import { createTable, type LakeTable } from '../../src/lake/table.ts'
import { duckdbType, quoteName } from '../../src/plan/columns.ts'
import { Maintenance } from '../../src/stream/maintenance.ts'
import { createLake, plainColumns, readByIcebird, type LakeWithDuckdb } from '../lake/support.ts'

const commits = 8640
const intervalMs = 10_000
const rowsPerCommit = 20
/** The disk's waiting is left out; its order is not what this is about. */
const unsynced: Files = { ...realFiles, syncFile: async () => {}, syncFolder: async () => {} }

interface Hour {
  readonly liveFiles: number
  readonly snapshots: number
  readonly metadataBytes: number
  readonly files: number
  readonly commitMs: number
  /** What work that is always the same took just then: how fast the machine was. */
  readonly yardstickMs: number
  readonly queryMs: number
  /** The same query over one file with all rows, in turn with the other. */
  readonly oneFileMs: number
}

/** A day of commits every ten seconds, over midnight, looked after as in a running instance. */
class Day {
  readonly lake: LakeWithDuckdb
  readonly table: LakeTable
  readonly maintenance: Maintenance
  readonly hours: Hour[] = []
  #commitMs: number[] = []

  constructor(lake: LakeWithDuckdb, table: LakeTable) {
    this.lake = lake
    this.table = table
    this.maintenance = new Maintenance({
      stream: {
        committables: [{ lake: table }],
        changeFiles: async (_table, change) => {
          await change()
          return true
        },
        readersNow: () => () => true,
        isInUse: () => false,
      },
      files: unsynced,
      clock: lake.clock,
      logger: silentLogger,
      settings: resolveSettings(),
      openDuckdb: () =>
        openDuckdb({
          memoryMiB: 256,
          threads: 1,
          temporaryFolder: join(lake.folder, 'temp'),
          temporaryMiB: 100,
        }),
    })
  }

  async run(): Promise<void> {
    for (let n = 0; n < commits; n++) {
      await this.#commit(n)
      await this.maintenance.runOnce()
      this.lake.clock.ms += intervalMs
      if ((n + 1) % 360 === 0) this.hours.push(await this.#measure(n + 1))
    }
  }

  async #commit(n: number): Promise<void> {
    const { connection, clock } = this.lake
    await connection.run('DELETE FROM staged')
    await connection.run(
      `INSERT INTO staged SELECT 'user' || (i % 7) || '.example', 0, i, make_timestamptz(${clock.ms * 1000})
       FROM range(${n * rowsPerCommit}, ${(n + 1) * rowsPerCommit}) r(i)`,
    )
    const batchId = `batch-${n}`
    const day = new Date(clock.ms).toISOString().slice(0, 10)
    const { table } = this
    const relation = 'staged'
    const files = await writeDataFiles({
      connection,
      files: unsynced,
      table,
      relation,
      batchId,
      day,
    })
    const startMs = performance.now()
    const offsets = JSON.stringify({ [table.uuid]: { 0: String((n + 1) * rowsPerCommit) } })
    await table.commit({ batchId, files, properties: { 'questlog.offsets': offsets } })
    this.#commitMs.push(performance.now() - startMs)
  }

  async #measure(done: number): Promise<Hour> {
    const { table, lake } = this
    const scan = scanSql(table, await table.liveFiles())
    const oneFile = join(lake.folder, 'all.parquet')
    await lake.connection.run(`COPY (${scan}) TO '${oneFile}' (COMPRESSION zstd)`)
    const queryMs: number[] = []
    const oneFileMs: number[] = []
    const time = async (source: string, times: number[]) => {
      const startMs = performance.now()
      const [row] = await queryRows(
        lake.connection,
        `SELECT count(*)::INTEGER AS n, count(DISTINCT _offset)::INTEGER AS d FROM (${source}) WHERE "Host" <> ''`,
      )
      times.push(performance.now() - startMs)
      expect(row).toEqual({ n: done * rowsPerCommit, d: done * rowsPerCommit })
    }
    for (let round = 0; round < 9; round++) {
      await time(scan, queryMs)
      await time(`SELECT * FROM '${oneFile}'`, oneFileMs)
    }
    const metadata = join(table.folder, 'metadata')
    const path = join(metadata, `v${table.version}.metadata.json`)
    const names = await realFiles.list(metadata)
    const commitMs = lowest(this.#commitMs)
    this.#commitMs = []
    const yardstickMs = lowest(await yardsticks(join(lake.folder, 'yardstick')))
    return {
      liveFiles: (await table.liveFiles()).length,
      snapshots: table.metadata.snapshots?.length ?? 0,
      metadataBytes: (await realFiles.sizeOf(path)) ?? 0,
      files: names.length,
      commitMs,
      yardstickMs,
      queryMs: lowest(queryMs),
      oneFileMs: lowest(oneFileMs),
    }
  }
}

/** Times of work like that of a commit: half a megabyte of JSON is read, changed and written. */
async function yardsticks(path: string): Promise<number[]> {
  const text = JSON.stringify(
    Array.from({ length: 4_000 }, (_, n) => ({ n, text: 'x'.repeat(99) })),
  )
  const times: number[] = []
  for (let round = 0; round < 20; round++) {
    const startMs = performance.now()
    const items = JSON.parse(text) as { n: number }[]
    for (const item of items) item.n += round
    await rm(path, { force: true })
    await unsynced.writeNew(path, Buffer.from(JSON.stringify(items)))
    times.push(performance.now() - startMs)
  }
  await rm(path)
  return times
}

/** The fastest but one tenth: what the work takes when nobody else is on the machine. */
function lowest(times: readonly number[]): number {
  const sorted = times.toSorted((a, b) => a - b)
  return Math.round((sorted[Math.floor(sorted.length / 10)] ?? Number.NaN) * 10) / 10
}

test('after a day of commits every ten seconds the table is as light as after an hour', async () => {
  await using lake = await createLake()
  const columns = plainColumns.map(
    (column) => `${quoteName(column.name)} ${duckdbType(column.type)}`,
  )
  await lake.connection.run(`CREATE TABLE staged (${columns.join(', ')})`)
  const table = await createTable(lake.at('swords', unsynced), plainColumns, {})
  const day = new Day(lake, table)
  await day.run()
  await day.maintenance.stop()
  expect(day.maintenance.failures.size).toBe(0)
  const report = day.hours.map((hour) => JSON.stringify(hour)).join('\n')
  for (const hour of day.hours) {
    expect(hour.liveFiles, report).toBeLessThanOrEqual(51)
    expect(hour.metadataBytes, report).toBeLessThan(1_000_000)
    expect(hour.files, report).toBeLessThan(2_500)
  }
  const [early, late] = [day.hours[1], day.hours.at(-1)]
  if (early === undefined || late === undefined) throw new Error('not measured')
  // By the machine's own pace, which need not be the same all day.
  const paceMs = Math.max(1, late.yardstickMs)
  expect(late.queryMs, report).toBeLessThan(late.oneFileMs * 3 + 3 * paceMs)
  expect(late.commitMs / paceMs, report).toBeLessThan(
    (early.commitMs / Math.max(1, early.yardstickMs)) * 3,
  )
  // Snapshots of the last hour can be read; the newest rows of the table are there for another reader too.
  const kept = table.metadata.snapshots ?? []
  expect(kept.length, report).toBeGreaterThan(360)
  const rows = await readByIcebird(table)
  expect(rows.length).toBe(commits * rowsPerCommit)
  process.stdout.write(`${report}\n`)
})
