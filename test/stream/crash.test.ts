import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { realFiles } from '../../src/core/files.ts'
import { cutCommits, definition, events, expectEachOnce } from './commit-points.ts'
import { FailingFiles } from './failing-files.ts'
import { define, World } from './world.ts'

test('wherever a commit is cut off, every event is in its table once and set aside once after the restart', async () => {
  // Every third place; test/slow/commit-points.test.ts tries them all.
  expect(await cutCommits(2, 3)).toBeGreaterThan(8)
})

test('a table that can not be committed stays visible, says why, and stops no other', async () => {
  const failing = new FailingFiles()
  await using world = await World.open({
    files: failing.files,
    settings: { commitRetryDelayMs: 10 },
  })
  const stream = await world.start(
    define({
      events: { purchase_sword: {}, join_guild: {} },
      tables: {
        sword_purchases: { from: 'purchase_sword', trigger: '100ms' },
        join_guilds: { from: 'join_guild', trigger: '100ms' },
      },
    }),
  )
  failing.refuses = (path) => path.includes('/sword_purchases/')
  const [swords, guilds] = stream.tables
  const other = guilds?.lake.version ?? 0
  let sent = 0
  while ((guilds?.lake.version ?? 0) < other + 3 || swords?.failure === null) {
    await world.append([{ event_type: 'purchase_sword' }, { event_type: 'join_guild' }])
    sent++
    expect(await world.count('"default".sword_purchases')).toBe(sent)
    expect(await world.count('"default".join_guilds')).toBe(sent)
  }
  expect(swords?.failure?.reason).toContain('EACCES')
  failing.refuses = () => false
  while (swords !== undefined && swords.failure !== null) await world.query('SELECT 1')
  expect(await world.count('"default".sword_purchases')).toBe(sent)
  await expectEachOnce(world)
})

test('without room for a commit nothing ends: rows stay visible, failed attempts leave nothing behind, and it goes on when there is room', async () => {
  const failing = new FailingFiles()
  await using world = await World.open({
    files: failing.files,
    settings: { commitRetryDelayMs: 10 },
  })
  const stream = await world.start(
    define({
      events: { join_guild: {} },
      tables: { join_guilds: { from: 'join_guild', trigger: '100ms' } },
    }),
  )
  const [guilds] = stream.tables
  failing.refuses = (path) => /ledger|metadata\.json\.tmp/.test(path)
  await world.append([{ event_type: 'join_guild' }])
  while ((guilds?.failure?.attempts ?? 0) < 3) await world.query('SELECT 1')
  expect(world.fatal).toBeUndefined()
  expect(await world.count('"default".join_guilds')).toBe(1)
  // Between two attempts there is nothing of any of them.
  const metadata = join(guilds?.lake.folder ?? '', 'metadata')
  while ((await readdir(metadata)).some((name) => name.endsWith('.avro')))
    await world.query('SELECT 1')
  failing.refuses = () => false
  while (guilds?.lake.recordCount === 0) await world.query('SELECT 1')
  await expectEachOnce(world)
})

test('a data file that could not be made durable is not left behind', async () => {
  let full = true
  const syncFile = async (path: string) => {
    if (full) throw Object.assign(new Error(`ENOSPC: ${path}`), { code: 'ENOSPC' })
    await realFiles.syncFile(path)
  }
  await using world = await World.open({
    files: { ...realFiles, syncFile },
    settings: { commitRetryDelayMs: 10 },
  })
  const stream = await world.start(
    define({
      events: { join_guild: {} },
      tables: { join_guilds: { from: 'join_guild', trigger: '100ms' } },
    }),
  )
  const [guilds] = stream.tables
  await world.append([{ event_type: 'join_guild' }])
  while ((guilds?.failure?.attempts ?? 0) < 2) await world.query('SELECT 1')
  full = false
  while (guilds?.lake.recordCount === 0) await world.query('SELECT 1')
  const names = await readdir(join(guilds?.lake.folder ?? '', 'data'), { recursive: true })
  expect(names.filter((name) => name.endsWith('.parquet'))).toHaveLength(1)
  await expectEachOnce(world)
})

test('a second writer of a table ends the stream that it has overtaken, and no row is there twice', async () => {
  await using world = await World.open()
  await world.start(definition)
  await world.append(events(0, 10))
  await world.query('SELECT 1')
  const zombie = world.stream
  world.abandon()
  await world.start(definition)
  await world.query('SELECT 1')
  await world.stream?.stop()
  await expect(zombie?.stop()).rejects.toThrow('another process has committed records')
  expect(world.fatal).toBeDefined()
  world.fatal = undefined
  await world.start(definition)
  await expectEachOnce(world)
})

test('records of several partitions are each in their table once, through crashes', async () => {
  await using world = await World.open()
  const many = define({
    topics: { events: { partitions: 3 } },
    events: { join_guild: {} },
    tables: { join_guilds: { from: 'join_guild', trigger: '100ms' } },
  })
  await world.start(many)
  for (let n = 0; n < 60; n++) await world.append([{ event_type: 'join_guild', n }])
  const rows = await world.query(
    'SELECT count(*)::INTEGER AS n, count(DISTINCT _log_partition)::INTEGER AS p FROM "default".join_guilds',
  )
  expect(rows[0]).toEqual({ n: 60, p: 3 })
  await expectEachOnce(world)
})
