import * as fc from 'fast-check'
import { afterEach, expect, test } from 'vitest'
import { exchangeKafka, kafkaSession } from '../support/kafka-fuzz.ts'
import { metricOf, produce, start, stopAll, until } from './harness.ts'

afterEach(stopAll)

const seed = Number(process.env['QUESTLOG_SEED'] ?? 20180726)

test('whatever comes, the broker goes on, and gives all memory back', async () => {
  const { port, broker, client } = await start()
  const sessions = fc.sample(kafkaSession, { numRuns: 300, seed })
  for (let at = 0; at < sessions.length; at += 50)
    await Promise.all(sessions.slice(at, at + 50).map((sent) => exchangeKafka(port, sent, 100)))
  await until('all connections have ended', () => metricOf(broker, 'connections') === 0)
  await until('requests gave back', () => metricOf(broker, 'request_bytes') === 0)
  await until(`fetches gave back, seed ${seed}`, () => metricOf(broker, 'fetch_bytes') === 0)
  expect(await produce(await client(), ['after'])).toMatchObject({ errorCode: 0 })
})
