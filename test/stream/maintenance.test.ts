import { join } from 'node:path'
import { expect, test } from 'vitest'
import { realClock } from '../../src/core/clock.ts'
import { openDuckdb, queryRows } from '../../src/core/duckdb.ts'
import { QuestlogError } from '../../src/core/errors.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { Maintenance } from '../../src/stream/maintenance.ts'
import type { Stream } from '../../src/stream/stream.ts'
import { expectEachOnce } from './commit-points.ts'
import { define, World } from './world.ts'

const definition = define({
  events: { purchase_sword: {}, join_guild: {} },
  tables: {
    sword_purchases: { from: 'purchase_sword', trigger: '100ms' },
    events: { from: '*', trigger: '100ms' },
  },
})
const settings = { maintenanceIntervalMs: 100, snapshotAgeMsMin: 300, snapshotCountMin: 1 }

function maintain(world: World, stream: Stream): Maintenance {
  const maintenance = new Maintenance(partsOf(world, stream))
  maintenance.start()
  return maintenance
}

function partsOf(world: World, stream: Stream) {
  const { files, settings } = world
  const openDuckdb = () => mergingDuckdb(world)
  return { stream, files, clock: realClock, logger: silentLogger, settings, openDuckdb }
}

function mergingDuckdb(world: World) {
  return openDuckdb({
    memoryMiB: 128,
    threads: 1,
    temporaryFolder: join(world.folder, 'merge-temp'),
    temporaryMiB: 100,
  })
}

/** The data files in the folder of a table, named or not. */
async function parquetFiles(world: World, table: string): Promise<string[]> {
  const data = join(world.folder, 'lake', 'default', table, 'data')
  const found = []
  for (const day of await world.files.list(data))
    found.push(...(await world.files.list(join(data, day))))
  return found
}

test('files are merged and removed while events are committed and counted: no row is ever missing or there twice', async () => {
  await using world = await World.open({ settings })
  const stream = await world.start(definition)
  const maintenance = maintain(world, stream)
  const table = stream.tables.find((each) => each.definition.name === 'sword_purchases')
  const merges = () =>
    (table?.lake.metadata.snapshots ?? []).filter(
      ({ summary }) => summary['operation'] === 'replace',
    )
  const seen = new Set<unknown>()
  let sent = 0
  while (seen.size < 2) {
    for (const snapshot of merges()) seen.add(snapshot['snapshot-id'])
    const type = sent % 2 === 0 ? 'purchase_sword' : 'join_guild'
    await world.append([{ event_type: type, n: ++sent }])
    const [row] = await world.query(
      `SELECT (SELECT count(*)::INTEGER FROM "default".events) AS total,
        (SELECT count(DISTINCT _offset)::INTEGER FROM "default".events) AS different,
        (SELECT count(*)::INTEGER FROM "default".sword_purchases) AS swords,
        (SELECT n::INTEGER FROM _counts.events) AS counted`,
    )
    const swords = Math.ceil(sent / 2)
    expect(row).toEqual({ total: sent, different: sent, swords, counted: sent })
  }
  await maintenance.stop()
  expect(maintenance.failures.size).toBe(0)
  expect((await table?.lake.liveFiles())?.length).toBeLessThan(20)
  expect(table?.lake.properties['questlog.offsets']).toBeDefined()
  await expectEachOnce(world)

  await stream.stop()
  world.abandon()
  const again = await world.start(definition)
  expect(await world.count('"default".events')).toBe(sent)
  await expectEachOnce(world)
  expect(again.failures.size).toBe(0)
})

test('a file that a statement reads stays until it ends; then nothing but what the table names is left', async () => {
  await using world = await World.open({
    settings: { ...settings, snapshotAgeMsMin: 0, orphanAgeMsMin: 60_000 },
  })
  const stream = await world.start(definition)
  const commit = async () => {
    const before = stream.tables.map(({ lake }) => lake.version)
    await world.append([{ event_type: 'purchase_sword' }])
    while (stream.tables.some(({ lake }, index) => lake.version === before[index]))
      await realClock.sleep(10)
  }
  for (let n = 0; n < 10; n++) await commit()
  const before = await parquetFiles(world, 'events')
  const lease = stream.lease()
  const maintenance = maintain(world, stream)
  const live = async () => (await stream.tables[1]?.lake.liveFiles())?.length ?? 0
  while ((await live()) > 3 || (stream.tables[1]?.lake.metadata.snapshots?.length ?? 0) > 3)
    await commit()
  const during = await parquetFiles(world, 'events')
  for (const file of before) expect(during).toContain(file)
  lease.release()
  while ((await parquetFiles(world, 'events')).length > (await live()) + 2)
    await realClock.sleep(20)
  await maintenance.stop()
  await expectEachOnce(world)
})

