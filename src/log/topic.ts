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

/** The Kafka topic configs that questlog keeps, each with its rule: what a value must be, or undefined when it is that. */
const configRules: Readonly<Record<string, (text: string) => string | undefined>> = {
  'max.message.bytes': wholeNumber(0, messageBytesMaxLimit),
  'cleanup.policy': oneOf('delete'),
  'retention.ms': wholeNumber(-1, Number.MAX_SAFE_INTEGER),
  'retention.bytes': wholeNumber(-1, Number.MAX_SAFE_INTEGER),
  'segment.bytes': wholeNumber(1024, 1024 * 1024 * 1024),
  'message.timestamp.type': oneOf('CreateTime', 'LogAppendTime'),
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
    const rule = Object.hasOwn(configRules, config) ? configRules[config] : undefined
    const expected = rule === undefined ? undefined : rule(value)
    if (rule !== undefined && expected === undefined) continue
    throw new QuestlogError(
      'TOPIC_CONFIG_INVALID',
      rule === undefined
        ? `topic ${name}: there is no config ${config}`
        : `topic ${name}: config ${config} is "${value}", but must be ${expected}`,
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
