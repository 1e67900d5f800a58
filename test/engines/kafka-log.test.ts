import { describe, expect, test } from 'vitest'
import { QuestlogError } from '../../src/core/errors.ts'
import { AppendQueue } from '../../src/engines/kafka-appends.ts'
import { clusterError } from '../../src/engines/kafka-errors.ts'
import { KafkaLog } from '../../src/engines/kafka-log.ts'
import { loadKafkaModule } from '../../src/engines/kafka-module.ts'
import type { NewRecord } from '../../src/log/record.ts'
import { freePort } from '../support/commands.ts'
import { kafkaLogOptions } from '../support/kafka-log.ts'
import { record } from '../log/support.ts'

test('without the package the error says what to install', async () => {
  const missing = () =>
    Promise.reject(Object.assign(new Error('not found'), { code: 'ERR_MODULE_NOT_FOUND' }))
  await expect(loadKafkaModule(missing)).rejects.toMatchObject({
    code: 'PACKAGE_MISSING',
    hint: 'npm install @platformatic/kafka',
  })
})

test('when no broker answers, opening fails and names where to look', async () => {
  const options = { ...kafkaLogOptions(`127.0.0.1:${await freePort()}`), timeoutMs: 200 }
  await expect(KafkaLog.open(options)).rejects.toMatchObject({
    code: 'NOT_RUNNING',
    hint: 'check the addresses of the brokers',
  })
})

test('what a broker says is told by the name that it has here', () => {
  const said = (apiCode: number) =>
    new AggregateError([Object.assign(new Error('inner'), { apiCode })], 'outer')
  expect(clusterError(said(3), 'topic x').code).toBe('TOPIC_UNKNOWN')
  expect(clusterError(said(36), 'topic x').code).toBe('TOPIC_EXISTS')
  expect(clusterError(said(77), 'topic x')).toMatchObject({
    code: 'BROKER_REFUSED',
    facts: { code: 77 },
  })
  expect(clusterError(new Error('reset'), 'sent', 'OUTCOME_UNKNOWN').code).toBe('OUTCOME_UNKNOWN')
})

describe('appends to one partition', () => {
  /** A partition that answers when it is told to. */
  function partition(batchBytesMax = 1000, pendingBytesMax = 10_000) {
    const sent: string[][] = []
    const answers: ((error?: Error) => void)[] = []
    let nextOffset = 0
    const send = (records: readonly NewRecord[]) => {
      const baseOffset = nextOffset
      nextOffset += records.length
      sent.push(records.map(({ value }) => String(value)))
      return new Promise<{ baseOffset: number; timestampMs: number }>((resolve, reject) =>
        answers.push((error) =>
          error === undefined ? resolve({ baseOffset, timestampMs: 0 }) : reject(error),
        ),
      )
    }
    const answer = async (error?: Error) => {
      await new Promise((resolve) => setImmediate(resolve))
      answers.shift()?.(error)
      await new Promise((resolve) => setImmediate(resolve))
    }
    return { queue: new AppendQueue({ send, batchBytesMax, pendingBytesMax }), sent, answer }
  }

  test('while one batch is on its way, the next one fills', async () => {
    const { queue, sent, answer } = partition()
    const first = queue.append([record('a')])
    await new Promise((resolve) => setImmediate(resolve))
    const rest = ['b', 'c', 'd'].map((value) => queue.append([record(value), record(value)]))
    expect(sent).toEqual([['a']])
    await answer()
    await answer()
    expect(sent).toEqual([['a'], ['b', 'b', 'c', 'c', 'd', 'd']])
    const places = (await Promise.all([first, ...rest])).map(({ baseOffset }) => baseOffset)
    expect(places).toEqual([0, 1, 3, 5])
  })

  test('a batch is no larger than it may be, but a large append goes, alone', async () => {
    const { queue, sent, answer } = partition(300)
    const appends = ['a', 'b', 'z'.repeat(1000), 'c'].map((value) => queue.append([record(value)]))
    for (let n = 0; n < 4; n++) await answer()
    await Promise.all(appends)
    expect(sent.map((values) => values.map((value) => value.length))).toEqual([[1, 1], [1000], [1]])
  })

  test('when they are too large together, each is sent by itself', async () => {
    const { queue, sent, answer } = partition()
    const appends = Promise.allSettled([queue.append([record('a')]), queue.append([record('b')])])
    await answer(new QuestlogError('EVENT_TOO_LARGE', 'too large'))
    await answer()
    await answer(new QuestlogError('EVENT_TOO_LARGE', 'too large'))
    expect(sent).toEqual([['a', 'b'], ['a'], ['b']])
    expect(await appends).toMatchObject([
      { status: 'fulfilled' },
      { status: 'rejected', reason: { code: 'EVENT_TOO_LARGE' } },
    ])
  })

  test('what waits is bounded, and a failure goes to those whose batch it was', async () => {
    const { queue, answer } = partition(100, 500)
    const first = queue.append([record('z'.repeat(300))])
    expect(() => queue.append([record('z'.repeat(300))])).toThrow(
      expect.objectContaining({ code: 'OVERLOADED' }),
    )
    const both = Promise.allSettled([first, queue.append([record('b')])])
    await answer(new QuestlogError('OUTCOME_UNKNOWN', 'no answer'))
    await answer()
    expect(await both).toMatchObject([
      { status: 'rejected', reason: { code: 'OUTCOME_UNKNOWN' } },
      { status: 'fulfilled' },
    ])
  })
})
