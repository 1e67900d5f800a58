import { KafkaLog } from '../../src/engines/kafka-log.ts'
import { logClientContract } from '../contracts/log-client.contract.ts'
import { kafkaLogOptions } from '../support/kafka-log.ts'
import { RealBroker } from './real-broker.ts'

logClientContract('a Kafka client on Kafka itself', async () => {
  const broker = await RealBroker.start()
  const log = await KafkaLog.open(kafkaLogOptions(broker.bootstrap))
  let closed: Promise<void> | undefined
  const close = async () => {
    await log.close()
    await broker[Symbol.asyncDispose]()
  }
  return { log, bootstrap: broker.bootstrap, close: () => (closed ??= close()) }
})
