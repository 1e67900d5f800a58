import { appendFile } from 'node:fs/promises'
import { join } from 'node:path'
import { crc32c } from '@node-rs/crc32'
import { afterEach, expect, test } from 'vitest'
import { auditRunning } from '../../src/app/audit.ts'
import { realClock } from '../../src/core/clock.ts'
import { realFiles } from '../../src/core/files.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { compress } from '../../src/log/compression.ts'
import { openEventLog } from '../../src/log/event-log.ts'
import { segmentPath } from '../../src/log/layout.ts'
import { batchOverheadBytes, encodeBatch } from '../../src/log/record-batch.ts'
import { partitionAnswer, produceRequest, start as startBroker, stopAll } from '../kafka/harness.ts'
import { define, World } from './world.ts'

afterEach(stopAll)

const definition = define({
  events: { purchase_sword: {} },
  tables: { sword_purchases: { from: 'purchase_sword' } },
})

interface ForeignBatch {
  readonly attributes: number
  readonly recordCount: number
  readonly section: Buffer
  readonly timestampMs?: number
}

/** A batch with a right CRC around these records. */
function seal(baseOffset: number, foreign: ForeignBatch): Buffer {
  const { attributes, recordCount, section, timestampMs = 1_600_000_000_000 } = foreign
  const record = { key: null, value: null, headers: [] }
  const head = encodeBatch(baseOffset, [{ timestampMs, records: [record] }]).bytes
  const bytes = Buffer.concat([head.subarray(0, batchOverheadBytes), section])
  bytes.writeInt32BE(bytes.length - 12, 8)
  bytes.writeInt16BE(attributes, 21)
  bytes.writeInt32BE(recordCount - 1, 23)
  bytes.writeInt32BE(recordCount, 57)
  bytes.writeUInt32BE(crc32c(bytes.subarray(21)), 17)
  return bytes
}

/** Puts batches at the end of the log that its own writer would not make. */
async function appendForeign(world: World, batches: readonly ForeignBatch[]): Promise<void> {
  const [state] = world.log.states()
  if (state === undefined) throw new Error('there is no partition')
  await world.log.close()
  let offset = state.endOffset
  for (const batch of batches) {
    const path = segmentPath(join(world.folder, 'log', 'events-0'), 0)
    await appendFile(path, seal(offset, batch))
    offset += batch.recordCount
  }
  world.log = await openEventLog({
    files: realFiles,
    clock: realClock,
    logger: silentLogger,
    folder: join(world.folder, 'log'),
    settings: world.settings,
    floors: new Map(),
    repair: false,
  })
}

/** The records of a batch of swords. */
function swords(count: number, timesMs: readonly number[] = []): Buffer {
  const groups = Array.from({ length: count }, (_, n) => ({
    timestampMs: timesMs[n] ?? 0,
    records: [{ key: null, value: Buffer.from('{"event_type":"purchase_sword"}'), headers: [] }],
  }))
  return encodeBatch(0, groups).bytes.subarray(batchOverheadBytes)
}

async function audit(world: World): Promise<{ exit: number; text: string }> {
  const { stream, instance } = world
  if (stream === undefined || instance === undefined) throw new Error('not running')
  const lines: string[] = []
  const say = async (line: string) => void lines.push(line)
  const exit = await auditRunning(stream, instance, world.files, world.folder, say)
  return { exit, text: lines.join('\n') }
}

const letters = `SELECT "offset"::INTEGER AS o, reason, octet_length(raw)::INTEGER AS n FROM questlog.dead_letters ORDER BY 1`

test('a batch that can not be read is set aside offset by offset, its bytes once, and stops nothing', async () => {
  await using world = await World.open()
  await world.createTopics(definition)
  await world.append([{ event_type: 'purchase_sword' }])
  const garbage = { attributes: 1, recordCount: 3, section: Buffer.from('not gzip') }
  const section = swords(2)
  await appendForeign(world, [
    garbage,
    { attributes: 0, recordCount: 2, section: section.subarray(0, section.length - 1) },
    { attributes: 7, recordCount: 1, section },
    { attributes: 3, recordCount: 2, section: compress(3, section) },
  ])
  await world.start(definition)
  await world.append([{ event_type: 'purchase_sword' }])
  expect(await world.count('"default".sword_purchases')).toBe(4)
  const rows = await world.query(letters)
  expect(rows.map((row) => row['o'])).toEqual([1, 2, 3, 4, 5, 6])
  expect(rows.map((row) => Number(row['n']) > 0)).toEqual([true, false, false, true, false, true])
  for (const row of rows) expect(row['reason']).toMatch(/^record batch malformed: .*offset [146] /)
  expect(rows[0]?.['n']).toBe(batchOverheadBytes + garbage.section.length)
  const { exit, text } = await audit(world)
  expect(text).toContain('answered 10 = in tables 4 + filtered 0 + set aside 6 + in no table 0')
  expect(text).toContain('everything adds up')
  expect(exit).toBe(0)
})

