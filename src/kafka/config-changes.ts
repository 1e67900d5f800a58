import type { Topic } from '../log/record.ts'
import { checkTopic } from '../log/topic.ts'
import type { ResponseOf } from './apis.ts'
import {
  brokerResource,
  existingTopic,
  isListConfig,
  topicConfigs,
  topicResource,
  type ConfigParts,
} from './config-descriptions.ts'
import { kafkaErrors } from './error-codes.ts'
import type { Handler } from './handler.ts'
import { mapInTurns } from './in-turns.ts'
import { answered, ProtocolRefusal } from './topic-refusals.ts'

/** What IncrementalAlterConfigs does with a config (KIP-339). */
const operations = { set: 0, delete: 1, append: 2, subtract: 3 } as const

interface Change {
  readonly name: string
  readonly value: string | null
  readonly configOperation: number
}

interface Resource {
  readonly resourceType: number
  readonly resourceName: string
}

type Answer = ResponseOf<'alterConfigs'>['responses'][number]

/**
 * IncrementalAlterConfigs v0-1 (KIP-339): sets a config of a topic, takes it back, or adds to and removes from a list. All changes of a topic, or none.
 * The broker's configs are settings and can't be changed while it runs.
 */
export function incrementalAlterConfigsHandler(
  parts: ConfigParts,
): Handler<'incrementalAlterConfigs'> {
  return {
    api: 'incrementalAlterConfigs',
    minVersion: 0,
    maxVersion: 1,
    async handle({ resources, validateOnly }) {
      const work = (topic: Topic, changes: readonly Change[]) =>
        new Map(changes.map((change) => [change.name, valueAfter(parts, topic, change)]))
      return { responses: await alterAll(parts, resources, work, validateOnly) }
    },
  }
}

/** AlterConfigs v0-2 (KIP-133): the configs of a topic are these and no others. */
export function alterConfigsHandler(parts: ConfigParts): Handler<'alterConfigs'> {
  return {
    api: 'alterConfigs',
    minVersion: 0,
    maxVersion: 2,
    async handle({ resources, validateOnly }) {
      const work = (topic: Topic, configs: readonly Pick<Change, 'name' | 'value'>[]) =>
        new Map([
          ...Object.keys(topic.configs).map((name): [string, null] => [name, null]),
          ...configs.map(({ name, value }): [string, string | null] => [name, value]),
        ])
      return { responses: await alterAll(parts, resources, work, validateOnly) }
    },
  }
}

/** Changes one resource after the other. */
async function alterAll<C extends Pick<Change, 'name' | 'value'>>(
  parts: ConfigParts,
  resources: readonly (Resource & { readonly configs: readonly C[] })[],
  changesOf: (topic: Topic, configs: readonly C[]) => ReadonlyMap<string, string | null>,
  validateOnly: boolean,
): Promise<Answer[]> {
  return mapInTurns(resources, ({ resourceType, resourceName, configs }) => {
    const alter = async (): Promise<Answer> => {
      const topic = changeableTopic(parts, resourceType, resourceName)
      if (new Set(configs.map(({ name }) => name)).size < configs.length)
        throw new ProtocolRefusal(
          kafkaErrors.invalidRequest,
          `the request changes a config of topic ${resourceName} twice`,
        )
      const changes = changesOf(topic, configs)
      checkTopic({ ...topic, configs: configsAfter(topic, changes) })
      if (!validateOnly && changes.size > 0) await parts.log.setConfigs(topic.name, changes)
      return { errorCode: kafkaErrors.none, errorMessage: null, resourceType, resourceName }
    }
    const refused = (refusal: { errorCode: number; errorMessage: string }): Answer => ({
      resourceType,
      resourceName,
      ...refusal,
    })
    return answered(alter, refused, parts.logger)
  })
}

function changeableTopic(parts: ConfigParts, resourceType: number, name: string): Topic {
  if (resourceType === topicResource) return existingTopic(parts, name)
  throw new ProtocolRefusal(
    kafkaErrors.invalidRequest,
    resourceType === brokerResource
      ? 'configs of the broker are settings of questlog: set them in questlog.config.ts or in the environment, then start it again'
      : `only configs of topics (2) can be changed, not of resources of type ${resourceType}`,
  )
}

function configsAfter(
  topic: Topic,
  changes: ReadonlyMap<string, string | null>,
): Record<string, string> {
  const configs: Record<string, string> = { ...topic.configs }
  for (const [name, value] of changes)
    if (value === null) delete configs[name]
    else configs[name] = value
  return configs
}

/** The text that a config has after a change; null = none of its own. */
function valueAfter(parts: ConfigParts, topic: Topic, change: Change): string | null {
  const { name, value, configOperation } = change
  if (configOperation === operations.delete) return null
  if (value === null)
    throw new ProtocolRefusal(
      kafkaErrors.invalidRequest,
      `topic ${topic.name}: config ${name} has no value`,
    )
  if (configOperation === operations.set) return value
  const isAppend = configOperation === operations.append
  if (!isAppend && configOperation !== operations.subtract)
    throw new ProtocolRefusal(
      kafkaErrors.invalidRequest,
      `topic ${topic.name}: there is no operation ${configOperation} on config ${name}`,
    )
  if (!isListConfig(name))
    throw new ProtocolRefusal(
      kafkaErrors.invalidConfig,
      `topic ${topic.name}: config ${name} is no list`,
    )
  const items = value.split(',').map((item) => item.trim())
  const shown = topicConfigs(topic, parts.settings).find((config) => config.name === name)
  const before = (shown?.value ?? '').split(',').filter((item) => item !== '')
  const kept = before.filter((item) => !items.includes(item))
  return (isAppend ? [...kept, ...items] : kept).join(',')
}
