import { readdir, readFile, stat, truncate, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { auditRunning } from '../../src/app/audit.ts'
import { readFloors } from '../../src/app/floors.ts'
import { realClock } from '../../src/core/clock.ts'
import { realFiles } from '../../src/core/files.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { openEventLog } from '../../src/log/event-log.ts'
import { summarizeTopic } from '../../src/stream/status.ts'
import { FailingFiles } from '../stream/failing-files.ts'
import { define, World } from '../stream/world.ts'

const definition = define({
  events: {
    purchase_sword: { params: { type: 'object', properties: { n: { type: 'integer' } } } },
  },
  tables: { swords: { from: 'purchase_sword', trigger: '1h' } },
})

/** One in five is not JSON. */
const events = (from: number, count: number) =>
  Array.from({ length: count }, (_, i) =>
    (from + i) % 5 === 4 ? 'not json' : { event_type: 'purchase_sword', n: from + i },
  )

/** A world whose log is synced by nothing but commits: 30 records that the table has committed, 10 more that were answered. */
async function written(failing: FailingFiles): Promise<World> {
  const world = await World.open({
    files: failing.files,
    settings: { durability: 'os', osSyncIntervalMs: 60_000 },
  })
  const stream = await world.start(definition)
  for (let n = 0; n < 30; n++) await world.append(events(n, 1))
  await world.query('SELECT 1')
  await stream.activate(definition)
  for (let n = 30; n < 40; n++) await world.append(events(n, 1))
  expect(await world.count('"default".swords')).toBe(32)
  return world
}

const segmentOf = async (world: World) => {
  const folder = join(world.folder, 'log', 'events-0')
  const names = (await readdir(folder)).filter((name) => name.endsWith('.log'))
  return join(folder, names.toSorted().at(-1) ?? '')
}

/** Ingest dies, and of its log only the first part is on the disk. What its end would still have published is taken back. */
async function loseTail(world: World, part: number): Promise<void> {
  const watermark = join(world.folder, 'log', 'watermark')
  const published = await readFile(watermark)
  await world.log.close()
  await writeFile(watermark, published)
  const segment = await segmentOf(world)
  await truncate(segment, Math.floor((await stat(segment)).size * part))
}

/** The same, and the stream dies too, as when the power fails. */
async function losePower(world: World, failing: FailingFiles, part: number): Promise<void> {
  failing.dieAt = 0
  await world.stream?.stop().catch(() => {})
  failing.dieAt = Number.POSITIVE_INFINITY
  world.abandon()
  await loseTail(world, part)
}

/** The next start of ingest. Gives the records that the log still holds. */
async function startLog(world: World): Promise<number> {
  world.log = await openEventLog({
    files: realFiles,
    clock: realClock,
    logger: silentLogger,
    folder: join(world.folder, 'log'),
    settings: world.settings,
    floors: await readFloors(realFiles, realClock, world.folder),
    repair: false,
  })
  const [state] = world.log.states()
  return (state?.visibleOffset ?? 0) - (state?.startOffset ?? 0) - (state?.missingOffsets ?? 0)
}

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

const summary = (world: World) => {
  const [topic] = world.stream?.topics ?? []
  if (topic === undefined) throw new Error('no topic')
  return summarizeTopic(topic, world.stream?.reader.watermark())
}

test('with durability os, a tail that was lost: its offsets are not given again, what follows reaches its tables, and audit says what was lost', async () => {
  const failing = new FailingFiles()
  await using world = await written(failing)
  await losePower(world, failing, 0.5)
  const left = await startLog(world)
  expect(left).toBeGreaterThan(10)
  expect(left).toBeLessThan(30)
  expect((await world.append(events(40, 5))).baseOffset).toBe(40)
  await world.start(definition)
  // 24 of the first 30 are in the table: they were committed. 4 of the last 5 follow.
  expect(await world.count('"default".swords')).toBe(28)
  const aside = Math.floor(30 / 5) - Math.floor(left / 5)
  const inTables = 30 - left - aside
  for (let time = 0; time < 2; time++) {
    const { exit, text } = await audit(world)
    expect(text).toContain(
      `events/0: ${40 - left} answered records are lost from the log, offsets ${left} to 39: ${inTables} in tables, ${aside} set aside, 10 in neither`,
    )
    expect(text).toContain('\n1 difference')
    expect(exit).toBe(1)
    expect(summary(world)).toMatchObject({ kept: left + 5, inFlight: 0, addsUp: true })
    await world.stream?.stop()
    await world.start(definition)
  }
})

test('the same when the watermark is lost as well: the log goes on at what tables have committed', async () => {
  const failing = new FailingFiles()
  await using world = await written(failing)
  await losePower(world, failing, 0.3)
  await unlink(join(world.folder, 'log', 'watermark'))
  const left = await startLog(world)
  expect((await world.append(events(30, 5))).baseOffset).toBe(30)
  await world.start(definition)
  expect(await world.count('"default".swords')).toBe(28)
  const { exit, text } = await audit(world)
  expect(text).toContain(`lost from the log, offsets ${left} to 29:`)
  expect(text).toContain(' 0 in neither')
  expect(exit).toBe(1)
})

test('the same when the log is gone as a whole', async () => {
  const failing = new FailingFiles()
  await using world = await written(failing)
  await losePower(world, failing, 0)
  expect(await startLog(world)).toBe(0)
  await world.start(definition)
  expect(await world.count('"default".swords')).toBe(24)
  expect((await audit(world)).text).toContain('offsets 0 to 39: 24 in tables, 6 set aside, 10')
  await world.append(events(40, 5))
  expect(await world.count('"default".swords')).toBe(28)
  expect((await audit(world)).exit).toBe(1)
  expect(summary(world)).toMatchObject({ kept: 5, inFlight: 0, addsUp: true })
})

test('a loss that the running stream has read already makes it start anew', async () => {
  const failing = new FailingFiles()
  await using world = await written(failing)
  await loseTail(world, 0.5)
  const left = await startLog(world)
  while (world.fatal === undefined) await world.append(events(40, 1))
  expect(world.fatal).toMatchObject({
    message: 'the log of events has lost records that were read',
  })
  await world.stream?.stop().catch(() => {})
  await world.start(definition)
  expect((await audit(world)).text).toContain(`lost from the log, offsets ${left} to 39:`)
})
