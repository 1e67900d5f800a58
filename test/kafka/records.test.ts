import { afterEach, describe, expect, test, vi } from 'vitest'
import { QuestlogError } from '../../src/core/errors.ts'
import { kafkaErrors } from '../../src/kafka/error-codes.ts'
import { encodeRequestFrame } from '../../src/kafka/frames.ts'
import { clientBatch } from '../log/client-batch.ts'
import { batchOf } from '../support/kafka-batches.ts'
import { SimulatedClock } from '../support/simulated-clock.ts'
import {
  fetchOnce,
  fetchRequest,
  metricOf,
  openRaw,
  partitionAnswer,
  produce,
  produceRequest,
  readFetch,
  start,
  stopAll,
  until,
} from './harness.ts'

afterEach(stopAll)

/** A promise that a test settles. */
function gate(): { opened: Promise<void>; open: () => void } {
  let open = () => {}
  const opened = new Promise<void>((resolve) => (open = resolve))
  return { opened, open }
}

describe('Produce', () => {
  test('what is produced is fetched, in every version', async () => {
    const { client } = await start()
    const kafka = await client()
    for (let version = 3; version <= 11; version++) {
      const answer = await kafka.request('produce', version, produceRequest(batchOf(`v${version}`)))
      expect(partitionAnswer(answer)).toMatchObject({ errorCode: 0, baseOffset: version - 3 })
    }
    for (let version = 4; version <= 12; version++) {
      const [partition] = readFetch(await kafka.request('fetch', version, fetchRequest()))
      expect(partition).toMatchObject({ errorCode: 0, highWatermark: 9, lastStableOffset: 9 })
      expect(partition?.values).toEqual(Array.from({ length: 9 }, (_, n) => `v${n + 3}`))
    }
  })

  test('topics are fetched by id from version 13 on', async () => {
    const { client, log } = await start()
    const kafka = await client()
    await produce(kafka, ['a'])
    const [topic] = fetchRequest().topics
    const byId = (topicId: string) => ({
      ...fetchRequest(),
      topics: [{ topicId, partitions: topic?.partitions ?? [] }],
    })
    const id = log.topic('events')?.id ?? ''
    for (let version = 13; version <= 17; version++) {
      const answer = await kafka.request('fetch', version, byId(id))
      expect(answer.responses[0]?.topicId).toBe(id)
      expect(readFetch(answer)[0]?.values).toEqual(['a'])
      const [unknown] = readFetch(
        await kafka.request('fetch', version, byId(`${id.slice(0, -1)}9`)),
      )
      expect(unknown?.errorCode).toBe(kafkaErrors.unknownTopicId)
    }
  })

  test('acks 1 is answered before the sync, acks all after it, and nothing is fetched before', async () => {
    const { client, log } = await start()
    const [writer, reader] = [await client(), await client()]
    const slow = gate()
    log.sync = slow.opened
    expect(await produce(writer, ['written'], { acks: 1 })).toMatchObject({ baseOffset: 0 })
    let synced = false
    const all = produce(writer, ['synced']).then((answer) => {
      expect(synced).toBe(true)
      return answer
    })
    await until('both appends', () => log.appended.length === 2)
    expect((await fetchOnce(reader))[0]).toMatchObject({ highWatermark: 0, values: [] })
    synced = true
    slow.open()
    expect(await all).toMatchObject({ errorCode: 0, baseOffset: 1 })
    expect((await fetchOnce(reader))[0]?.values).toEqual(['written', 'synced'])
  })

  test('acks 0 has no answer; an error then ends the connection', async () => {
    const { client, log } = await start()
    const kafka = await client()
    kafka.send('produce', 9, produceRequest(batchOf('a'), { acks: 0 }))
    expect(await produce(kafka, ['b'])).toMatchObject({ baseOffset: 1 })
    expect(log.appended.map(({ values }) => values)).toEqual([['a'], ['b']])
    kafka.send('produce', 9, produceRequest(batchOf('c'), { acks: 0, topic: 'nix' }))
    await expect(kafka.request('metadata', 9, { topics: [] })).rejects.toMatchObject({
      code: 'NOT_RUNNING',
    })
  })

  test('requests under way are appended and answered in order, without waiting for the sync between', async () => {
    const { client, log } = await start()
    const kafka = await client()
    const slow = gate()
    log.sync = slow.opened
    const answered: number[] = []
    const requests = Array.from({ length: 20 }, (_, n) =>
      produce(kafka, [String(n)]).then(({ baseOffset }) => answered.push(baseOffset)),
    )
    await until('all appends', () => log.appended.length === 20)
    expect(answered).toEqual([])
    expect(log.appended.flatMap(({ values }) => values)).toEqual(
      Array.from({ length: 20 }, (_, n) => String(n)),
    )
    slow.open()
    await Promise.all(requests)
    expect(answered).toEqual(Array.from({ length: 20 }, (_, n) => n))
  })

  test('partitions of one request have their own errors, by the catalog', async () => {
    const { client, log } = await start()
    const kafka = await client()
    const answer = await kafka.request('produce', 9, {
      acks: -1,
      timeoutMs: 1_000,
      topicData: [
        {
          name: 'events',
          partitionData: [
            { index: 0, records: batchOf('a') },
            { index: 7, records: batchOf('b') },
            { index: 1, records: null },
          ],
        },
        { name: 'nix', partitionData: [{ index: 0, records: batchOf('c') }] },
      ],
    })
    const codes = answer.responses.map(({ partitionResponses }) =>
      partitionResponses.map(({ errorCode }) => errorCode),
    )
    expect(codes).toEqual([
      [kafkaErrors.none, kafkaErrors.unknownTopicOrPartition, kafkaErrors.invalidRecord],
      [kafkaErrors.unknownTopicOrPartition],
    ])
    log.failures.push(new QuestlogError('SEQUENCE_OUT_OF_ORDER', 'sequence 5 after 2'))
    const { errorCode, errorMessage } = await produce(kafka, ['d'])
    expect([errorCode, errorMessage]).toEqual([
      kafkaErrors.outOfOrderSequenceNumber,
      'sequence 5 after 2',
    ])
    const two = Buffer.concat([batchOf('one'), batchOf('two')])
    const refused = await kafka.request('produce', 9, produceRequest(two))
    expect(partitionAnswer(refused).errorCode).toBe(kafkaErrors.invalidRecord)
    expect(log.appended.map(({ values }) => values)).toEqual([['a']])
    expect(await produce(kafka, ['e'], { acks: 2 })).toMatchObject({
      errorCode: kafkaErrors.invalidRequiredAcks,
    })
  })
})