test('what a client sends in a good batch is taken as it is: records that can not be read are set aside one by one, and the stream goes on', async () => {
  await using world = await World.open()
  await world.createTopics(definition)
  await world.start(definition)
  const { client } = await startBroker({ log: world.log })
  const kafka = await client()
  const section = swords(3)
  const times = [0, Date.UTC(2500, 0, 1), Date.UTC(20_000, 0, 1)]
  const sent: ForeignBatch[] = [
    { attributes: 1, recordCount: 3, section: compress(1, Buffer.from('no records')) },
    { attributes: 1, recordCount: 2, section: compress(1, section) }, // one more than it says
    { attributes: 3, recordCount: 3, section: compress(3, section.subarray(0, -1)) },
    { attributes: 1, recordCount: 3, section: compress(1, swords(3, times)), timestampMs: 0 },
    { attributes: 1, recordCount: 1, section: Buffer.alloc(0) },
    { attributes: 1, recordCount: 3, section: compress(1, section) },
  ]
  for (const batch of sent) {
    const answer = await kafka.request('produce', 9, produceRequest(seal(0, batch)))
    expect(partitionAnswer(answer).errorCode).toBe(0)
  }
  expect(await world.count('"default".sword_purchases')).toBe(2 + 3)
  const rows = await world.query(letters)
  expect(rows.map((row) => row['o'])).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 10, 11])
  expect(rows[8]?.['reason']).toBe(`record time out of range: ${times[2]} ms`)
  const { exit, text } = await audit(world)
  expect(text).toContain('answered 15 = in tables 5 + filtered 0 + set aside 10 + in no table 0')
  expect(exit).toBe(0)
  expect(world.fatal).toBeUndefined()
})

test('a batch that claims very many records is set aside in pieces, once, also over a restart', async () => {
  await using world = await World.open({ settings: { batchBytesMax: 64 * 1024 } })
  await world.createTopics(definition)
  await appendForeign(world, [
    { attributes: 2, recordCount: 12_000, section: Buffer.alloc(1000, 'x') },
    { attributes: 0, recordCount: 1, section: swords(1) },
  ])
  await world.start(definition)
  expect(await world.count('"default".sword_purchases')).toBe(1)
  expect(await world.stream?.stop()).toEqual([])
  await world.start(definition)
  const [row] = await world.query(
    'SELECT count(*)::INTEGER AS n, count(DISTINCT "offset")::INTEGER AS d FROM questlog.dead_letters',
  )
  expect(row).toEqual({ n: 12_000, d: 12_000 })
  expect((await audit(world)).exit).toBe(0)
})

test('records that are small on the log and large in memory go through in pieces, and add up', async () => {
  await using world = await World.open({ settings: { batchBytesMax: 64 * 1024 } })
  await world.createTopics(definition)
  const section = compress(3, swords(2_000))
  const batch = { attributes: 3, recordCount: 2_000, section }
  await appendForeign(world, [batch, batch, batch])
  await world.start(definition)
  expect(await world.count('"default".sword_purchases')).toBe(6_000)
  expect((await audit(world)).exit).toBe(0)
})

test('a record with a time that no table has room for is set aside, any other is kept', async () => {
  await using world = await World.open()
  await world.createTopics(definition)
  const kept = [-1, 0, 2 ** 43, Date.UTC(9999, 11, 31), -62_135_596_800_000]
  const refused = [2 ** 52, -(2 ** 52), Number.MAX_SAFE_INTEGER, Date.UTC(10_000, 0, 1)]
  const batches = [...kept, ...refused].map((timestampMs) => ({
    attributes: 0,
    recordCount: 1,
    section: swords(1),
    timestampMs,
  }))
  await appendForeign(world, batches)
  await world.start(definition)
  expect(await world.count('"default".sword_purchases')).toBe(kept.length)
  await world.stream?.activate(definition) // commits
  expect(await world.count('"default".sword_purchases')).toBe(kept.length)
  const rows = await world.query(letters)
  expect(rows.map((row) => row['o'])).toEqual([5, 6, 7, 8])
  expect(rows[0]?.['reason']).toBe(`record time out of range: ${2 ** 52} ms`)
  expect((await audit(world)).exit).toBe(0)
})
