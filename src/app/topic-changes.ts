import { QuestlogError } from '../core/errors.ts'
import type { EventLog } from '../log/event-log.ts'
import type { Topic } from '../log/record.ts'
import type { Definition } from '../plan/definition.ts'
import type { TopicChange } from './roles.ts'

/** Gives a topic more partitions, other configs, or both. TOPIC_UNKNOWN, TOPIC_INVALID, TOPIC_CONFIG_INVALID */
export async function alterTopic(
  log: Pick<EventLog, 'topic' | 'addPartitions' | 'setConfigs'>,
  { name, partitions, configs }: TopicChange,
): Promise<Topic> {
  // The configs first: they are checked before anything is changed, the partitions can't be taken back.
  const changes = new Map(Object.entries(configs))
  let topic = log.topic(name)
  if (topic === undefined || changes.size > 0) topic = await log.setConfigs(name, changes)
  return partitions === null ? topic : log.addPartitions(name, partitions)
}

/** The names of the tables that a definition fills from a topic. */
export function tablesOf(definition: Definition, topic: string): readonly string[] {
  return definition.tables.filter((table) => table.topic === topic).map(({ name }) => name)
}

/** @throws TOPIC_IN_USE for a topic that feeds tables */
export function refuseFed(definition: Definition, topic: string): void {
  const tables = tablesOf(definition, topic)
  if (tables.length === 0) return
  throw new QuestlogError(
    'TOPIC_IN_USE',
    `topic ${topic} feeds ${tables.length === 1 ? 'table' : 'tables'} ${tables.join(', ')}`,
    { topic },
  )
}
