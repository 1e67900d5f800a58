import { randomBytes } from 'node:crypto'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { EventLog } from '../../src/log/event-log.ts'
import { writeInt64 } from '../../src/log/int64.ts'
import { batchBytesAt, batchIn, decodeRecords, sealBatch } from '../../src/log/record-batch.ts'
import { unsyncedBytesMax } from '../../src/log/segment.ts'
import { SimulatedClock } from '../support/simulated-clock.ts'
import { SimulatedFiles } from '../support/simulated-files.ts'
import { clientBatch, untouched } from './client-batch.ts'
import { codeOf, createEvents, firstSegment, openLog, readAll, record, values } from './support.ts'

const nowMs = 1_600_000_000_000

async function opened(configs: Record<string, string> = {}, settings = {}) {
  const files = new SimulatedFiles({ seed: 1 })
  const clock = new SimulatedClock(nowMs)
  const log = await openLog(files, { clock, settings })
  const topic = await log.createTopic({ name: 'events', partitions: 1, configs })
  return { files, clock, log, topic }
}

/** A good batch with one thing changed, sealed again. */
function changed(change: (bytes: Buffer) => void): Buffer {
  const bytes = clientBatch({ values: ['one', 'two'] })
  change(bytes)
  sealBatch(bytes)
  return bytes
}

const append = (log: EventLog, bytes: Buffer) =>
  log.appendBatches('events', 0, bytes, 'acknowledged')

function batchesIn(bytes: Buffer): Buffer[] {
  const batches: Buffer[] = []
  for (let at = 0; at < bytes.length; at += batchBytesAt(bytes, at) ?? bytes.length)
    batches.push(bytes.subarray(at, at + (batchBytesAt(bytes, at) ?? 0)))
  return batches
}

