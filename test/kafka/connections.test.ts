import * as fc from 'fast-check'
import { afterEach, describe, expect, test } from 'vitest'
import type { LogFacts } from '../../src/core/logger.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { ByteBudget } from '../../src/kafka/byte-budget.ts'
import { kafkaErrors } from '../../src/kafka/error-codes.ts'
import { FrameReader } from '../../src/kafka/frame-reader.ts'
import {
  fetchOnce,
  metricOf,
  openClient,
  openRaw,
  produce,
  start,
  stopAll,
  until,
} from './harness.ts'

afterEach(stopAll)

const int32 = (value: number) => {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32BE(value)
  return bytes
}

describe('frames', () => {
  test('are the same however the bytes are cut', () => {
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ minLength: 2, maxLength: 300 }), { maxLength: 20 }),
        fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1, maxLength: 50 }),
        (frames, cuts) => {
          const stream = Buffer.concat(
            frames.flatMap((frame) => [int32(frame.length), Buffer.from(frame)]),
          )
          const reader = new FrameReader()
          const read: Buffer[] = []
          for (let at = 0, n = 0; at < stream.length; n++) {
            const bytes = cuts[n % cuts.length] ?? 1
            reader.push(stream.subarray(at, at + bytes))
            at += bytes
            for (;;) {
              const head = reader.head()
              if (head !== undefined) reader.begin(head.size)
              const frame = reader.take()
              if (frame === undefined) break
              read.push(Buffer.from(frame))
            }
          }
          expect(reader.isPartial).toBe(false)
          expect(read.map((frame) => [...frame])).toEqual(frames.map((frame) => [...frame]))
        },
      ),
    )
  })

  test('an impossible size, a request that can not be read, an API or a version that is not served end the connection', async () => {
    const lines: LogFacts[] = []
    const logger = {
      ...silentLogger,
      warn: (_text: string, facts: LogFacts = {}) => void lines.push(facts),
    }
    const { port, broker } = await start({ logger })
    const wrong = [
      Buffer.from('GET / HTTP/1.1\r\n\r\n'),
      int32(-5),
      Buffer.concat([int32(7), Buffer.alloc(7)]),
      Buffer.concat([int32(12), Buffer.from([0, 3, 0, 9, 0, 0, 0, 1, 0xff, 0xff, 0, 0xff])]),
      Buffer.concat([int32(10), Buffer.from([0x70, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff])]),
      Buffer.concat([int32(10), Buffer.from([0, 3, 0, 99, 0, 0, 0, 1, 0xff, 0xff])]),
      Buffer.concat([int32(5 * 1024 * 1024), Buffer.from([0, 3])]),
    ]
    for (const bytes of wrong) {
      const socket = await openRaw(port)
      socket.write(Buffer.concat([bytes, Buffer.alloc(8)]))
      await socket.ended
    }
    expect(metricOf(broker, 'connections_failed_total')).toBe(wrong.length)
    // One line, not one for each.
    expect(lines).toHaveLength(1)
    expect(String(lines[0]?.['error'])).toContain('looks like HTTP')
    expect((await fetchOnce(await openClient(port)))[0]?.errorCode).toBe(0)
  })
})

describe('ApiVersions', () => {
  test('lists what is served; Produce from 0 on, or librdkafka would not compress', async () => {
    const { client } = await start()
    const kafka = await client()
    for (let version = 0; version <= 4; version++) {
      const { errorCode, apiKeys } = await kafka.request('apiVersions', version, {
        clientSoftwareName: 'a-client',
        clientSoftwareVersion: '1.2.3',
      })
      expect(errorCode).toBe(0)
      const byKey = new Map(apiKeys.map((api) => [api.apiKey, api]))
      expect(byKey.get(0)).toEqual({ apiKey: 0, minVersion: 0, maxVersion: 11 })
      expect(byKey.get(1)?.maxVersion).toBeGreaterThanOrEqual(12)
      expect(byKey.get(3)).toEqual({ apiKey: 3, minVersion: 0, maxVersion: 12 })
      expect(byKey.get(18)).toEqual({ apiKey: 18, minVersion: 0, maxVersion: 4 })
      expect(apiKeys.map(({ apiKey }) => apiKey)).toEqual(
        [...byKey.keys()].toSorted((one, other) => one - other),
      )
    }
  })

  test('a version of the future is answered in the form of version 0', async () => {
    const { port } = await start()
    const socket = await openRaw(port)
    socket.write(
      Buffer.concat([int32(13), Buffer.from([0, 18, 0, 77, 0, 0, 0, 42, 0xff, 0xff, 0, 1, 1])]),
    )
    const answer = await new Promise<Buffer>((resolve) => socket.once('data', resolve))
    expect(answer.readInt32BE(0)).toBe(answer.length - 4)
    expect(answer.readInt32BE(4)).toBe(42)
    expect(answer.readInt16BE(8)).toBe(kafkaErrors.unsupportedVersion)
    expect(answer.length).toBe(4 + 4 + 2 + 4 + answer.readInt32BE(10) * 6)
  })

  test('counts clients by their name, and refuses one that is none', async () => {
    const { client, broker } = await start()
    const kafka = await client()
    const names = { clientSoftwareName: 'librdkafka', clientSoftwareVersion: '2.0.2' }
    await kafka.request('apiVersions', 3, names)
    await kafka.request('apiVersions', 3, names)
    expect(metricOf(broker, 'clients_total', 'librdkafka')).toBe(2)
    const refused = await kafka.request('apiVersions', 3, { ...names, clientSoftwareName: '-' })
    expect(refused.errorCode).toBe(kafkaErrors.invalidRequest)
    expect(metricOf(broker, 'requests_total', 'apiVersions')).toBe(3)
  })
})

