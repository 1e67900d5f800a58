import { KafkaClient } from '../src/kafka/client.ts'
import { encodeBatch } from '../src/log/record-batch.ts'
import type { BenchInstance } from './instance.ts'
import { pause } from './processes.ts'
import { runSql } from './sql.ts'

const probes = 150
/** Not in step with the stream's own pace. */
const pauseMs = 17

/** Produces events one by one, and takes the time from each acknowledgement until SQL gives the row, milliseconds. */
export async function measureVisible(instance: BenchInstance): Promise<readonly number[]> {
  const client = await KafkaClient.open({
    host: '127.0.0.1',
    port: instance.brokerPort,
    clientId: 'bench',
    timeoutMs: 10_000,
  })
  const took: number[] = []
  // The first ones are not counted: views are made with the first statement.
  for (let number = -10; number < probes; number++) {
    const offset = await produce(client, number)
    const { rows, wallMs } = await runSql(
      instance.sqlPort,
      `select number from probes where _offset = ${offset}`,
    )
    if (rows.length !== 1) throw new Error(`the record at offset ${offset} is not in SQL`)
    if (number >= 0) took.push(wallMs)
    await pause(pauseMs)
  }
  await client.close()
  return took
}

async function produce(client: KafkaClient, number: number): Promise<number> {
  const value = Buffer.from(JSON.stringify({ event_type: 'probe', number }))
  const records = [{ key: null, value, headers: [] }]
  const { bytes } = encodeBatch(0, [{ timestampMs: Date.now(), records }])
  const partitionData = [{ index: 0, records: bytes }]
  const topicData = [{ name: 'events', partitionData }]
  const answer = await client.request('produce', 9, { acks: -1, timeoutMs: 5_000, topicData })
  const partition = answer.responses[0]?.partitionResponses[0]
  if (partition === undefined || partition.errorCode !== 0)
    throw new Error(`a probe was answered with error ${partition?.errorCode}`)
  return partition.baseOffset
}