describe('a producer is held back', () => {
  test('while the tables are too far behind, and later requests stay behind it', async () => {
    let backlog = 10
    const { client, log } = await start({
      settings: { backlogBytesMax: 9 },
      backlogBytes: () => backlog,
    })
    const kafka = await client()
    const first = produce(kafka, ['first'])
    const second = produce(kafka, ['second'])
    await (await client()).request('metadata', 9, { topics: [] })
    expect(log.appended).toEqual([])
    backlog = 0
    expect([(await first).baseOffset, (await second).baseOffset]).toEqual([0, 1])
  })

  test('by the topics of its own requests alone', async () => {
    const { client } = await start({
      settings: { backlogBytesMax: 9 },
      backlogBytes: (topic) => (topic === 'events' ? 0 : 10),
    })
    expect((await produce(await client(), ['a'])).baseOffset).toBe(0)
    const other = await produce(await client(), ['b'], { topic: 'other', timeoutMs: 40 })
    expect(other.errorCode).toBe(kafkaErrors.requestTimedOut)
  })

  test('up to the timeout of the request: then it is told to send again, later', async () => {
    const { client, log } = await start({
      settings: { backlogBytesMax: 9 },
      backlogBytes: () => 10,
    })
    const answer = await produce(await client(), ['a'], { timeoutMs: 40 })
    expect(answer).toMatchObject({ errorCode: kafkaErrors.requestTimedOut, throttleTimeMs: 1_000 })
    expect(log.appended).toEqual([])
  })

  test('while its partition has no room, and what comes behind it keeps its place', async () => {
    const { client, log } = await start()
    const kafka = await client()
    const full = () => new QuestlogError('OVERLOADED', 'no room')
    log.failures.push(full(), full(), full())
    const first = produce(kafka, ['first'])
    await until('a try', () => log.failures.length < 3)
    const second = produce(kafka, ['second'])
    expect([(await first).baseOffset, (await second).baseOffset]).toEqual([0, 1])
    log.failures.push(...Array.from({ length: 100 }, full))
    expect(await produce(kafka, ['third'], { timeoutMs: 30 })).toMatchObject({
      errorCode: kafkaErrors.requestTimedOut,
    })
  })
})

