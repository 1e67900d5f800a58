import { createHash } from 'node:crypto'
import { join } from 'node:path'
import type { Metric } from '../core/metrics.ts'
import { createBroker } from '../kafka/broker.ts'
import type { EventLog } from '../log/event-log.ts'
import { groupsPath, transactionsPath } from '../log/layout.ts'
import { StateFile } from '../log/state-file.ts'
import type { Definition } from '../plan/definition.ts'
import type { RoleOptions } from './roles.ts'
import { createTopicGuard } from './topic-guard.ts'

/** The Kafka broker with what it keeps beside the log. */
export interface KafkaBroker {
  listen(): Promise<number | null>
  metrics(): readonly Metric[]
  /** Idempotent. */
  close(): Promise<void>
}

/** Makes the broker of an instance; without an address for it, one that does nothing. */
export async function openKafkaBroker(
  options: RoleOptions,
  log: EventLog,
  backlogBytes: (topic: string) => number,
  definition: () => Definition,
): Promise<KafkaBroker> {
  const { data, files, broker: given, host } = options
  if (given === null) return { listen: async () => null, metrics: () => [], close: async () => {} }
  const groups = await StateFile.open({ files, path: groupsPath(join(data, 'log')) })
  const transactions = await StateFile.open({ files, path: transactionsPath(join(data, 'log')) })
  const broker = createBroker({
    ...options,
    log,
    groups,
    transactions,
    clusterId: clusterIdOf(data),
    brokerId: 1,
    advertised: given.advertised,
    guard: createTopicGuard(options, log, definition),
    backlogBytes,
  })
  return {
    listen: () => broker.listen(host, given.port),
    metrics: () => broker.metrics(),
    async close() {
      await broker.close()
      await Promise.all([groups.close(), transactions.close()])
    },
  }
}

/** Looks like Kafka's own: 22 characters. The same as long as the folder is where it is. */
function clusterIdOf(data: string): string {
  return createHash('sha256').update(data).digest('base64url').slice(0, 22)
}
