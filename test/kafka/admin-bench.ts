import { QuestlogError } from '../../src/core/errors.ts'
import { createLogger } from '../../src/core/logger.ts'
import { resolveSettings, type Settings } from '../../src/core/settings.ts'
import { topicHandlers, type TopicParts } from '../../src/kafka/topic-admin.ts'
import { TopicNames } from '../../src/kafka/topic-names.ts'
import { openEventLog } from '../../src/log/event-log.ts'
import { SimulatedClock } from '../support/simulated-clock.ts'
import { SimulatedFiles } from '../support/simulated-files.ts'
import { HandlerClient } from './call-handlers.ts'

export interface AdminOptions {
  readonly settings?: Partial<Settings>
  /** Topic → the tables that it feeds. */
  readonly tables?: Readonly<Record<string, readonly string[]>>
  /** Offset up to which the tables have committed. */
  readonly committed?: number
}

/** The admin APIs on a real log on a simulated disk. */
export async function openAdmin(options: AdminOptions = {}) {
  const clock = new SimulatedClock()
  const lines: string[] = []
  const logger = createLogger(
    'ingest',
    () => clock.nowMs(),
    (line) => void lines.push(line),
  )
  const settings = { ...resolveSettings(), ...options.settings }
  const files = new SimulatedFiles({ seed: 1 })
  const log = await openEventLog({
    files,
    clock,
    logger,
    folder: '/data/log',
    settings,
    floors: new Map(),
    repair: false,
  })
  const tablesOf = (topicId: string) => {
    const name = log.topics().find(({ id }) => id === topicId)?.name
    if (name === undefined) throw new QuestlogError('INTERNAL', `no topic ${topicId}`)
    return options.tables?.[name] ?? []
  }
  const parts: TopicParts = {
    log,
    names: new TopicNames(log),
    guard: {
      tablesOf,
      committed: async (topicId) =>
        tablesOf(topicId).length === 0 ? Infinity : (options.committed ?? 0),
    },
    settings,
    logger,
    clusterId: 'a-cluster',
    brokerId: 1,
    advertised: null,
  }
  return { client: new HandlerClient(topicHandlers(parts)), log, lines }
}
