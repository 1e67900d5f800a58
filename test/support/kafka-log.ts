import { realClock } from '../../src/core/clock.ts'
import type { KafkaLogOptions } from '../../src/engines/kafka-log.ts'

/** A `KafkaLog` as tests open it. */
export function kafkaLogOptions(bootstrap: string): KafkaLogOptions {
  return {
    brokers: [bootstrap],
    clientId: 'questlog-test',
    clock: realClock,
    replicas: 1,
    batchBytesMax: 900_000,
    pendingBytesMax: 64 * 1024 * 1024,
    timeoutMs: 10_000,
  }
}