describe('Metadata', () => {
  test('names the broker as the client has reached it, unless another address is set', async () => {
    const own = await start()
    const plain = await (await own.client()).request('metadata', 12, { topics: null })
    expect(plain.brokers).toEqual([{ nodeId: 1, host: '127.0.0.1', port: own.port, rack: null }])
    expect(plain).toMatchObject({ controllerId: 1, clusterId: 'a-cluster' })
    expect(plain.topics.map(({ name }) => name)).toEqual(['events'])
    const named = await start({ advertised: { host: 'kafka', port: 29_092 } })
    const told = await (await named.client()).request('metadata', 1, { topics: [] })
    expect(told.brokers).toMatchObject([{ host: 'kafka', port: 29_092 }])
    expect(told.topics).toEqual([])
  })

  test('makes a topic when the client and the setting allow it; never one with a bad name', async () => {
    const { client, log } = await start()
    const kafka = await client()
    const ask = async (version: number, name: string, allowAutoTopicCreation = true) =>
      (await kafka.request('metadata', version, { topics: [{ name }], allowAutoTopicCreation }))
        .topics[0]
    expect((await ask(9, 'nosuch', false))?.errorCode).toBe(kafkaErrors.unknownTopicOrPartition)
    expect((await ask(9, 'nosuch!'))?.errorCode).toBe(kafkaErrors.invalidTopic)
    expect(log.topic('nosuch')).toBeUndefined()
    for (const [version, name] of [
      [0, 'v0'],
      [1, 'v1'],
      [12, 'v12'],
    ] as const) {
      const topic = await ask(version, name)
      expect(topic).toMatchObject({ errorCode: 0, name, partitions: [{ leaderId: 1 }] })
    }
    const strict = await start({ settings: { autoCreateTopics: 'false' } })
    const refused = await (
      await strict.client()
    ).request('metadata', 9, {
      topics: [{ name: 'a' }],
    })
    expect(refused.topics[0]?.errorCode).toBe(kafkaErrors.unknownTopicOrPartition)
  })

  test('finds topics by id, and answers each once however often it is asked for', async () => {
    const { client, log } = await start()
    const kafka = await client()
    const topicId = log.topic('events')?.id ?? ''
    const unknown = `${topicId.slice(0, -1)}9`
    const { topics } = await kafka.request('metadata', 12, {
      topics: [
        { topicId, name: null },
        { topicId: unknown, name: null },
        { name: 'events' },
        ...Array.from({ length: 1_000 }, () => ({ name: 'events' })),
      ],
    })
    expect(topics.map(({ errorCode, name }) => [errorCode, name])).toEqual([
      [0, 'events'],
      [kafkaErrors.unknownTopicId, null],
      [0, 'events'],
    ])
  })
})

describe('ListOffsets and OffsetForLeaderEpoch', () => {
  test('give start, end and last stable offset; epoch 0 ends at the end', async () => {
    const { client, log } = await start()
    const kafka = await client()
    await produce(kafka, ['a', 'b', 'c'])
    log.holdStable('events', 0, 1)
    const list = async (timestamp: number, isolationLevel = 0, partitionIndex = 0) => {
      const partitions = [{ partitionIndex, timestamp }]
      const topics = [{ name: 'events', partitions }]
      const answer = await kafka.request('listOffsets', 7, { isolationLevel, topics })
      const { errorCode, offset } = answer.topics[0]?.partitions[0] ?? {}
      return [errorCode, offset]
    }
    expect(await list(-1)).toEqual([0, 3])
    expect(await list(-1, 1)).toEqual([0, 1])
    expect(await list(-2)).toEqual([0, 0])
    expect(await list(-5)).toEqual([0, -1])
    expect(await list(1_600_000_000_000)).toEqual([0, 0])
    expect(await list(-1, 0, 9)).toEqual([kafkaErrors.unknownTopicOrPartition, -1])
    const epochs = await kafka.request('offsetForLeaderEpoch', 3, {
      topics: [
        {
          topic: 'events',
          partitions: [
            { partition: 0, leaderEpoch: 0 },
            { partition: 0, leaderEpoch: 3 },
            { partition: 9, leaderEpoch: 0 },
          ],
        },
      ],
    })
    expect(epochs.topics[0]?.partitions).toMatchObject([
      { errorCode: 0, leaderEpoch: 0, endOffset: 3 },
      { errorCode: 0, leaderEpoch: -1, endOffset: -1 },
      { errorCode: kafkaErrors.unknownTopicOrPartition },
    ])
  })
})

