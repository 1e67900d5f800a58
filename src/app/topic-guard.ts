import type { TopicGuard } from '../kafka/broker-log.ts'
import type { EventLog } from '../log/event-log.ts'
import type { Definition } from '../plan/definition.ts'
import { readCommittedOffsets, type LakeAccess } from './committed-offsets.ts'
import { tablesOf } from './topic-changes.ts'

/** What the tables of the active definition need of the log. */
export function createTopicGuard(
  access: LakeAccess,
  log: Pick<EventLog, 'topics'>,
  definition: () => Definition,
): TopicGuard {
  const tables = (topicId: string): readonly string[] => {
    const topic = log.topics().find(({ id }) => id === topicId)
    return topic === undefined ? [] : tablesOf(definition(), topic.name)
  }
  return {
    tablesOf: tables,
    async committed(topicId, partition) {
      let lowest = Number.POSITIVE_INFINITY
      for (const name of tables(topicId)) {
        const offsets = await readCommittedOffsets(access, definition().namespace, name)
        lowest = Math.min(lowest, offsets.get(topicId)?.get(partition) ?? 0)
      }
      return lowest
    },
  }
}
