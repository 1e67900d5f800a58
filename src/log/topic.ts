import { QuestlogError } from '../core/errors.ts'

/** What a new topic is to be. */
export interface TopicSpec {
  readonly name: string
  readonly partitions: number
  readonly configs?: Readonly<Record<string, string>>
}

const partitionsPerTopicMax = 1_000
const messageBytesMaxLimit = 100 * 1024 * 1024

const wholeNumber = (min: number, max: number) => (text: string) =>
  /^-?\d{1,16}$/.test(text) && Number(text) >= min && Number(text) <= max
    ? undefined
    : `a whole number from ${min} to ${max}`
const oneOf =
  (...values: string[]) =>
  (text: string) =>
    values.includes(text) ? undefined : `one of ${values.join(', ')}`

const number = wholeNumber(-1, Number.MAX_SAFE_INTEGER)
const truth = oneOf('true', 'false')
const share = (text: string) =>
  /^(?:0(?:\.\d{1,9})?|1(?:\.0{1,9})?)$/.test(text) ? undefined : 'a number from 0 to 1'
const replicas = (text: string) =>
  /^(?:\*|\d+:\d+(?:,\d+:\d+)*)?$/.test(text) ? undefined : '* or a list of partition:broker'

/** The Kafka topic configs that do something here, each with its rule: what a value must be, or undefined when it is that. */
const activeConfigs: ConfigRules = {
  'max.message.bytes': wholeNumber(0, messageBytesMaxLimit),
  'cleanup.policy': oneOf('delete', 'compact', 'compact,delete', 'delete,compact'),
  'retention.ms': number,
  'retention.bytes': number,
  'segment.bytes': wholeNumber(1024, 1024 * 1024 * 1024),
  'message.timestamp.type': oneOf('CreateTime', 'LogAppendTime'),
}

/** Those that Kafka's tools and frameworks set and look for again. They are kept and shown, and change nothing: one node has no replicas, each batch is synced, batches are kept as clients compress them. */
const keptConfigs: ConfigRules = {
  'compression.type': oneOf('producer', 'uncompressed', 'gzip', 'snappy', 'lz4', 'zstd'),
  'compression.gzip.level': wholeNumber(-1, 9),
  'compression.lz4.level': wholeNumber(1, 17),
  'compression.zstd.level': wholeNumber(-131_072, 22),
  'delete.retention.ms': number,
  'file.delete.delay.ms': number,
  'flush.messages': number,
  'flush.ms': number,
  'follower.replication.throttled.replicas': replicas,
  'leader.replication.throttled.replicas': replicas,
  'index.interval.bytes': number,
  'local.retention.bytes': wholeNumber(-2, Number.MAX_SAFE_INTEGER),
  'local.retention.ms': wholeNumber(-2, Number.MAX_SAFE_INTEGER),
  'max.compaction.lag.ms': number,
  'message.downconversion.enable': truth,
  'message.timestamp.after.max.ms': number,
  'message.timestamp.before.max.ms': number,
  'message.timestamp.difference.max.ms': number,
  'min.cleanable.dirty.ratio': share,
  'min.compaction.lag.ms': number,
  'min.insync.replicas': wholeNumber(1, 1),
  preallocate: truth,
  'remote.storage.enable': oneOf('false'),
  'segment.index.bytes': number,
  'segment.jitter.ms': number,
  'segment.ms': number,
  'unclean.leader.election.enable': truth,
}

type ConfigRules = Readonly<Record<string, (text: string) => string | undefined>>

const configRules = new Map(Object.entries({ ...activeConfigs, ...keptConfigs }))

/** Names of the topic configs that are kept, whether they do something here or not. */
export const topicConfigNames: readonly string[] = [...configRules.keys()].toSorted()

/** TOPIC_CONFIG_INVALID for the name of no config. */
export function checkConfigName(topic: string, config: string): void {
  if (configRules.has(config)) return
  throw new QuestlogError('TOPIC_CONFIG_INVALID', `topic ${topic}: there is no config ${config}`, {
    topic,
    config,
  })
}

/** Checks a new topic by Kafka's rules: TOPIC_INVALID for name or partition count, TOPIC_CONFIG_INVALID for a config. */
export function checkTopic({ name, partitions, configs = {} }: TopicSpec): void {
  if (!/^[a-zA-Z0-9._-]{1,249}$/.test(name) || name === '.' || name === '..')
    throw new QuestlogError('TOPIC_INVALID', `"${name}" is no valid topic name`, { topic: name })
  if (!Number.isInteger(partitions) || partitions < 1 || partitions > partitionsPerTopicMax)
    throw new QuestlogError(
      'TOPIC_INVALID',
      `topic ${name} can't have ${partitions} partitions`,
      { topic: name, partitions },
      { hint: `use 1 to ${partitionsPerTopicMax} partitions` },
    )
  for (const [config, value] of Object.entries(configs)) {
    checkConfigName(name, config)
    const expected = configRules.get(config)?.(value)
    if (expected !== undefined)
      throw new QuestlogError(
        'TOPIC_CONFIG_INVALID',
        `topic ${name}: config ${config} is "${value}", but must be ${expected}`,
        { topic: name, config, value },
      )
  }
}

/** A numeric config of a topic, or the setting that stands in for it. */
export function topicNumber(
  topic: { readonly configs: Readonly<Record<string, string>> },
  config: 'max.message.bytes' | 'segment.bytes',
  standard: number,
): number {
  const text = topic.configs[config]
  return text === undefined ? standard : Number(text)
}
