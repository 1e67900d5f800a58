import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { openDuckdb, queryRows } from '../../src/core/duckdb.ts'
import { failingBytesMax } from '../../src/stream/held-tables.ts'
import { attentionLines } from '../../src/stream/status.ts'
import { expectEachOnce } from '../stream/commit-points.ts'
import { FailingFiles } from '../stream/failing-files.ts'
import { define, World } from '../stream/world.ts'

const names = Array.from({ length: 10 }, (_, n) => `t${n}`)
const others = names.slice(1)
const definition = define({
  events: Object.fromEntries(names.map((name) => [`event_${name}`, {}])),
  tables: Object.fromEntries(
    names.map((name) => [name, { from: `event_${name}`, trigger: '100ms' }]),
  ),
})

const payloadBytes = 1200
const eventBytes = payloadBytes * (4 / 3)
const batch = () => [
  ...Array.from({ length: 2500 }, () => ({
    event_type: 'event_t0',
    payload: randomBytes(payloadBytes).toString('base64'),
  })),
  ...others.map((name) => ({ event_type: `event_${name}` })),
]

const count = (rows: Awaited<ReturnType<World['query']>>) => Number(rows[0]?.['n'])
const othersCount = others.map((name) => `SELECT count(*) AS n FROM "default".${name}`)
const sumOfOthers = `SELECT sum(n)::INTEGER AS n FROM (${othersCount.join(' UNION ALL ')})`

/** Appends batches, whose events the nine other tables show at once; gives how many. */
async function load(world: World, bytes: number, before: number): Promise<number> {
  const batches = Math.ceil(bytes / (2500 * eventBytes))
  for (let n = 1; n <= batches; n++) {
    await world.append(batch())
    await world.stream?.caughtUp(others, new AbortController().signal)
    const connection = await world.instance?.connect()
    if (connection === undefined) throw new Error('the stream is not running')
    expect(count(await queryRows(connection, sumOfOthers))).toBe((before + n) * others.length)
    connection.closeSync()
    expect([...(world.stream?.failures ?? [])]).toEqual([])
  }
  return before + batches
}

const committed = (world: World, name: string) =>
  world.stream?.tables.find(({ lake }) => lake.name === name)?.lake.recordCount ?? 0

async function worldWith(settings: Record<string, unknown>) {
  const failing = new FailingFiles()
  const world = await World.open({
    files: failing.files,
    settings: {
      commitRetryDelayMs: 50,
      catchUpTimeoutMs: 60_000,
      batchBytesMax: 2 ** 20,
      freshBytesMax: 8 * 2 ** 20,
      ...settings,
    },
  })
  await world.start(definition)
  failing.refuses = (path) => path.includes('/t0/data')
  return { world, failing }
}

test('a table that fails keeps twice the memory visible, on disk, and stops none of the nine others', async () => {
  const memoryMiB = 96
  const { world, failing } = await worldWith({ duckdbMemoryMiB: memoryMiB, duckdbTempMiB: 4000 })
  await using _ = world
  const batches = await load(world, 2 * memoryMiB * 2 ** 20, 0)
  expect(await world.count('"default".t0')).toBe(batches * 2500)
  const [row] = await world.query('SELECT sum(size)::BIGINT AS n FROM duckdb_temporary_files()')
  expect(Number(row?.['n'])).toBeGreaterThan(memoryMiB * 2 ** 20)
  expect(committed(world, 't0')).toBe(0)
  for (const name of others) expect(committed(world, name)).toBeGreaterThan(0)
  expect((await world.stream?.stop())?.map(({ lake }) => lake.name)).toEqual(['t0'])
  world.instance?.closeSync()
  await world.startOn(definition) // reads them again, and fails again
  while ((world.stream?.topics[0]?.head(0) ?? 0) < batches * (2500 + others.length))
    await new Promise((resolve) => setTimeout(resolve, 5))
  expect(await world.count('"default".t0')).toBe(batches * 2500)
  failing.refuses = () => false
  expect(await world.stream?.stop()).toEqual([])
  expect(committed(world, 't0')).toBe(batches * 2500)
})

test('with more than there is room for, it alone stops reading, says so, and reads on from the log when it can be committed', async () => {
  const { world, failing } = await worldWith({ duckdbMemoryMiB: 192, duckdbTempMiB: 64 })
  await using _ = world
  const bytesMax = failingBytesMax(world.settings)
  let batches = await load(world, 2.5 * bytesMax, 0)
  const { stream, instance } = world
  if (stream === undefined || instance === undefined) throw new Error('the stream is not running')
  for (const names of [['t0'], ['dead_letters'], null])
    await expect(stream.caughtUp(names, new AbortController().signal)).rejects.toMatchObject({
      code: 'CATCHING_UP',
      message: expect.stringContaining("table t0 can't be committed"),
    })
  const connection = await instance.connect()
  const shown = count(
    await queryRows(connection, 'SELECT count(*)::INTEGER AS n FROM "default".t0'),
  )
  expect(shown * eventBytes).toBeGreaterThan(bytesMax / 2)
  expect(shown * eventBytes).toBeLessThan(bytesMax * 2)
  expect((await attentionLines(stream, connection)).join()).toContain('later ones wait on the log')
  connection.closeSync()
  for (const name of others) expect(committed(world, name)).toBeGreaterThan(0)

  expect((await stream.stop()).map(({ lake }) => lake.name)).toEqual(['t0'])
  instance.closeSync()
  await world.startOn(definition)
  batches = await load(world, bytesMax / 2, batches)
  failing.refuses = () => false
  while ((world.stream?.tables ?? []).some(({ failure }) => failure !== null))
    await new Promise((resolve) => setTimeout(resolve, 5))
  expect(await world.count('"default".t0')).toBe(batches * 2500)
  await expectEachOnce(world)

  failing.refuses = (path) => path.includes('/t0/data')
  batches = await load(world, 1.5 * bytesMax, batches)
  expect(world.stream?.held.size).toBe(1)
  failing.refuses = () => false
  expect(await world.stream?.stop()).toEqual([])
  expect(committed(world, 't0')).toBe(batches * 2500)
  expect(world.fatal).toBeUndefined()
})

test('temporary files stay below their limit', async () => {
  const { world } = await worldWith({})
  await using _ = world
  const instance = await openDuckdb({
    memoryMiB: 64,
    threads: 1,
    temporaryFolder: `${world.folder}/other-temp`,
    temporaryMiB: 32,
  })
  const connection = await instance.connect()
  const fill = async () => {
    for (let n = 0; n < 20; n++)
      await connection.run(
        `CREATE TABLE t${n} AS SELECT uuid() AS a, uuid() AS b, uuid()::VARCHAR AS c FROM range(200000)`,
      )
  }
  await expect(fill()).rejects.toThrow('max_temp_directory_size')
  connection.closeSync()
  instance.closeSync()
})
