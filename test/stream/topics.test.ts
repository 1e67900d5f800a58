import { expect, test } from 'vitest'
import { auditRunning } from '../../src/app/audit.ts'
import { realFiles, type Files } from '../../src/core/files.ts'
import { define, World } from './world.ts'

const definition = define({
  events: { purchase_sword: {} },
  tables: { sword_purchases: { from: 'purchase_sword', trigger: '1h' } },
})
const table = '"default".sword_purchases'
const sword = { event_type: 'purchase_sword' }

async function audit(world: World): Promise<string> {
  const { stream, instance } = world
  if (stream === undefined || instance === undefined) throw new Error('not running')
  const lines: string[] = []
  const say = async (line: string) => void lines.push(line)
  await auditRunning(stream, instance, world.files, world.folder, say)
  return lines.join('\n')
}

/** Waits until the table has so many rows; a topic that is made anew is read by one of the next steps. */
async function rowsOf(world: World, count: number): Promise<void> {
  while ((await world.count(table)) !== count) world.stream?.wake()
}

test('partitions that a topic gets while it is read are read as well', async () => {
  await using world = await World.open()
  await world.start(definition)
  await world.append([sword])
  expect(await world.count(table)).toBe(1)
  await world.log.addPartitions('events', 4)
  for (let n = 0; n < 20; n++)
    await world.log.append('events', Buffer.from(`key-${n}`), [
      { key: null, value: Buffer.from(JSON.stringify(sword)), headers: [] },
    ])
  await rowsOf(world, 21)
  const [row] = await world.query(
    `SELECT count(DISTINCT _log_partition)::INTEGER AS n FROM ${table}`,
  )
  expect(row).toEqual({ n: 4 })
  expect(await audit(world)).toContain('everything adds up')
  expect(await world.stream?.stop()).toEqual([])
  await world.start(definition)
  expect(await world.count(table)).toBe(21)
})

test('rows of a deleted topic stay, also those not committed yet; a topic made anew is read from its start', async () => {
  await using world = await World.open()
  await world.start(definition)
  await world.append([sword, sword, 'not json'])
  expect(await world.count(table)).toBe(2)
  const before = world.log.topic('events')
  await world.log.deleteTopic('events', { continueOffsets: true })
  expect(await world.count(table)).toBe(2)
  await world.createTopics(definition)
  expect(world.log.topic('events')?.id).not.toBe(before?.id)
  await world.append([sword, 'nor this', sword, sword])
  await rowsOf(world, 5)
  const letters = await world.query(
    'SELECT "offset"::INTEGER AS o FROM questlog.dead_letters ORDER BY 1',
  )
  expect(letters.map((row) => row['o'])).toEqual([2, 4])
  expect(await audit(world)).toBe(
    'events: answered 4 = in tables 3 + filtered 0 + set aside 1 + in no table 0\neverything adds up',
  )
  expect(await world.stream?.stop()).toEqual([])
  await world.start(definition)
  expect(await world.count(table)).toBe(5)
  expect(await audit(world)).toContain('everything adds up')
  expect(world.fatal).toBeUndefined()
})

test('a topic made anew that begins at 0 again hides none of its rows and shows none of the old ones twice', async () => {
  await using world = await World.open()
  const stream = await world.start(definition)
  await world.append([sword, sword, 'not json', sword])
  expect(await world.count(table)).toBe(3)
  await world.log.deleteTopic('events')
  await world.createTopics(definition)
  await world.append([sword, sword])
  await rowsOf(world, 5)
  expect(
    await world.query(
      `SELECT count(*)::INTEGER AS n, count(DISTINCT _offset)::INTEGER AS d FROM (FROM ${table} LIMIT 100)`,
    ),
  ).toEqual([{ n: 5, d: 3 }])
  await world.append([sword, sword, 'nor this'])
  expect(await world.count(table)).toBe(7)
  await stream.activate(definition) // commits
  expect(await world.count(table)).toBe(7)
  expect(await world.stream?.stop()).toEqual([])
  await world.start(definition)
  expect(await world.count(table)).toBe(7)
  const letters = await world.query(
    'SELECT "offset"::INTEGER AS o FROM questlog.dead_letters ORDER BY 1',
  )
  expect(letters.map((row) => row['o'])).toEqual([2, 4])
  expect(world.fatal).toBeUndefined()
})

test('a topic that is deleted and not made anew leaves its table readable, over a restart too', async () => {
  await using world = await World.open()
  await world.start(definition)
  await world.append([sword])
  expect(await world.count(table)).toBe(1)
  await world.log.deleteTopic('events', { continueOffsets: true })
  expect(await world.count(table)).toBe(1)
  expect(await world.stream?.stop()).toEqual([])
  world.stream = undefined
  expect(world.fatal).toBeUndefined()
  const stream = await world.startOn(definition)
  expect(await world.count(table)).toBe(1)
  // As ingest does when a definition is activated.
  await world.createTopics(definition)
  await stream.activate(definition)
  await world.append([sword])
  await rowsOf(world, 2)
  expect(await audit(world)).toContain('everything adds up')
})

test('records that were deleted before a table read them are not in it, and the audit knows', async () => {
  await using world = await World.open()
  await world.createTopics(definition)
  for (let n = 0; n < 10; n++) await world.append([sword])
  await world.log.deleteRecords('events', 0, 6)
  await world.start(definition)
  expect(await world.count(table)).toBe(4)
  await world.log.deleteRecords('events', 0, 8)
  await world.append([sword])
  expect(await world.count(table)).toBe(5)
  expect(await audit(world)).toContain('everything adds up')
  expect(await world.stream?.stop()).toEqual([])
  await world.start(definition)
  expect(await world.count(table)).toBe(5)
  expect(await audit(world)).toContain('everything adds up')
})

test('records that are deleted while a table is behind are skipped by it', async () => {
  await using world = await World.open()
  await world.start(definition)
  await world.append([sword])
  expect(await world.count(table)).toBe(1)
  expect(await world.stream?.stop()).toEqual([])
  for (let n = 0; n < 9; n++) await world.append([sword])
  await world.log.deleteRecords('events', 0, 5)
  await world.start(definition)
  expect(await world.count(table)).toBe(6)
  const [row] = await world.query(`SELECT list(_offset::INTEGER ORDER BY 1) AS o FROM ${table}`)
  expect(row).toEqual({ o: [0, 5, 6, 7, 8, 9] })
  expect(await audit(world)).toContain('everything adds up')
})

test('a statement that waits for a topic that fails leaves the others their turns, and sees its rows when it is read again', async () => {
  let fails = false
  const files: Files = {
    ...realFiles,
    openRead: (path) => (fails ? Promise.reject(new Error('EIO')) : realFiles.openRead(path)),
  }
  const settings = { catchUpTimeoutMs: 3000, commitRetryDelayMs: 20 }
  await using world = await World.open({ files, settings })
  const stream = await world.start(definition)
  fails = true
  await world.append([sword])
  const rows = world.count(table)
  while (stream.failures.size === 0) await new Promise((resolve) => setImmediate(resolve))
  for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setTimeout(resolve, 1))
  fails = false
  expect(await rows).toBe(1)
})
