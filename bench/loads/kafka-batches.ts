// Batches of 1,000 records from @platformatic/kafka, five on their way at once as Kafka's own producer has them. Takes { port, topic, batches }, answers with { elapsedMs, processorMs }.
import { loadKafkaModule } from '../../src/engines/kafka-module.ts'

export interface KafkaBatchesJob {
  readonly port: number
  readonly topic: string
  readonly batches: number
}

export interface KafkaBatchesResult {
  readonly elapsedMs: number
  /** Of this process. */
  readonly processorMs: number
}

export const recordsPerBatch = 1_000
const atOnce = 5
const value = Buffer.alloc(160, 'x')

async function run({ port, topic, batches }: KafkaBatchesJob): Promise<KafkaBatchesResult> {
  const { Producer } = await loadKafkaModule()
  const options = { clientId: 'bench', bootstrapBrokers: [`127.0.0.1:${port}`], acks: -1 }
  const producer = new Producer({ ...options, autocreateTopics: true })
  const messages = Array.from({ length: recordsPerBatch }, () => ({ topic, value, partition: 0 }))
  await producer.send({ messages })
  const before = process.cpuUsage()
  const startMs = performance.now()
  let left = batches
  const sender = async () => {
    while (left-- > 0) await producer.send({ messages })
  }
  await Promise.all(Array.from({ length: atOnce }, sender))
  const elapsedMs = performance.now() - startMs
  const { user, system } = process.cpuUsage(before)
  await producer.close(true)
  return { elapsedMs, processorMs: (user + system) / 1000 }
}

process.once('message', (job) => {
  // kafka.ts sends nothing else.
  void run(job as KafkaBatchesJob).then((result) => process.send?.(result, () => process.exit()))
})