describe('a batch of a client', () => {
  test('lies on the disk as it was sent, but for base offset and leader epoch', async () => {
    const { files, log } = await opened()
    const sent = [
      clientBatch({ values: ['a', 'b', 'c'], timestampMs: 1_234 }),
      clientBatch({ values: ['d'], isGzipped: true }),
      clientBatch({ values: ['e'], producerId: 7, sequence: 0, isTransactional: true }),
    ]
    const offsets: number[] = []
    for (const bytes of sent) offsets.push((await append(log, Buffer.from(bytes))).baseOffset)
    expect(offsets).toEqual([0, 3, 4])
    const stored = batchesIn(await files.readAll(firstSegment))
    expect(stored.map(untouched)).toEqual(sent.map(untouched))
    expect(stored.map((bytes) => batchIn(bytes).baseOffset)).toEqual(offsets)
    expect(stored.map((bytes) => bytes.readInt32BE(12))).toEqual([0, 0, 0])
    await log.close()
  })

  test('gets the time of the log where the topic says so, with a CRC that fits', async () => {
    const { clock, files, log, topic } = await opened({ 'message.timestamp.type': 'LogAppendTime' })
    clock.advance(5)
    const bytes = clientBatch({ values: ['a', 'b'], timestampMs: nowMs + 86_400_000 })
    expect(await append(log, bytes)).toEqual({
      baseOffset: 0,
      logAppendTimeMs: nowMs + 5,
      startOffset: 0,
    })
    const records = await readAll(files, topic)
    expect(records.map(({ timestampMs }) => timestampMs)).toEqual([nowMs + 5, nowMs + 5])
    await log.close()
    const again = await openLog(files, { clock })
    expect(values(await readAll(files, topic))).toEqual(['a', 'b'])
    await again.close()
  })

  test.each([
    ['nothing', Buffer.alloc(0), 'RECORD_BATCH_MALFORMED'],
    ['less than a head', Buffer.alloc(60, 2), 'RECORD_BATCH_MALFORMED'],
    ['an old format', changed((bytes) => (bytes[16] = 1)), 'MESSAGE_FORMAT_OLD'],
    ['a coming format', changed((bytes) => (bytes[16] = 3)), 'RECORD_BATCH_MALFORMED'],
    ['a length beyond the end', changed((b) => b.writeInt32BE(9_999, 8)), 'RECORD_BATCH_MALFORMED'],
    ['a negative length', changed((b) => b.writeInt32BE(-1, 8)), 'RECORD_BATCH_MALFORMED'],
    ['no records', changed((b) => b.writeInt32BE(0, 57)), 'RECORD_BATCH_MALFORMED'],
    ['offsets with a hole', changed((b) => b.writeInt32BE(5, 23)), 'RECORD_BATCH_MALFORMED'],
    [
      'more records than fit',
      changed((b) => {
        b.writeInt32BE(1_000_000, 57)
        b.writeInt32BE(999_999, 23)
      }),
      'RECORD_BATCH_MALFORMED',
    ],
    ['an unknown codec', changed((b) => b.writeInt16BE(5, 21)), 'RECORD_BATCH_MALFORMED'],
    ['an unknown attribute', changed((b) => b.writeInt16BE(0x40, 21)), 'RECORD_BATCH_MALFORMED'],
    ['a control batch', changed((b) => b.writeInt16BE(0x20, 21)), 'RECORD_BATCH_MALFORMED'],
    [
      'a transaction without producer',
      changed((b) => b.writeInt16BE(0x10, 21)),
      'RECORD_BATCH_MALFORMED',
    ],
    ['a producer without epoch', changed((b) => writeInt64(b, 43, 4)), 'RECORD_BATCH_MALFORMED'],
    ['a producer beyond numbers', changed((b) => b.fill(0x7f, 43, 57)), 'RECORD_BATCH_MALFORMED'],
    ['the time of the log', changed((b) => b.writeInt16BE(0x08, 21)), 'TIMESTAMP_INVALID'],
    ['a time far ahead', changed((b) => writeInt64(b, 35, nowMs + 3_600_001)), 'TIMESTAMP_INVALID'],
    ['a time before times', changed((b) => writeInt64(b, 27, -2)), 'TIMESTAMP_INVALID'],
    ['a time beyond numbers', changed((b) => b.fill(0x7f, 35, 43)), 'TIMESTAMP_INVALID'],
    [
      'two batches of a producer',
      Buffer.concat([0, 1].map((n) => clientBatch({ values: ['x'], producerId: 1, sequence: n }))),
      'RECORD_BATCH_MALFORMED',
    ],
    [
      'junk after the batch',
      Buffer.concat([clientBatch({ values: ['x'] }), Buffer.alloc(3)]),
      'RECORD_BATCH_MALFORMED',
    ],
    ['more than max.message.bytes', clientBatch({ values: ['x'.repeat(300)] }), 'EVENT_TOO_LARGE'],
  ])('with %s is refused, and nothing is kept', async (_what, bytes, code) => {
    const { files, log } = await opened({ 'max.message.bytes': '300' })
    expect(await codeOf(append(log, bytes))).toBe(code)
    expect(log.states()[0]).toMatchObject({ endOffset: 0, pendingBytes: 0 })
    expect(await files.sizeOf(firstSegment)).toBe(0)
    await log.close()
  })

  test('with any changed byte under its CRC is refused as corrupt', async () => {
    const { log } = await opened()
    const good = clientBatch({ values: ['one', 'two'], producerId: 3, sequence: 0 })
    for (let at = 17; at < good.length; at++) {
      const bytes = Buffer.from(good)
      bytes[at] = (bytes[at] ?? 0) ^ 0x01
      expect(await codeOf(append(log, bytes))).toBe('RECORD_BATCH_CORRUPT')
    }
    expect(log.states()[0]?.endOffset).toBe(0)
    await log.close()
  })

  test('of whatever bytes never harms the log', async () => {
    const { files, log, topic } = await opened()
    let kept = 0
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ at: fc.nat(140), bytes: fc.uint8Array({ maxLength: 9 }) }), {
          maxLength: 4,
        }),
        fc.boolean(),
        async (changes, isSealed) => {
          const bytes = clientBatch({ values: ['one', 'two', 'three'] })
          for (const change of changes)
            bytes.set(change.bytes, Math.min(change.at, bytes.length - 9))
          if (isSealed) sealBatch(bytes)
          const code = await codeOf(append(log, bytes))
          if (code === undefined) kept = log.states()[0]?.endOffset ?? 0
          expect(['INTERNAL', 'OUTCOME_UNKNOWN', 'PARTITION_OFFLINE']).not.toContain(code)
        },
      ),
      { numRuns: 300 },
    )
    await log.append('events', null, [record('after')])
    await log.close()
    const again = await openLog(files)
    expect(again.states()[0]?.endOffset).toBe(kept + 1)
    const last = batchesIn(await files.readAll(firstSegment)).at(-1)
    expect(last === undefined ? [] : values(decodeRecords(batchIn(last)))).toEqual(['after'])
    expect(again.topic('events')?.id).toBe(topic.id)
    await again.close()
  })
})