test('a definition that changes in the middle of a merge leaves the table whole', async () => {
  await using world = await World.open({ settings })
  const stream = await world.start(definition)
  const maintenance = maintain(world, stream)
  let sent = 0
  for (let round = 0; round < 2; round++) {
    for (let n = 0; n < 9; n++) {
      const { version } = stream.tables[0]?.lake ?? { version: 0 }
      await world.append([{ event_type: 'purchase_sword', n: ++sent }])
      while (stream.tables[0]?.lake.version === version) await realClock.sleep(5)
    }
    const params = Object.fromEntries(
      Array.from({ length: round + 1 }, (_, at) => [`column${at}`, { type: 'integer' }]),
    )
    await stream.activate(
      define({
        events: {
          purchase_sword: { params: { type: 'object', properties: params } },
          join_guild: {},
        },
        tables: { sword_purchases: { from: 'purchase_sword', trigger: '100ms' } },
      }),
    )
    expect(await world.count('"default".sword_purchases')).toBe(sent)
  }
  await maintenance.stop()
  expect(maintenance.failures.size).toBe(0)
  expect(world.fatal).toBeUndefined()
  await expectEachOnce(world)
})

test('nothing is begun after the stop', async () => {
  await using world = await World.open({ settings })
  const stream = await world.start(definition)
  const maintenance = maintain(world, stream)
  await maintenance.stop()
  const work = { namespace: 'default', name: 'events', work: 'compact' } as const
  await expect(maintenance.do(work)).rejects.toMatchObject({ code: 'SHUTTING_DOWN' })
})

test('a merge that a stop comes before is not begun, also where its DuckDB is being opened', async () => {
  await using world = await World.open({ settings: { maintenanceIntervalMs: 86_400_000 } })
  const stream = await world.start(definition)
  const { lake } = stream.tables[0] ?? expect.fail()
  for (let n = 1; n <= 2; n++) {
    await world.append([{ event_type: 'purchase_sword' }])
    while (lake.recordCount < n) await realClock.sleep(5)
  }
  let stopped: Promise<void> | undefined
  const maintenance = new Maintenance({
    ...partsOf(world, stream),
    async openDuckdb() {
      stopped = maintenance.stop()
      return mergingDuckdb(world)
    },
  })
  const work = { namespace: 'default', name: lake.name, work: 'compact' } as const
  await expect(maintenance.do(work)).rejects.toMatchObject({ code: 'SHUTTING_DOWN' })
  await stopped
  expect(await lake.liveFiles()).toHaveLength(2)
})

test('more than a little is merged in the background; a merge that was not finished there changes nothing, and is tried again', async () => {
  await using world = await World.open({ settings: { maintenanceIntervalMs: 86_400_000 } })
  const stream = await world.start(definition)
  const commit = async (count: number) => {
    const before = stream.tables.map(({ lake }) => lake.recordCount)
    await world.append(Array.from({ length: count }, () => ({ event_type: 'purchase_sword' })))
    while (stream.tables.some(({ lake }, at) => lake.recordCount < (before[at] ?? 0) + count))
      await realClock.sleep(5)
  }
  const background = await (await mergingDuckdb(world)).connect()
  let statements = 0
  const maintenance = new Maintenance({
    ...partsOf(world, stream),
    background: {
      async query(sql) {
        const rows = await queryRows(background, sql)
        statements++
        if (statements === 1) throw new Error('the process was ended')
        if (statements === 3) throw new QuestlogError('OVERLOADED', 'no time for it')
        return rows
      },
      close: async () => background.closeSync(),
    },
  })
  const compact = () => maintenance.do({ namespace: 'default', name: 'events', work: 'compact' })
  for (let n = 0; n < 2; n++) await commit(10)
  await compact()
  expect(statements).toBe(0)
  for (let n = 0; n < 2; n++) await commit(5_001)
  const before = await parquetFiles(world, 'events')
  await expect(compact()).rejects.toThrow('the process was ended')
  expect(await parquetFiles(world, 'events')).toEqual(before)
  expect((await compact()).files.after).toBe(1)
  await commit(1)
  expect((await compact()).files.after).toBe(1) // the third was not done in time: it is done here
  expect(statements).toBe(3)
  expect(await world.count('"default".events')).toBe(10_023)
  await maintenance.stop()
  await expectEachOnce(world)
})
