import { rename } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { auditRunning, auditStopped } from '../../src/app/audit.ts'
import { whereIs } from '../../src/app/where.ts'
import { writeDataFiles } from '../../src/lake/parquet.ts'
import { setActiveVersion, storeDefinition } from '../../src/plan/store.ts'
import { clientBatch } from '../log/client-batch.ts'
import { define, World } from '../stream/world.ts'

const definition = define({
  events: { purchase_sword: {}, join_guild: {} },
  tables: { sword_purchases: { from: 'purchase_sword' } },
})

async function audit(world: World): Promise<{ exit: number; text: string }> {
  const { stream, instance } = world
  if (stream === undefined || instance === undefined) throw new Error('not running')
  const lines: string[] = []
  const exit = await auditRunning(
    stream,
    instance,
    world.files,
    world.folder,
    async (line) => void lines.push(line),
  )
  return { exit, text: lines.join('\n') }
}

async function where(world: World, receipt: string): Promise<{ exit: number; text: string }> {
  const { stream, instance } = world
  if (stream === undefined || instance === undefined) throw new Error('not running')
  const connection = await instance.connect()
  const lines: string[] = []
  await world.query('SELECT 1')
  const exit = await whereIs(stream, connection, receipt, async (line) => void lines.push(line))
  connection.closeSync()
  return { exit, text: lines.join('\n') }
}

/** Ten swords in a data file, two guilds in no table, one record set aside. */
async function filled(): Promise<World> {
  const world = await World.open()
  await world.start(definition)
  await world.append([
    ...Array.from({ length: 10 }, () => ({ event_type: 'purchase_sword' })),
    { event_type: 'join_guild' },
    { event_type: 'join_guild' },
    'not json',
  ])
  await world.query('SELECT 1')
  await world.stream?.activate(definition)
  return world
}

test('everything adds up: exit 0, and the line of each topic', async () => {
  await using world = await filled()
  await world.append([{ event_type: 'purchase_sword' }])
  const { exit, text } = await audit(world)
  expect(text).toBe(
    'events: answered 14 = in tables 11 + filtered 0 + set aside 1 + in no table 2\neverything adds up',
  )
  expect(exit).toBe(0)
})

test('a data file that was moved away is named, and the exit code is 1', async () => {
  await using world = await filled()
  const [file] = (await world.stream?.tables[0]?.lake.liveFiles()) ?? []
  if (file === undefined) throw new Error('no data file')
  await rename(file.path, `${file.path}.moved`)
  const { exit, text } = await audit(world)
  expect(text).toContain(`data file ${file.path} is missing (10 rows)`)
  expect(exit).toBe(1)
  await rename(`${file.path}.moved`, file.path)
  expect((await audit(world)).exit).toBe(0)
})

test('a row that is there twice is named by its offset', async () => {
  await using world = await filled()
  const table = world.stream?.tables[0]
  const connection = await world.instance?.connect()
  if (table === undefined || connection === undefined) throw new Error('not running')
  await connection.run(
    'CREATE TABLE copy AS SELECT * FROM "default".sword_purchases WHERE _offset = 3',
  )
  const files = await writeDataFiles({
    connection,
    files: world.files,
    table: table.lake,
    relation: 'copy',
    batchId: 'forged',
  })
  await table.lake.commit({ batchId: 'forged', files })
  await world.stream?.activate(definition)
  const { exit, text } = await audit(world)
  expect(text).toContain('1 record is twice in table sword_purchases: events/0/3')
  expect(exit).toBe(1)
  connection.closeSync()
})

test('a ledger that says something else than the log is a difference', async () => {
  await using world = await filled()
  const ledger = world.stream?.topics[0]?.ledger
  if (ledger === undefined) throw new Error('not running')
  ledger.counts = {
    ...ledger.counts,
    inTables: ledger.counts.inTables - 1,
    unrouted: ledger.counts.unrouted + 1,
  }
  const { exit, text } = await audit(world)
  expect(text).toContain('the ledger says 9 in tables, counted 10')
  expect(exit).toBe(1)
})

test('a stopped data folder is audited like a running one', async () => {
  await using world = await filled()
  await world.append([{ event_type: 'purchase_sword' }])
  await world.stream?.stop()
  await world.log.close()
  await setActiveVersion(
    world.files,
    world.folder,
    await storeDefinition(world.files, world.folder, definition),
  )
  const lines: string[] = []
  expect(await auditStopped(world.folder, async (line) => void lines.push(line))).toBe(0)
  expect(lines.at(-1)).toBe('everything adds up')
})

