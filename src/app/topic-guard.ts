import type { TopicGuard } from '../kafka/broker-log.ts'
import type { EventLog } from '../log/event-log.ts'
import type { Definition } from '../plan/definition.ts'
import { readCommittedOffsets, type LakeAccess } from './committed-offsets.ts'
import { tablesOf } from './topic-changes.ts'

/** Offsets that were read are good for so long: they only grow, so older ones hold back more. */
const freshMs = 1_000

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
  const read = new Map<string, { atMs: number; offsets: ReturnType<typeof readCommittedOffsets> }>()
  const committedOf = (name: string) => {
    const nowMs = access.clock.monotonicMs()
    const known = read.get(name)
    if (known !== undefined && nowMs - known.atMs < freshMs) return known.offsets
    const offsets = readCommittedOffsets(access, definition().namespace, name)
    read.set(name, { atMs: nowMs, offsets })
    return offsets
  }
  return {
    tablesOf: tables,
    async committed(topicId, partition) {
      let lowest = Number.POSITIVE_INFINITY
      for (const name of tables(topicId)) {
        const offsets = await committedOf(name)
        lowest = Math.min(lowest, offsets.get(topicId)?.get(partition) ?? 0)
      }
      return lowest
    },
  }
}
