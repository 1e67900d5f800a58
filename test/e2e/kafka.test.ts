import { expect, test } from 'vitest'
import { KafkaClient } from '../../src/kafka/client.ts'
import { batchOfAll } from '../support/kafka-batches.ts'
import { waitFor } from '../support/commands.ts'
import { Instance } from '../support/instance.ts'

const event = (host: string, n: number) =>
  JSON.stringify({ event_type: 'purchase_sword', Host: host, n: String(n) })

/** One producer that asks again after a death of the broker; resolves to how many records were acknowledged. */
async function produceAll(port: number, batches: number, perBatch: number): Promise<number> {
  let acknowledged = 0
  let client: KafkaClient | undefined
  for (let n = 0; n < batches; n++) {
    const values = Array.from({ length: perBatch }, (_, index) => event('kafka', n * 100 + index))
    const topicData = [
      { name: 'events', partitionData: [{ index: 0, records: batchOfAll(values) }] },
    ]
    for (;;) {
      try {
        client ??= await KafkaClient.open({
          host: '127.0.0.1',
          port,
          clientId: 'e2e',
          timeoutMs: 30_000,
        })
        const answer = await client.request('produce', 9, {
          acks: -1,
          timeoutMs: 30_000,
          topicData,
        })
        if (answer.responses[0]?.partitionResponses[0]?.errorCode !== 0) continue
        acknowledged += perBatch
        break
      } catch {
        client = undefined // it may or may not be kept: sent again
      }
    }
  }
  await client?.close()
  return acknowledged
}

test('games and Kafka clients share topics and tables: what both were answered is in SQL, over a death of the broker, and everything adds up', async () => {
  await using instance = await Instance.start()
  const port = Number(instance.endpoints.broker?.split(':').at(-1))
  let answered = 0
  const games = (async () => {
    for (let n = 0; n < 150; n++) {
      const answer = await instance
        .send('/purchase_a_sword', { headers: { Host: 'game' } })
        .catch(() => undefined)
      if (answer?.status === 200) answered += 1
    }
  })()
  const produced = Promise.all([produceAll(port, 40, 10), produceAll(port, 40, 10)])
  await instance.kill('ingest')
  const [[one, two]] = await Promise.all([produced, games])
  // Ingest is there again: what it had written when it was killed is on the log by now, though nobody was answered.
  const client = await waitFor('the broker answers', 120_000, () =>
    KafkaClient.open({ host: '127.0.0.1', port, clientId: 'e2e', timeoutMs: 30_000 }).catch(
      () => undefined,
    ),
  )
  const offsets = await client.request('listOffsets', 5, {
    topics: [{ name: 'events', partitions: [{ partitionIndex: 0, timestamp: -1 }] }],
  })
  await client.close()
  const [[fromKafka, fromGames] = []] = await instance.sql(
    `select count(*) filter (where host = 'kafka'), count(*) filter (where host = 'game') from sword_purchases`,
  )
  expect([one, two]).toEqual([400, 400])
  expect(Number(fromKafka)).toBeGreaterThanOrEqual(800)
  expect(Number(fromGames)).toBeGreaterThanOrEqual(answered)
  expect(await instance.ps()).toContain('adds up')
  expect((await instance.audit()).code).toBe(0)
  // A consumer finds the same records as SQL does.
  expect(offsets.topics[0]?.partitions[0]?.offset).toBe(Number(fromKafka) + Number(fromGames))
})