describe('a group commit', () => {
  test('keeps the order in which all kinds of appends came, with one sync', async () => {
    const { files, log, topic } = await opened()
    let syncs = 0
    files.fault = (operation, path) => {
      if (operation === 'sync' && path === firstSegment) syncs++
      return undefined
    }
    const own = (value: string) => log.append('events', null, [record(value)])
    const marker = {
      producerId: 5,
      producerEpoch: 0,
      coordinatorEpoch: 1,
      outcome: 'commit',
    } as const
    const transactional = { producerId: 5, isTransactional: true }
    const placed = await Promise.all([
      own('0'),
      own('1'),
      append(log, clientBatch({ values: ['2', '3'] })),
      own('4'),
      append(log, clientBatch({ values: ['5'], sequence: 0, ...transactional })),
      log.appendMarker('events', 0, marker),
      own('7'),
      append(log, clientBatch({ values: ['8'] })),
    ])
    expect(syncs).toBe(1)
    expect(placed.map((each) => each?.baseOffset)).toEqual([0, 1, 2, 4, 5, undefined, 7, 8])
    const records = await readAll(files, topic)
    expect(values(records)).toEqual(['0', '1', '2', '3', '4', '5', '7', '8'])
    expect(log.states()[0]).toMatchObject({ visibleOffset: 9, excludedOffsets: 1 })
    await log.close()
  })

  test('tells who asked for it as soon as it is written, others when it is synced', async () => {
    const { files, log } = await opened()
    const order: string[] = []
    files.fault = (operation, path) => {
      if (operation === 'sync' && path === firstSegment) order.push('sync')
      return undefined
    }
    const note = (what: string) => () => order.push(what)
    const bytes = () => clientBatch({ values: ['x'] })
    await Promise.all([
      append(log, bytes()).then(note('acknowledged')),
      log.appendBatches('events', 0, bytes(), 'written').then(note('written')),
    ])
    expect(order.filter((what) => what !== 'sync')).toEqual(['written', 'acknowledged'])
    expect(order.indexOf('sync')).toBeLessThan(order.indexOf('acknowledged'))
    await log.close()
  })

  test('leaves no more unsynced at any time than recovery expects of a torn one', async () => {
    const files = new SimulatedFiles({ seed: 1 })
    let unsynced = 0
    let most = 0
    const openAppend = files.openAppend.bind(files)
    files.openAppend = async (path) => {
      const file = await openAppend(path)
      if (path !== firstSegment) return file
      const appendBytes = file.append.bind(file)
      const sync = file.sync.bind(file)
      return Object.assign(file, {
        append: (bytes: Uint8Array) => {
          unsynced += bytes.length
          most = Math.max(most, unsynced)
          return appendBytes(bytes)
        },
        sync: async () => {
          await sync()
          unsynced = 0
        },
      })
    }
    const log = await openLog(files)
    const topic = await createEvents(log)
    const batch = clientBatch({ values: ['x'.repeat(3_000_000)] })
    const many = Buffer.concat(Array.from({ length: 3 }, () => batch))
    await Promise.all([append(log, many), append(log, Buffer.from(batch))])
    expect(log.states()[0]).toMatchObject({ endOffset: 4, syncedOffset: 4 })
    expect(most).toBeGreaterThan(batch.length)
    expect(most).toBeLessThanOrEqual(unsyncedBytesMax)
    expect(log.topic('events')).toEqual(topic)
    await log.close()
  })

  test('refuses what would have to wait beyond pendingBytesMax', async () => {
    const { log } = await opened({}, { pendingBytesMax: 64 * 1024 })
    const large = () => clientBatch({ values: ['x'.repeat(40_000)] })
    const codes = await Promise.all([append(log, large()), codeOf(append(log, large()))])
    expect(codes[1]).toBe('OVERLOADED')
    await log.close()
  })

  test('that fails for a full disk takes what waits behind it along: nothing gets ahead of what comes again', async () => {
    const { files, log } = await opened()
    const large = () => clientBatch({ values: ['x'.repeat(5_000)], producerId: 1, sequence: 0 })
    const small = () => clientBatch({ values: ['y'], producerId: 1, sequence: 1 })
    let behind: Promise<string | undefined> | undefined
    files.fault = (operation) => {
      if (operation !== 'append' || behind !== undefined) return undefined
      behind = codeOf(append(log, small()))
      return 'ENOSPC'
    }
    expect(await codeOf(append(log, large()))).toBe('OVERLOADED')
    expect(await behind).toBe('OVERLOADED')
    expect(log.states()[0]).toMatchObject({ endOffset: 0, pendingBytes: 0 })
    expect(await append(log, large())).toMatchObject({ baseOffset: 0 })
    expect(await append(log, small())).toMatchObject({ baseOffset: 1 })
    await log.close()
  })

  test('says beforehand whether there is room', async () => {
    const { log } = await opened({}, { pendingBytesMax: 64 * 1024 })
    expect(log.hasRoom('events', 0, 100_000)).toBe(true) // one alone may be larger
    const first = append(log, clientBatch({ values: ['x'.repeat(40_000)] }))
    expect([20_000, 40_000].map((bytes) => log.hasRoom('events', 0, bytes))).toEqual([true, false])
    await first
    expect(log.hasRoom('events', 0, 40_000)).toBe(true)
    await log.close()
  })

  test('that fails for a full disk leaves producers as they were', async () => {
    const { files, log } = await opened()
    const batch = (sequence: number) => clientBatch({ values: ['x'], producerId: 1, sequence })
    await append(log, batch(0))
    files.fault = (operation) => (operation === 'append' ? 'ENOSPC' : undefined)
    expect(await codeOf(append(log, batch(1)))).toBe('OVERLOADED')
    files.fault = () => undefined
    expect(await append(log, batch(1))).toMatchObject({ baseOffset: 1 })
    await log.close()
  })
})