describe('the order of a connection', () => {
  const framed = (correlationId: number, records: Buffer) =>
    encodeRequestFrame('produce', 9, { correlationId, clientId: 'raw' }, produceRequest(records))

  test('holds although a later request of the same bytes would find room where the first did not', async () => {
    const { log, port } = await start()
    const socket = await openRaw(port)
    log.roomBytes = 500
    const batches = [batchOf('x'.repeat(600)), batchOf('small'), batchOf('last')]
    socket.write(Buffer.concat(batches.flatMap((bytes, id) => framed(id, bytes))))
    await until('some looks', () => log.looks > 4)
    expect(log.appended).toEqual([])
    log.roomBytes = 1_000
    await until('all appends', () => log.appended.length === 3)
    expect(log.appended.map(({ values }) => values[0]?.slice(0, 5))).toEqual([
      'xxxxx',
      'small',
      'last',
    ])
  })

  test('holds although several requests fail late, once and again', async () => {
    const { client, log } = await start()
    const kafka = await client()
    const full = () => new QuestlogError('OVERLOADED', 'no room')
    log.failures.push(full(), full(), full(), full(), full())
    const answers = ['first', 'second', 'third'].map((value) => produce(kafka, [value]))
    await Promise.all(answers)
    expect(log.appended.map(({ values }) => values)).toEqual([['first'], ['second'], ['third']])
  })

  test('of an idempotent producer that nobody knows yet: what follows a refused batch has to wait for it', async () => {
    const { client, log } = await start()
    const kafka = await client()
    const send = async (sequence: number, over: { timeoutMs?: number; epoch?: number } = {}) => {
      const { timeoutMs = 60_000, epoch = 0 } = over
      const bytes = clientBatch({ values: [String(sequence)], producerId: 7, epoch, sequence })
      const answer = await kafka.request('produce', 9, produceRequest(bytes, { timeoutMs }))
      return partitionAnswer(answer).errorCode
    }
    log.roomBytes = 10
    const first = send(0, { timeoutMs: 30 })
    const second = first.then(() => (log.roomBytes = 1_000)).then(() => send(1))
    expect([await first, await second]).toEqual([
      kafkaErrors.requestTimedOut,
      kafkaErrors.outOfOrderSequenceNumber,
    ])
    expect(log.appended).toEqual([])
    expect([await send(0), await send(1), await send(2)]).toEqual([0, 0, 0])
    log.roomBytes = 10
    expect(await send(3, { timeoutMs: 30 })).toBe(kafkaErrors.requestTimedOut)
    log.roomBytes = 1_000
    expect(await send(4)).toBe(kafkaErrors.outOfOrderSequenceNumber)
    expect(await send(0, { epoch: 1 })).toBe(0)
  })
})

