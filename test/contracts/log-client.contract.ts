import { isDeepStrictEqual } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { QuestlogError } from '../../src/core/errors.ts'
import type { LogClient } from '../../src/engines/log-client.ts'
import { loadKafkaModule } from '../../src/engines/kafka-module.ts'
import { partitionForKey } from '../../src/log/partitioner.ts'
import { decodeRecords } from '../../src/log/record-batch.ts'
import type { LogRecord, NewRecord } from '../../src/log/record.ts'
import { waitFor } from '../support/commands.ts'

/** A log to try, and the address at which Kafka clients reach the same log. */
export interface OpenedLog {
  readonly log: LogClient
  readonly bootstrap: string
  readonly close: () => Promise<void>
}

/** What every implementation promises to code that sees only `LogClient`. */
export function logClientContract(name: string, open: () => Promise<OpenedLog>): void {
  describe(name, () => {
    let opened: OpenedLog
    let log: LogClient
    let count = 0

    beforeAll(async () => {
      opened = await open()
      log = opened.log
    })
    afterAll(() => opened.close())

    const newTopic = async (partitions = 1, configs: Readonly<Record<string, string>> = {}) => {
      const topic = `topic-${count++}`
      await log.createTopic({ name: topic, partitions, configs })
      // Kafka takes requests for a partition a moment after it has made it.
      for (let partition = 0; partition < partitions; partition++)
        await waitFor(`${topic}/${partition} is there`, 60_000, () =>
          log.offsets(topic, partition).then(
            () => true,
            () => false,
          ),
        )
      return topic
    }
    const record = (value: string, over: Partial<NewRecord> = {}): NewRecord => ({
      key: null,
      value: Buffer.from(value),
      headers: [],
      ...over,
    })
    /** Everything from an offset on, in steps. */
    const read = async (topic: string, from = 0, partition = 0, maxBytes = 500) => {
      const { endOffset } = await log.offsets(topic, partition)
      const records: LogRecord[] = []
      const excluded: number[] = []
      for (let offset = from; offset < endOffset;) {
        const slice = await log.fetch(topic, partition, offset, maxBytes)
        const fresh = slice.batches.flatMap(decodeRecords).filter((each) => each.offset >= offset)
        records.push(...fresh)
        for (const range of slice.excludedRanges)
          for (let at = range.from; at < range.to; at++) excluded.push(at)
        // Every offset is an event, left out, or in a gap: none is passed over in silence.
        expect(slice.nextOffset).toBeGreaterThan(offset)
        offset = slice.nextOffset
      }
      return { records, excluded, values: records.map(({ value }) => String(value)) }
    }
    const codeOf = (work: Promise<unknown>) =>
      work.then(
        () => 'nothing was thrown',
        (error: unknown) => (error instanceof QuestlogError ? error.code : error),
      )

    test('a topic that was created is listed, with its partitions, its configs and an id of its own', async () => {
      const topic = await newTopic(3, { 'retention.ms': '999999999999' })
      const found = (await log.topics()).find((each) => each.name === topic)
      expect(found).toMatchObject({ partitions: 3, configs: { 'retention.ms': '999999999999' } })
      expect(found?.id).toMatch(/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/)
      expect(await log.offsets(topic, 2)).toEqual({ startOffset: 0, endOffset: 0 })
      expect(await codeOf(log.createTopic({ name: topic, partitions: 1 }))).toBe('TOPIC_EXISTS')
      expect(await codeOf(log.createTopic({ name: 'a b', partitions: 1 }))).toBe('TOPIC_INVALID')
      const configs = { 'retention.ms': 'soon' }
      expect(await codeOf(log.createTopic({ name: 'ok', partitions: 1, configs }))).toBe(
        'TOPIC_CONFIG_INVALID',
      )
    })

    test('what was appended is read, byte for byte and in order', async () => {
      const topic = await newTopic()
      const first = record('one', {
        key: Buffer.from('k'),
        headers: [
          { key: 'h', value: Buffer.from('1') },
          { key: 'h', value: Buffer.from('2') },
        ],
      })
      const appended = await log.append(topic, null, [first, record('two', { value: null })])
      expect(appended).toMatchObject({ topic, partition: 0, baseOffset: 0 })
      expect(await log.append(topic, null, [record('three')])).toMatchObject({ baseOffset: 2 })
      const { records } = await read(topic)
      expect(records).toEqual([
        { ...first, offset: 0, timestampMs: appended.timestampMs },
        { key: null, value: null, headers: [], offset: 1, timestampMs: appended.timestampMs },
        expect.objectContaining({ value: Buffer.from('three'), offset: 2 }),
      ])
    })

    test('appends at the same time each get their own offsets, without holes', async () => {
      const topic = await newTopic()
      const places = await Promise.all(
        Array.from({ length: 50 }, (_, n) =>
          log.append(topic, null, [record(`${n} a`), record(`${n} b`)]),
        ),
      )
      const { values } = await read(topic)
      expect(values).toHaveLength(100)
      for (const [n, { baseOffset }] of places.entries())
        expect(values.slice(baseOffset, baseOffset + 2)).toEqual([`${n} a`, `${n} b`])
      expect(await log.offsets(topic, 0)).toEqual({ startOffset: 0, endOffset: 100 })
    })

    test('reading goes on from any offset, in steps of about the size that was asked for', async () => {
      const topic = await newTopic()
      for (let n = 0; n < 20; n++) await log.append(topic, null, [record(`${n}`.repeat(100))])
      expect((await read(topic, 7)).values).toHaveLength(13)
      const slice = await log.fetch(topic, 0, 0, 1)
      expect(slice.batches).toHaveLength(1)
      expect((await log.fetch(topic, 0, 20, 100)).nextOffset).toBe(20)
      for (const wrong of [21, -1])
        expect(await codeOf(log.fetch(topic, 0, wrong, 100))).toBe('OFFSET_OUT_OF_RANGE')
    })

    test('a key goes to the partition that any Kafka client would choose', async () => {
      const topic = await newTopic(4)
      for (const name of ['a', 'b', 'user1.comcast.com', 'user2.att.com']) {
        const key = Buffer.from(name)
        const { partition } = await log.append(topic, key, [record(name, { key })])
        expect(partition).toBe(partitionForKey(key, 4))
      }
      const all = await Promise.all([0, 1, 2, 3].map((partition) => read(topic, 0, partition)))
      expect(all.flatMap(({ values }) => values)).toHaveLength(4)
    })

    test('what can not be kept is refused by name, and the rest is not hurt', async () => {
      const topic = await newTopic(1, { 'max.message.bytes': '2000' })
      const large = log.append(topic, null, [record('z'.repeat(3000))])
      const small = log.append(topic, null, [record('small')])
      expect(await codeOf(large)).toBe('EVENT_TOO_LARGE')
      await small
      expect((await read(topic)).values).toEqual(['small'])
      expect(await codeOf(log.append('nowhere', null, [record('x')]))).toBe('TOPIC_UNKNOWN')
      expect(await codeOf(log.offsets('nowhere', 0))).toBe('TOPIC_UNKNOWN')
      expect(await codeOf(log.fetch('nowhere', 0, 0, 100))).toBe('TOPIC_UNKNOWN')
      expect(await codeOf(log.deleteTopic('nowhere'))).toBe('TOPIC_UNKNOWN')
    })

    test('events of aborted transactions are left out and counted, those of an open one wait', async () => {
      const topic = await newTopic()
      const { Producer } = await loadKafkaModule()
      const producer = new Producer({
        clientId: 'contract',
        bootstrapBrokers: [opened.bootstrap],
        idempotent: true,
        transactionalId: `${topic}-id`,
      })
      // The same producer aborts twice in one response, with what it committed between.
      for (const outcome of ['commit', 'abort', 'commit', 'abort'] as const) {
        const transaction = await producer.beginTransaction()
        const value = Buffer.from(outcome)
        await transaction.send({
          messages: [
            { topic, value },
            { topic, value },
          ],
        })
        await transaction[outcome]()
        await log.append(topic, null, [record('between')])
      }
      const open = await producer.beginTransaction()
      await open.send({ messages: [{ topic, value: Buffer.from('open') }] })
      await log.append(topic, null, [record('behind it')])
      // Kafka answers before the control records are written.
      const end = { startOffset: 0, endOffset: 16 }
      await waitFor('the control records are there', 60_000, async () =>
        isDeepStrictEqual(await log.offsets(topic, 0), end),
      )
      const { values, records, excluded } = await read(topic, 0, 0, 100_000)
      expect(values.filter((value) => value !== 'between')).toEqual(Array(4).fill('commit'))
      expect(values).toHaveLength(8)
      const offsets = [...records.map(({ offset }) => offset), ...excluded]
      expect(offsets.toSorted((x, y) => x - y)).toEqual(Array.from({ length: 16 }, (_, n) => n))
      expect((await read(topic)).values).toEqual(values)
      await open.abort()
      await producer.close()
      await waitFor('what is behind it shows', 60_000, async () =>
        isDeepStrictEqual((await read(topic, 16)).values, ['behind it']),
      )
    })

    test('a topic that was deleted is gone, and its name begins anew with another id', async () => {
      const topic = await newTopic()
      await log.append(topic, null, [record('old')])
      const idOf = async () => (await log.topics()).find((each) => each.name === topic)?.id
      const id = await idOf()
      await log.deleteTopic(topic)
      // Kafka deletes a moment after it has answered.
      await waitFor('it is gone', 60_000, async () => (await idOf()) === undefined)
      await log.createTopic({ name: topic, partitions: 1 })
      expect(await idOf()).not.toBe(id)
      expect(await log.append(topic, null, [record('new')])).toMatchObject({ baseOffset: 0 })
      expect((await read(topic)).values).toEqual(['new'])
    })

    test('closing waits for what is under way, and then nothing is taken', async () => {
      const topic = await newTopic()
      const last = log.append(topic, null, [record('last')])
      await Promise.all([last, opened.close()])
      expect(await last).toMatchObject({ baseOffset: 0 })
      expect(await codeOf(log.append(topic, null, [record('late')]))).toBe('SHUTTING_DOWN')
      await opened.close()
    })
  })
}
