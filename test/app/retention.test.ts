import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { auditRunning } from '../../src/app/audit.ts'
import { FreeSpace } from '../../src/app/free-space.ts'
import { Retention } from '../../src/app/retention.ts'
import { whereIs } from '../../src/app/where.ts'
import { realFiles, type Files } from '../../src/core/files.ts'
import { silentLogger, type Logger } from '../../src/core/logger.ts'
import { resolveSettings } from '../../src/core/settings.ts'
import type { Definition } from '../../src/plan/definition.ts'
import { summarizeTopic } from '../../src/stream/status.ts'
import { SimulatedClock } from '../support/simulated-clock.ts'
import { SimulatedFiles } from '../support/simulated-files.ts'
import { define, World } from '../stream/world.ts'

const settings = { segmentBytesMax: 4096, retentionCheckIntervalMs: 1000 }
const topics = { events: { retentionBytes: 10_000 } }
const params = { type: 'object', properties: { n: { type: 'integer' } } }
const events = { sword: { params }, guild: {} }
const swords = { from: 'sword', trigger: '24h' }
const definition = define({ topics, events, tables: { swords } })

/** Retention on a clock that the test moves; `pass` is one look. */
function startRetention(
  world: World,
  active = definition,
  { files = realFiles, logger = silentLogger }: { files?: Files; logger?: Logger } = {},
) {
  const clock = new SimulatedClock()
  let looked = () => {}
  const retention = new Retention({
    log: world.log,
    files,
    clock: {
      nowMs: () => clock.nowMs(),
      monotonicMs: () => clock.monotonicMs(),
      async sleep(delayMs, signal) {
        looked()
        await clock.sleep(delayMs, signal)
      },
      after: (delayMs, work) => clock.after(delayMs, work),
    },
    logger,
    settings: world.settings,
    data: world.folder,
    definition: active,
  })
  return {
    retention,
    async pass(afterMs = 1000) {
      const done = new Promise<void>((resolve) => (looked = resolve)) // when it sleeps again
      clock.advance(afterMs)
      await done
    },
    [Symbol.asyncDispose]: () => retention.close(),
  }
}

const start = (world: World) => world.log.states()[0]?.startOffset ?? 0

/** Two swords, a guild, a sword that does not fit, and no JSON: all kinds, a hundred times. */
async function play(world: World, rounds = 100): Promise<void> {
  for (let round = 0; round < rounds; round++)
    await world.append([
      { event_type: 'sword', n: round },
      { event_type: 'sword', n: round },
      { event_type: 'guild' },
      { event_type: 'sword', n: 'many' },
      'not json',
    ])
}

async function commit(world: World, active = definition): Promise<void> {
  await world.query('SELECT 1')
  await world.stream?.activate(active)
}

async function open(active: Definition = definition): Promise<World> {
  const world = await World.open({ settings })
  await world.start(active)
  await world.log.declareConfigs('events', active.topics[0]?.configs ?? {})
  return world
}

async function audit({ stream, instance, folder }: World): Promise<string> {
  if (stream === undefined || instance === undefined) throw new Error('not running')
  const lines: string[] = []
  const write = async (line: string) => void lines.push(line)
  const exit = await auditRunning(stream, instance, realFiles, folder, write)
  return [...lines, exit].join('\n')
}

/** What `ps` and `audit` say when everything is counted; the audit must find nothing. */
async function accounts(world: World) {
  const { stream } = world
  const topic = stream?.topics[0]
  if (stream === undefined || topic === undefined) throw new Error('not running')
  await world.query('SELECT 1')
  while (summarizeTopic(topic, stream.reader.watermark()).inFlight > 0)
    await new Promise((resolve) => setImmediate(resolve))
  const text = await audit(world)
  expect(text).toContain('everything adds up\n0')
  return { line: text.split('\n')[0], ...summarizeTopic(topic, stream.reader.watermark()) }
}

test('what tables have committed goes; ps and audit go on adding up, also after a restart', async () => {
  await using world = await open()
  await using look = startRetention(world)
  await play(world)
  await commit(world)
  await look.pass()
  const removed = start(world)
  expect(removed).toBeGreaterThan(100)
  const all = { kept: 500, inTables: 200, deadLetters: 200, unrouted: 100, inFlight: 0, removed }
  const first = await accounts(world)
  expect(first).toMatchObject({ ...all, addsUp: true })
  expect(first.line).toContain('events: answered 500 = in tables 200 + filtered 0 + set aside 200')
  expect(first.line).toContain(`(${removed} of them retention has removed from the log)`)
  expect(await world.count('"default".swords')).toBe(200)
  await world.stream?.stop()
  await world.start(definition)
  await play(world, 50)
  await commit(world)
  await look.pass()
  expect(start(world)).toBeGreaterThan(removed)
  expect(await accounts(world)).toMatchObject({
    kept: 750,
    inTables: 300,
    removed: start(world),
    addsUp: true,
  })
})