describe('Fetch', () => {
  test('waits for new records, and is woken by their sync', async () => {
    const { client } = await start()
    const [writer, reader] = [await client(), await client()]
    const waiting = fetchOnce(reader, { maxWaitMs: 9_000, partitions: [0, 1] })
    await produce(writer, ['late'], { partition: 1 })
    const [empty, woken] = await waiting
    expect(empty?.values).toEqual([])
    expect(woken).toMatchObject({ values: ['late'], highWatermark: 1 })
  })

  test('answers empty after maxWaitMs, and waits for minBytes until then', async () => {
    const { client } = await start()
    const [writer, reader] = [await client(), await client()]
    expect((await fetchOnce(reader, { maxWaitMs: 20 }))[0]?.values).toEqual([])
    const bytes = batchOf('one').length
    const waiting = fetchOnce(reader, { maxWaitMs: 9_000, minBytes: bytes + 1 })
    await produce(writer, ['one'])
    await produce(writer, ['two'])
    expect((await waiting)[0]?.values).toEqual(['one', 'two'])
    const late = await fetchOnce(reader, { maxWaitMs: 30, minBytes: bytes * 9 })
    expect(late[0]?.values).toEqual(['one', 'two'])
  })

  test('that waits for more than there is holds no memory meanwhile, and gives what there is in the end', async () => {
    const clock = new SimulatedClock()
    const { broker, client, log } = await start({ clock })
    const [writer, reader] = [await client(), await client()]
    const large = 'x'.repeat(300_000)
    await produce(writer, [large])
    const looks = vi.spyOn(log, 'partition')
    const waiting = fetchOnce(reader, { maxWaitMs: 20_000, minBytes: 9_000_000 })
    const held = () => metricOf(broker, 'fetch_bytes')
    await until('it is read and waits', () => looks.mock.calls.length > 2 && held() === 0)
    await produce(writer, ['more'])
    clock.advance(20_000)
    expect((await waiting)[0]?.values.map(({ length }) => length)).toEqual([300_000, 4])
    await until('its memory is given back', () => held() === 0)
  })

  test('gives the first batch however large, and else keeps to the limits', async () => {
    const { client } = await start()
    const kafka = await client()
    const large = 'x'.repeat(50_000)
    await produce(kafka, [large])
    await produce(kafka, ['small'])
    await produce(kafka, ['other'], { partition: 1 })
    const one = { maxBytes: 100, partitionMaxBytes: 100 }
    expect((await fetchOnce(kafka, one))[0]?.values).toEqual([large])
    expect((await fetchOnce(kafka, { ...one, offset: 1 }))[0]?.values).toEqual(['small'])
    const both = { partitions: [0, 1], maxBytes: 40_000 }
    const firsts = [await fetchOnce(kafka, both), await fetchOnce(kafka, both)]
    // Each of them comes first in its turn.
    const first = (partitions: (typeof firsts)[number]) =>
      partitions
        .filter(({ values }) => values.length > 0)
        .map(({ partitionIndex }) => partitionIndex)
    expect(firsts.flatMap(first).toSorted((one, other) => one - other)).toEqual([0, 1])
  })

  test('read_committed ends at the last stable offset, and waits for it', async () => {
    const { client, log } = await start()
    const kafka = await client()
    await produce(kafka, ['stable'])
    log.holdStable('events', 0, 1)
    await produce(kafka, ['open'])
    const [committed] = await fetchOnce(kafka, { isolationLevel: 1 })
    expect(committed).toMatchObject({ highWatermark: 2, lastStableOffset: 1, values: ['stable'] })
    expect(committed?.abortedTransactions).toEqual([])
    const [all] = await fetchOnce(kafka)
    expect(all).toMatchObject({ values: ['stable', 'open'], abortedTransactions: null })
    const waiting = fetchOnce(await client(), { isolationLevel: 1, offset: 1, maxWaitMs: 9_000 })
    log.holdStable('events', 0, undefined)
    expect((await waiting)[0]?.values).toEqual(['open'])
  })

  test('says what is wrong at once', async () => {
    const { client } = await start()
    const kafka = await client()
    const codeOf = async (over: object) =>
      (await fetchOnce(kafka, { maxWaitMs: 9_000, ...over }))[0]?.errorCode
    expect(await codeOf({ offset: 1 })).toBe(kafkaErrors.offsetOutOfRange)
    expect(await codeOf({ offset: -1 })).toBe(kafkaErrors.offsetOutOfRange)
    expect(await codeOf({ topic: 'nix' })).toBe(kafkaErrors.unknownTopicOrPartition)
    expect(await codeOf({ partitions: [2] })).toBe(kafkaErrors.unknownTopicOrPartition)
    const session = await kafka.request('fetch', 11, { ...fetchRequest(), sessionId: 5 })
    expect(session.errorCode).toBe(kafkaErrors.fetchSessionIdNotFound)
    const fresh = await kafka.request('fetch', 11, { ...fetchRequest(), sessionEpoch: 0 })
    expect(fresh).toMatchObject({ errorCode: 0, sessionId: 0 })
  })

  test('answers in the order of the requests: a Fetch that waits holds back what is behind it, not its work', async () => {
    const { client, log } = await start()
    const kafka = await client()
    const waiting = fetchOnce(kafka, { maxWaitMs: 9_000, minBytes: 1 })
    const answered: string[] = []
    const produced = produce(kafka, ['own']).then(() => answered.push('produce'))
    const [partition] = await waiting
    answered.unshift('fetch')
    expect(partition?.values).toEqual(['own'])
    await produced
    expect(answered).toEqual(['fetch', 'produce'])
    expect(log.appended).toHaveLength(1)
  })
})

describe('memory', () => {
  test('answers to Fetch wait for their share, and all get theirs', async () => {
    const { client, broker } = await start({ settings: { brokerInFlightBytesMax: 1024 * 1024 } })
    const writer = await client()
    const value = 'x'.repeat(300_000)
    for (let n = 0; n < 3; n++) await produce(writer, [value])
    const readers = await Promise.all(Array.from({ length: 8 }, () => client()))
    const fetched = await Promise.all(
      readers.map((reader) => fetchOnce(reader, { maxWaitMs: 9_000 })),
    )
    for (const [partition] of fetched) expect(partition?.values.length).toBeGreaterThan(0)
    await until('all is given back', () => metricOf(broker, 'fetch_bytes') === 0)
  })

  test('a client that does not take its answers holds one of them, and is ended', async () => {
    const { client, broker, port } = await start({ settings: { requestTimeoutMs: 1_500 } })
    const value = 'x'.repeat(2_000_000)
    const writer = await client()
    for (let n = 0; n < 4; n++) await produce(writer, [value])
    const slow = await openRaw(port)
    slow.pause()
    const request = fetchRequest({ partitionMaxBytes: 9_000_000 })
    for (let correlationId = 0; correlationId < 20; correlationId++)
      for (const chunk of encodeRequestFrame(
        'fetch',
        11,
        { correlationId, clientId: null },
        request,
      ))
        slow.write(chunk)
    await until('an answer', () => metricOf(broker, 'fetch_bytes') > 0)
    expect(metricOf(broker, 'fetch_bytes')).toBeLessThan(9_000_000)
    await until('its end', () => metricOf(broker, 'connections_failed_total') === 1)
    await until('all is given back', () => metricOf(broker, 'fetch_bytes') === 0)
    expect((await fetchOnce(writer)).length).toBe(1)
  })
})
