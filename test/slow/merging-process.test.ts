import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { constants, getPriority, tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { MergingProcess } from '../../src/app/merging-process.ts'
import { ownerOf } from '../../src/app/stopped-tables.ts'
import type { Clock } from '../../src/core/clock.ts'
import { openDuckdb, queryRows } from '../../src/core/duckdb.ts'
import { realFiles } from '../../src/core/files.ts'
import { listNames } from '../../src/core/host.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { resolveSettings } from '../../src/core/settings.ts'
import { scanSql } from '../../src/lake/parquet.ts'
import { createTable, type LakeTable } from '../../src/lake/table.ts'
import { Maintenance } from '../../src/stream/maintenance.ts'
import { isAlive, until } from '../app/fixtures/fake-system.ts'
import { duckdbIn, endless, mergingProgram } from '../app/fixtures/merging-parent.ts'
import { createLake, plainColumns, plainRows, writeRows } from '../lake/support.ts'

const timeoutMs = 600_000
const parent = fileURLToPath(new URL('../app/fixtures/merging-parent.ts', import.meta.url))

let folder = ''
let merging: MergingProcess
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'questlog-merging-'))
  merging = new MergingProcess({ ...mergingProgram, duckdb: duckdbIn(folder) })
})
afterEach(async () => {
  await merging.close()
  rmSync(folder, { recursive: true, force: true })
})

/** Runs a statement; to the process that ran it. */
async function pidAfter(sql: string): Promise<number> {
  await merging.query(sql, timeoutMs)
  if (merging.pid === null) throw new Error('it is gone')
  return merging.pid
}

const kill = () => process.kill(merging.pid ?? 0, 'SIGKILL')

test('it answers with rows, and with the words of what failed', async () => {
  expect(await merging.query("SELECT 1::BIGINT AS n, 'x' AS t", timeoutMs)).toEqual([
    { n: '1', t: 'x' },
  ])
  await expect(merging.query('SELECT nothing', timeoutMs)).rejects.toThrow(
    'Referenced column "nothing"',
  )
  expect(await merging.query('SELECT 2 AS n', timeoutMs)).toEqual([{ n: 2 }])
})

test('whatever else wants a processor gets it first: every thread has the lowest priority', async () => {
  const pid = await pidAfter('SELECT count(*) FROM range(1000000)')
  const threads = listNames(`/proc/${pid}/task`).map(Number)
  expect(threads.length > 0 || process.platform !== 'linux').toBe(true)
  for (const id of [pid, ...threads]) expect(getPriority(id)).toBe(constants.priority.PRIORITY_LOW)
})

test('it stays while there is something to do, and goes when there was nothing for a while', async () => {
  const idle = new MergingProcess({ ...mergingProgram, duckdb: duckdbIn(folder), idleMs: 1 })
  try {
    await idle.query('SELECT 1', timeoutMs)
    const { pid } = idle
    await until('it ends', () => pid !== null && !isAlive(pid))
    expect(await idle.query('SELECT 1', timeoutMs)).toHaveLength(1)
  } finally {
    await idle.close()
  }
  const pid = await pidAfter('SELECT 1')
  expect(await pidAfter('SELECT 1')).toBe(pid)
})

test('one that is killed fails its statement, and the next one runs in another', async () => {
  const pid = await pidAfter('SELECT 1')
  const running = merging.query(endless, timeoutMs)
  kill()
  await expect(running).rejects.toThrow('the process that merges files was ended by SIGKILL')
  expect(await pidAfter('SELECT 1')).not.toBe(pid)
})

test('what everything else leaves no time for is given up', async () => {
  const pid = await pidAfter('SELECT 1')
  await expect(merging.query(endless, 10)).rejects.toMatchObject({ code: 'OVERLOADED' })
  expect(isAlive(pid)).toBe(false)
  expect(await pidAfter('SELECT 1')).not.toBe(pid)
})

test('the end gives up what runs', async () => {
  const pid = await pidAfter('SELECT 1')
  const running = merging.query(endless, timeoutMs)
  const refused = expect(running).rejects.toMatchObject({ code: 'SHUTTING_DOWN' })
  await merging.close()
  await refused
  expect(isAlive(pid)).toBe(false)
  await expect(merging.query('SELECT 1', timeoutMs)).rejects.toMatchObject({
    code: 'SHUTTING_DOWN',
  })
})

test('it ends with the process that started it, also when that was killed in the middle of a merge', async () => {
  const child = spawn(process.execPath, ['--import', 'jiti/register', parent, folder], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const [line] = (await once(child.stdout, 'data')) as [Buffer]
  const pid = Number(line.toString())
  expect(isAlive(pid)).toBe(true)
  child.kill('SIGKILL')
  await until('it ends', () => !isAlive(pid))
})

test('a process that is killed in the middle of a merge costs no row and leaves no file; the next try merges them', async () => {
  await using lake = await createLake()
  const table = await createTable(lake.at(), plainColumns, {})
  for (let n = 0; n < 2; n++) {
    lake.clock.ms += 1000
    const files = await writeRows(lake, table, plainRows(n * 400_000, 400_000), `batch-${n}`)
    await table.commit({ batchId: `batch-${n}`, files })
  }
  const files = await table.liveFiles()
  const data = dirname(files[0]?.path ?? '')
  const maintenance = maintain(table, lake.clock)
  const compact = () => maintenance.do({ namespace: 'default', name: 'swords', work: 'compact' })

  await pidAfter('SELECT 1') // it is there already: the kill falls into the merge
  const refused = expect(compact()).rejects.toThrow('was ended by SIGKILL')
  await until('the merge writes', async () => (await realFiles.list(data)).length > 2)
  kill()
  await refused
  expect(await realFiles.list(data)).toHaveLength(2)
  expect(await table.liveFiles()).toEqual(files)

  expect((await compact()).files).toEqual({ before: 2, after: 1 })
  const [row] = await queryRows(
    lake.connection,
    `SELECT count(*)::INTEGER AS n, count(DISTINCT _offset)::INTEGER AS different
      FROM (${scanSql(table, await table.liveFiles())})`,
  )
  expect(row).toEqual({ n: 800_000, different: 800_000 })
  await maintenance.stop()
})

function maintain(table: LakeTable, clock: Clock): Maintenance {
  return new Maintenance({
    stream: ownerOf(table),
    files: realFiles,
    clock,
    logger: silentLogger,
    settings: resolveSettings(),
    openDuckdb: () => openDuckdb(duckdbIn(folder)),
    background: merging,
  })
}