describe('an idempotent producer', () => {
  const batch = (sequence: number, epoch = 0, count = 1) =>
    clientBatch({
      values: Array.from({ length: count }, () => 'x'),
      producerId: 1,
      epoch,
      sequence,
    })

  test('gets the original offset for a duplicate of one of its last five batches', async () => {
    const { log } = await opened()
    for (let n = 0; n < 6; n++) expect(await append(log, batch(n))).toMatchObject({ baseOffset: n })
    for (let n = 1; n < 6; n++) expect(await append(log, batch(n))).toMatchObject({ baseOffset: n })
    expect(await codeOf(append(log, batch(0)))).toBe('SEQUENCE_OUT_OF_ORDER')
    expect(await codeOf(append(log, batch(5, 0, 2)))).toBe('SEQUENCE_OUT_OF_ORDER')
    expect(log.states()[0]?.endOffset).toBe(6)
    await log.close()
  })

  test('gets it also while the original is on its way to the disk', async () => {
    const { log } = await opened()
    const [one, two, next] = await Promise.all(
      [batch(0), batch(0), batch(1)].map((b) => append(log, b)),
    )
    expect([one?.baseOffset, two?.baseOffset, next?.baseOffset]).toEqual([0, 0, 1])
    await log.close()
  })

  test('may not leave out a sequence number, nor go back to an older epoch', async () => {
    const { log } = await opened()
    await append(log, batch(40)) // nothing is known of it: any number may be the first
    expect(await codeOf(append(log, batch(42)))).toBe('SEQUENCE_OUT_OF_ORDER')
    expect(await codeOf(append(log, batch(41, 1)))).toBe('SEQUENCE_OUT_OF_ORDER')
    await append(log, batch(0, 1))
    expect(await codeOf(append(log, batch(41)))).toBe('PRODUCER_EPOCH_OLD')
    await log.close()
  })

  test('counts on from 0 after 2147483647', async () => {
    const { log } = await opened()
    const last = 2 ** 31 - 1
    await append(log, batch(last - 1, 0, 1))
    await append(log, batch(last, 0, 3)) // 2147483647, 0, 1
    expect(await append(log, batch(last, 0, 3))).toMatchObject({ baseOffset: 1 })
    expect(await append(log, batch(2))).toMatchObject({ baseOffset: 4 })
    await log.close()
  })

  test('is known again after a restart', async () => {
    const { files, log } = await opened({}, { segmentBytesMax: 4096 })
    for (let n = 0; n < 200; n++) await append(log, batch(n))
    files.kill()
    const again = await openLog(files, { settings: { segmentBytesMax: 4096 } })
    await createEvents(again)
    expect(await append(again, batch(199))).toMatchObject({ baseOffset: 199 })
    expect(await codeOf(append(again, batch(201)))).toBe('SEQUENCE_OUT_OF_ORDER')
    await again.close()
  })

  test('is forgotten when it was silent for long, or when there are too many', async () => {
    const settings = { producersMax: 2, producerIdleMaxMs: 60_000 }
    const { clock, log } = await opened({}, settings)
    const of = (producerId: number, sequence: number) =>
      append(log, clientBatch({ values: ['x'], producerId, sequence }))
    for (const id of [1, 2, 3]) await of(id, 0)
    expect(await codeOf(of(3, 9))).toBe('SEQUENCE_OUT_OF_ORDER')
    await of(1, 9)
    clock.advance(60_001)
    await of(4, 0)
    await of(1, 30)
    await log.close()
  })

  test('with an open transaction may not write outside of it', async () => {
    const { log } = await opened()
    const of = (sequence: number, isTransactional: boolean) =>
      append(log, clientBatch({ values: ['x'], producerId: 1, sequence, isTransactional }))
    await of(0, true)
    expect(await codeOf(of(1, false))).toBe('TRANSACTION_STATE_INVALID')
    await log.appendMarker('events', 0, {
      producerId: 1,
      producerEpoch: 0,
      coordinatorEpoch: 0,
      outcome: 'commit',
    })
    await of(1, false)
    await log.close()
  })
})

test('a batch of megabytes of compressed bytes is kept as it is', async () => {
  const { files, log } = await opened()
  const value = randomBytes(2_500_000).toString('base64')
  const bytes = clientBatch({ values: [value], isGzipped: true })
  expect(bytes.length).toBeGreaterThan(2_000_000)
  await append(log, Buffer.from(bytes))
  const stored = untouched(await files.readAll(firstSegment))
  expect(stored.equals(untouched(bytes))).toBe(true)
  await log.close()
})