describe('limits', () => {
  test('connections beyond the limit are ended at once', async () => {
    const { port, broker } = await start({ settings: { brokerConnectionsMax: 2 } })
    await Promise.all([openRaw(port), openRaw(port)])
    const third = await openRaw(port)
    await third.ended
    expect(metricOf(broker, 'connections')).toBe(2)
    expect(metricOf(broker, 'connections_dropped_total')).toBe(1)
  })

  test('a connection without requests, and one that does not send the rest of its request, are ended', async () => {
    const { port, broker } = await start({
      settings: { brokerIdleTimeoutMs: 1_000, requestTimeoutMs: 100 },
    })
    const idle = await openRaw(port)
    const half = await openRaw(port)
    half.write(Buffer.concat([int32(1_000), Buffer.from([0, 3])]))
    await Promise.all([idle.ended, half.ended])
    expect(metricOf(broker, 'connections_failed_total')).toBe(1)
    await until('its memory is given back', () => metricOf(broker, 'request_bytes') === 0)
  })

  test('large requests wait for memory, small ones pass them', async () => {
    const { port, broker } = await start({ settings: { brokerInFlightBytesMax: 2 * 1024 * 1024 } })
    const large = Buffer.concat([int32(900_000), Buffer.from([0, 0, 0, 9])])
    const [first, second] = [await openRaw(port), await openRaw(port)]
    first.write(large)
    await until('the first has its memory', () => metricOf(broker, 'request_bytes') === 900_000)
    second.write(Buffer.concat([large, Buffer.alloc(100_000)]))
    const kafka = await openClient(port)
    expect((await fetchOnce(kafka))[0]?.errorCode).toBe(0)
    expect(metricOf(broker, 'request_bytes')).toBe(900_000)
    first.destroy()
    await until('the second has its memory', () => metricOf(broker, 'request_bytes') === 900_000)
    second.destroy()
    await until('all is given back', () => metricOf(broker, 'request_bytes') === 0)
  })

  test('whoever waits for bytes gets them in turn, or leaves', async () => {
    const budget = new ByteBudget(100)
    const never = new AbortController().signal
    const leaves = new AbortController()
    expect(await budget.take(50, 80, never)).toBe(80)
    const got: string[] = []
    const wait = (name: string, least: number, most: number, signal = never) =>
      budget.take(least, most, signal).then((bytes) => got.push(`${name} ${bytes}`))
    const waiting = [wait('a', 60, 60), wait('b', 30, 90, leaves.signal), wait('c', 200, 300)]
    expect(budget.tryTake(20)).toBe(true)
    expect(budget.tryTake(1)).toBe(false)
    budget.release(80)
    await waiting[0]
    leaves.abort()
    await waiting[1]
    budget.release(20)
    budget.release(60)
    await waiting[2]
    expect(got).toEqual(['a 60', 'b 0', 'c 200'])
    budget.release(200)
    expect(budget.held).toBe(0)
  })
})

describe('the end', () => {
  test('what was read is answered, whoever waits is told at once, and nothing new is read', async () => {
    const { client, log, broker, port } = await start()
    let open = () => {}
    log.sync = new Promise((resolve) => (open = resolve))
    const [writer, reader] = [await client(), await client()]
    const waiting = fetchOnce(reader, { maxWaitMs: 60_000 })
    const produced = produce(writer, ['kept'])
    await until('the append', () => log.appended.length === 1)
    await until('the Fetch', () => metricOf(broker, 'connections') === 2)
    const closed = broker.close()
    expect((await waiting)[0]?.values).toEqual([])
    open()
    expect(await produced).toMatchObject({ errorCode: 0, baseOffset: 0 })
    await closed
    await expect(openClient(port)).rejects.toMatchObject({ code: 'NOT_RUNNING' })
  })

  test('a taken port is named', async () => {
    const { port } = await start()
    await expect(start({ port })).rejects.toMatchObject({
      code: 'PORT_BUSY',
      facts: { port },
    })
  })
})