test('a table that has not committed holds segments back, and is named when that lasts', async () => {
  await using world = await open()
  await using look = startRetention(world)
  await play(world)
  await world.query('SELECT 1')
  await look.pass()
  expect(start(world)).toBe(0)
  expect(look.retention.attention()).toEqual([])
  const dayMs = 24 * 3_600_000
  await look.pass(2 * dayMs + 120_000)
  expect(look.retention.attention()).toMatchObject([
    expect.stringMatching(
      /^retention waits for table swords: of events\/0 it has committed offsets below 0/,
    ),
  ])
  await commit(world)
  await look.pass()
  expect(start(world)).toBeGreaterThan(0)
  expect(look.retention.attention()).toEqual([])
})

test('a table that left the definition holds nothing back', async () => {
  await using world = await open()
  await using look = startRetention(world)
  await play(world)
  await world.query('SELECT 1')
  const none = define({ topics, events })
  await world.stream?.activate(none)
  look.retention.replaceDefinition(none)
  await look.pass()
  expect(start(world)).toBeGreaterThan(0)
  expect(await accounts(world)).toMatchObject({ addsUp: true, inFlight: 0 })
})

test('a topic without tables holds back what is set aside in memory only, so that a crash loses none of it', async () => {
  const none = define({ topics, events })
  await using world = await open(none)
  await using look = startRetention(world, none)
  await play(world)
  await world.query('SELECT 1')
  await look.pass()
  expect(start(world)).toBe(0)
  await look.pass(120_000)
  expect(look.retention.attention()).toEqual([
    expect.stringMatching(
      /^retention waits for the dead letters of events: of events\/0 they are committed for offsets below 0/,
    ),
  ])
  world.abandon()
  await world.start(none)
  const all = { kept: 500, deadLetters: 100, unrouted: 400, addsUp: true }
  expect(await accounts(world)).toMatchObject(all)
  await commit(world, none)
  await look.pass()
  expect(start(world)).toBeGreaterThan(100)
  expect(look.retention.attention()).toEqual([])
  await world.stream?.stop()
  await world.start(none)
  expect(await accounts(world)).toMatchObject({ ...all, removed: start(world) })
  expect(await world.count('questlog.dead_letters')).toBe(100)
})

test('what is set aside and can not be read is told once, and again when it fails anew', async () => {
  const none = define({ topics, events })
  await using world = await open(none)
  const logged: string[] = []
  const logger = { ...silentLogger, warn: (message: string) => void logged.push(message) }
  let isBroken = true
  const readAll = async (path: string) => {
    if (isBroken && path.includes('dead_letters')) throw new Error('the disk is gone')
    return realFiles.readAll(path)
  }
  await using look = startRetention(world, none, { files: { ...realFiles, readAll }, logger })
  await play(world)
  for (const broken of [true, true, false, true, true]) {
    isBroken = broken
    await look.pass()
  }
  expect(logged).toEqual(Array(2).fill('retention can not read what is set aside'))
  expect(start(world)).toBe(0)
})

test("a topic of which the definition knows nothing is nobody's to wait for", async () => {
  const other = define({ topics: { other: {} }, events: { guild: { topic: 'other' } } })
  await using world = await World.open({ settings })
  await world.createTopics(definition)
  await world.log.declareConfigs('events', definition.topics[0]?.configs ?? {})
  await world.start(other)
  await using look = startRetention(world, other)
  await play(world)
  await look.pass()
  expect(start(world)).toBeGreaterThan(0)
})

test('a table that is added later fills itself from what is left, and is level', async () => {
  await using world = await open()
  await using look = startRetention(world)
  await play(world)
  await commit(world)
  await look.pass()
  const later = define({ topics, events, tables: { swords, guilds: { from: 'guild' } } })
  await world.stream?.activate(later)
  look.retention.replaceDefinition(later)
  const from = start(world)
  const left = (500 - from) / 5
  expect(Math.abs((await world.count('"default".guilds')) - left)).toBeLessThanOrEqual(1)
  expect(await accounts(world)).toMatchObject({ kept: 500 - from, removed: 0, addsUp: true })
  await play(world)
  await world.query('SELECT 1')
  await look.pass()
  expect(start(world)).toBe(from) // neither has committed the new ones
  await commit(world, later)
  await look.pass()
  expect(start(world)).toBeGreaterThan(from)
  expect(await accounts(world)).toMatchObject({ kept: 1000 - from, addsUp: true })
})

