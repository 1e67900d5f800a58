import { QuestlogError } from '../core/errors.ts'
import type { StoredTopic } from './meta.ts'
import { checkConfigName, checkTopic } from './topic.ts'

/** The topic with the configs that the definition declares. What it declared before and no longer does is as if it was never set. TOPIC_CONFIG_INVALID. */
export function withDeclared(
  topic: StoredTopic,
  declared: Readonly<Record<string, string>>,
): StoredTopic {
  checkTopic({ ...topic, configs: declared })
  const before = topic.declared ?? []
  const own = Object.entries(topic.configs).filter(([config]) => !before.includes(config))
  return {
    ...topic,
    configs: { ...Object.fromEntries(own), ...declared },
    declared: Object.keys(declared),
  }
}

/** The topic with changed configs; null = back to the default. TOPIC_CONFIG_INVALID. */
export function withConfigs(
  topic: StoredTopic,
  changes: ReadonlyMap<string, string | null>,
): StoredTopic {
  for (const config of changes.keys()) checkConfigName(topic.name, config)
  const all = new Map<string, string | null>([...Object.entries(topic.configs), ...changes])
  const set = [...all].filter((entry): entry is [string, string] => entry[1] !== null)
  const configs = Object.fromEntries(set)
  checkTopic({ ...topic, configs })
  return { ...topic, configs }
}

/** The topic with so many partitions in all. TOPIC_INVALID when it would not get more. */
export function withPartitions(topic: StoredTopic, total: number): StoredTopic {
  const { name, partitions } = topic
  checkTopic({ ...topic, partitions: total })
  if (total > partitions) return { ...topic, partitions: total }
  throw new QuestlogError(
    'TOPIC_INVALID',
    `topic ${name} has ${partitions} partitions; it can only get more, not ${total}`,
    { topic: name, partitions: total },
    { hint: `give a number above ${partitions}` },
  )
}