test('a receipt leads to the segment, the file and snapshot, the fresh rows or the reason', async () => {
  await using world = await filled()
  await world.append([{ event_type: 'purchase_sword' }])
  const committed = await where(world, 'events/0/0')
  expect(committed.text).toMatch(
    /^answered: yes, and synced\non disk: .*00000000000000000000\.log at byte 0\ntable sword_purchases: in .*\.parquet, snapshot \d+$/,
  )
  expect((await where(world, 'events/0/13')).text).toContain('table sword_purchases: in fresh rows')
  expect((await where(world, 'events/0/12')).text).toContain('set aside: malformed JSON')
  expect((await where(world, 'events/0/99')).exit).toBe(1)
  await expect(where(world, 'nonsense')).rejects.toMatchObject({ code: 'USAGE' })
})

test('a change of the rules is no difference: what earlier versions took, filtered or declared stays right', async () => {
  await using world = await World.open()
  const tables = { all: { from: '*' }, strong: { from: 'purchase_sword', where: "color = 'red'" } }
  const params = { type: 'object', properties: { color: { type: 'string' } } }
  const first = define({
    events: { purchase_sword: { params }, join_guild: {}, purchase_knife: {} },
    tables,
  })
  const second = define({
    events: { purchase_sword: { params }, join_guild: {} },
    tables: {
      ...tables,
      strong: { from: ['purchase_sword', 'join_guild'] },
      guilds: { from: 'join_guild' },
    },
  })
  await storeDefinition(world.files, world.folder, first)
  await world.start(first)
  const events = [
    { event_type: 'purchase_sword', color: 'red' },
    { event_type: 'purchase_sword', color: 'blue' },
    { event_type: 'join_guild' },
    { event_type: 'purchase_knife' },
    'not json',
  ]
  await world.append(events)
  expect((await audit(world)).exit).toBe(0)
  await world.stream?.activate(second)
  await world.append(events)
  const { exit, text } = await audit(world)
  expect(text).toBe(
    'events: answered 10 = in tables 7 + filtered 0 + set aside 3 + in no table 0\neverything adds up',
  )
  expect(exit).toBe(0)
  expect(await world.count('"default".strong')).toBe(4)
  expect(await world.count('"default".guilds')).toBe(2)
})

test('records of aborted transactions and markers are no events: nothing of them is missing, also when retention has removed some', async () => {
  await using world = await World.open({ settings: { segmentBytesMax: 4096 } })
  await world.start(definition)
  const sword = JSON.stringify({ event_type: 'purchase_sword', note: 'x'.repeat(300) })
  const inTransaction = async (sequence: number, outcome: 'commit' | 'abort') => {
    const values = [sword, sword, sword]
    const batch = { values, producerId: 1, sequence, isTransactional: true }
    await world.log.appendBatches('events', 0, clientBatch(batch), 'acknowledged')
    const marker = { producerId: 1, producerEpoch: 0, coordinatorEpoch: 0, outcome }
    await world.log.appendMarker('events', 0, marker)
  }
  for (let n = 0; n < 9; n++) {
    await inTransaction(n * 3, n % 3 === 0 ? 'abort' : 'commit')
    await world.append([{ event_type: 'purchase_sword' }])
  }
  const whole =
    'events: answered 27 = in tables 27 + filtered 0 + set aside 0 + in no table 0\neverything adds up'
  expect(await audit(world)).toEqual({ exit: 0, text: whole })
  expect((await where(world, 'events/0/0')).text).toContain('no event')
  await world.stream?.activate(definition) // commits
  const [state] = world.log.states()
  expect(await world.log.removeSegments(state?.topicId ?? '', 0, 20)).toBeGreaterThan(0)
  expect(world.log.states()[0]?.removedExcluded).toBeGreaterThan(0)
  expect(await audit(world)).toMatchObject({ exit: 0 })
  const counts = world.stream?.topics[0]?.ledger.counts
  await world.stream?.stop()
  world.instance?.closeSync()
  await world.start(definition)
  expect(world.stream?.topics[0]?.ledger.counts).toEqual(counts) // it did not have to count anew
  expect(await audit(world)).toMatchObject({ exit: 0 })
  expect(await world.count('"default".sword_purchases')).toBe(27)
  expect(world.fatal).toBeUndefined()
})