test('a topic of which everything is gone is level for a new table', async () => {
  const nothing = { topics: { events: { retentionBytes: 0 } }, events }
  await using world = await open(define(nothing))
  await using look = startRetention(world, define(nothing))
  await play(world)
  await world.log.append('events', null, [
    { key: null, value: Buffer.from('x'.repeat(4200)), headers: [] },
  ])
  await world.log.append('events', null, [
    { key: null, value: Buffer.from('x'.repeat(4200)), headers: [] },
  ])
  await commit(world, define(nothing))
  await look.pass()
  const from = start(world)
  expect(from).toBe(501)
  await world.stream?.activate(define({ ...nothing, tables: { swords } }))
  expect(await world.count('"default".swords')).toBe(0)
  expect(await accounts(world)).toMatchObject({ kept: 1, addsUp: true })
})

test('a ledger that is lost, or behind the start of the log, begins anew there', async () => {
  await using world = await open()
  await using look = startRetention(world)
  await play(world)
  await commit(world)
  await look.pass()
  await world.stream?.stop()
  await rm(join(world.folder, 'lake', 'ledger'))
  await world.start(definition)
  const left = 500 - start(world)
  expect(await accounts(world)).toMatchObject({ kept: left, removed: 0, inFlight: 0, addsUp: true })
  await play(world)
  await commit(world)
  await look.pass()
  const { kept, removed } = await accounts(world)
  expect(kept).toBe(left + 500)
  expect(removed).toBe(start(world) - (500 - left))
})

test('an audit compares what is no longer on the log with the ledger, too', async () => {
  await using world = await open()
  await using look = startRetention(world)
  await play(world)
  await commit(world)
  await look.pass()
  const ledger = world.stream?.topics[0]?.ledger
  if (ledger === undefined) throw new Error('not running')
  ledger.counts = {
    ...ledger.counts,
    inTables: ledger.counts.inTables + 1,
    unrouted: ledger.counts.unrouted - 1,
  }
  const text = await audit(world)
  expect(text).toContain('the ledger says 201 in tables, counted 200')
  expect(text).toContain('2 differences\n1')
})

test('an audit goes on when segments are removed under it', async () => {
  await using world = await open()
  await using look = startRetention(world)
  await play(world)
  await commit(world)
  const reader = world.stream?.reader
  if (reader === undefined) throw new Error('not running')
  const read = reader.read.bind(reader)
  let reads = 0
  let refused = 0
  reader.read = async (topic, partition, offset, upTo, maxBytes) => {
    if (reads++ === 1) {
      await look.pass()
      await reader.releaseRemoved(topic, partition, start(world))
    }
    return read(topic, partition, offset, upTo, Math.min(maxBytes, 2_000)).catch(
      (error: unknown) => {
        refused++
        throw error
      },
    )
  }
  const found = await accounts(world)
  expect(start(world)).toBeGreaterThan(0)
  expect(found).toMatchObject({ kept: 500, addsUp: true })
  expect(found.line).toContain('events: answered 500 = in tables 200')
  expect(refused).toBe(1)
})

test('a receipt of a removed record leads to its table', async () => {
  await using world = await open()
  await using look = startRetention(world)
  await play(world)
  await commit(world)
  await look.pass()
  const { stream, instance } = world
  if (stream === undefined || instance === undefined) throw new Error('not running')
  const connection = await instance.connect()
  const lines: string[] = []
  await world.query('SELECT 1')
  expect(
    await whereIs(stream, connection, 'events/0/0', async (line) => void lines.push(line)),
  ).toBe(0)
  connection.closeSync()
  expect(lines.join('\n')).toMatch(
    /^on disk: no longer; retention has moved the start of the log to offset \d+\ntable swords: in .*\.parquet, snapshot \d+$/,
  )
})

test('little room on the disk is told once, and in ps as long as it lasts', async () => {
  const files = new SimulatedFiles({ seed: 1, capacityBytes: 1000 })
  const clock = new SimulatedClock()
  const logged: string[] = []
  const logger = {
    ...silentLogger,
    warn: (message: string) => void logged.push(message),
    info: (message: string) => void logged.push(message),
  }
  const own = {
    files,
    clock,
    logger,
    data: '/data',
    settings: resolveSettings({ freeBytesWarn: 500 }),
  }
  const space = new FreeSpace(own)
  const look = async () => {
    clock.advance(10_000)
    for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve))
  }
  await look()
  expect(space.attention()).toEqual([])
  files.capacityBytes = 400
  await look()
  await look()
  expect(space.attention()).toMatchObject([expect.stringContaining('/data has 400 B left')])
  files.capacityBytes = 500
  await look()
  expect(space.attention()).toEqual([])
  expect(logged).toEqual(['the disk has little room left', 'the disk has room again'])
  await space.close()
})
