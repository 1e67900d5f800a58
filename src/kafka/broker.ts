import { randomUUID } from 'node:crypto'
import type { Clock } from '../core/clock.ts'
import type { Logger } from '../core/logger.ts'
import type { Metric } from '../core/metrics.ts'
import type { Settings } from '../core/settings.ts'
import type { StateFile } from '../log/state-file.ts'
import { Advances } from './advances.ts'
import { apiVersionsHandler } from './api-versions.ts'
import { BrokerCounters } from './broker-counters.ts'
import type { BrokerLog, TopicGuard } from './broker-log.ts'
import { BufferPool } from './buffer-pool.ts'
import { ByteBudget } from './byte-budget.ts'
import { Dispatcher } from './dispatcher.ts'
import { fetchHandler } from './fetch.ts'
import { GroupCoordinator } from './groups/coordinator.ts'
import { groupHandlers } from './groups/group-handlers.ts'
import { OffsetCommits } from './groups/offset-commits.ts'
import type { AnyHandler } from './handler.ts'
import { Listener } from './listener.ts'
import { metadataHandlers, type Address } from './metadata.ts'
import { listOffsetsHandler, offsetForLeaderEpochHandler } from './offsets-lookup.ts'
import { produceHandler } from './produce.ts'
import { RareLog } from './rare-log.ts'
import { topicHandlers } from './topic-admin.ts'
import { TopicNames } from './topic-names.ts'
import { TransactionCoordinator } from './transactions/coordinator.ts'
import { transactionHandlers } from './transactions/transaction-handlers.ts'

export interface BrokerOptions {
  readonly log: BrokerLog
  /** `<data>/log/groups` and `<data>/log/transactions`; closed by the caller, after the broker. */
  readonly groups: StateFile
  readonly transactions: StateFile
  readonly settings: Settings
  readonly clock: Clock
  readonly logger: Logger
  readonly clusterId: string
  readonly brokerId: 1
  /** What clients are told to connect to; null = the address that they have reached. */
  readonly advertised: Address | null
  readonly guard: TopicGuard
  /** Bytes of log that the tables have not taken yet. Called once a request: cheap. */
  readonly backlogBytes: (topic: string) => number
}

/** The Kafka protocol on the embedded log: docs/reference/kafka-apis.md. */
export interface Broker {
  /** Starts to listen and resolves to the port (0 = a free one). @throws PORT_BUSY */
  listen(host: string, port: number): Promise<number>
  metrics(): readonly Metric[]
  /** Stops accepting, answers what has arrived (bounded by drainTimeoutMs), then ends all connections. Idempotent. */
  close(): Promise<void>
}

/** Memory for answers to Fetch that is kept when nobody needs it. */
const fetchPoolBytesMax = 16 * 1024 * 1024

/** Makes a broker that does not listen yet. */
export function createBroker(options: BrokerOptions): Broker {
  const { settings, clock, logger, log } = options
  const counters = new BrokerCounters()
  const rareLog = new RareLog(logger, clock)
  // Slow consumers must not leave producers without memory: each side has its half.
  const half = Math.ceil(settings.brokerInFlightBytesMax / 2)
  const requestBudget = new ByteBudget(half)
  const fetchBudget = new ByteBudget(half)
  const advances = new Advances(log)
  const parts = { ...options, counters, rareLog, advances, names: new TopicNames(log) }
  const coordinator = new GroupCoordinator({
    ...options,
    store: options.groups,
    topics: log,
    newId: randomUUID,
  })
  const commits = new OffsetCommits({ coordinator, topics: log, settings, clock })
  const transactions = new TransactionCoordinator({
    ...parts,
    store: options.transactions,
    offsets: commits,
  })
  const handlers: AnyHandler[] = [
    produceHandler({ ...parts, transactions }),
    fetchHandler({ ...parts, budget: fetchBudget, pool: new BufferPool(fetchPoolBytesMax) }),
    listOffsetsHandler(parts),
    offsetForLeaderEpochHandler(parts),
    ...metadataHandlers(parts),
    ...topicHandlers(parts),
    ...groupHandlers({ ...parts, coordinator, commits, topics: log }),
    ...transactionHandlers({ coordinator: transactions, offsets: commits, topics: log }),
  ]
  handlers.push(apiVersionsHandler(handlers, counters))
  const dispatcher = new Dispatcher({ handlers, clock, counters })
  const listener = new Listener({
    ...parts,
    budget: requestBudget,
    dispatch: (frame, connection, onSent) => dispatcher.dispatch(frame, connection, onSent),
  })
  return {
    listen: (host, port) => listener.listen(host, port),
    metrics: () => [
      ...counters.metrics({
        connections: listener.connections,
        requestBytes: requestBudget.held,
        fetchBytes: fetchBudget.held,
      }),
      ...coordinator.metrics(),
    ],
    async close() {
      // Who waits for other members would keep the listener from ending.
      await coordinator.close()
      await listener.close()
      await transactions.close()
      advances.close()
    },
  }
}
