import { QuestlogError } from '../core/errors.ts'
import type { Logger } from '../core/logger.ts'
import { environmentName, settingRows, type SettingName, type Settings } from '../core/settings.ts'
import type { Topic } from '../log/record.ts'
import type { RequestOf, ResponseOf } from './apis.ts'
import type { BrokerLog } from './broker-log.ts'
import { kafkaErrors } from './error-codes.ts'
import type { Handler } from './handler.ts'
import { mapInTurns } from './in-turns.ts'
import { answered, ProtocolRefusal } from './topic-refusals.ts'

/** Kinds of resources that have configs (public protocol guide, DescribeConfigs). */
export const topicResource = 2
export const brokerResource = 4

/** Where a value comes from. */
const fromTopic = 1
const fromSettings = 4
const fromDefault = 5

/** Types of values (KIP-569). */
const types = { boolean: 1, string: 2, int: 3, long: 5, list: 7 } as const

interface BrokerConfig {
  readonly name: string
  readonly type: number
  readonly doc: string
  /** The setting that the value comes from, and how; without one it can't be changed. */
  readonly setting?: SettingName
  readonly value: (settings: Settings) => string
}

interface TopicConfig {
  readonly name: string
  readonly type: number
  readonly doc: string
  /** The broker's config that stands in for it. */
  readonly standIn: string
}

const fixed = (name: string, type: number, value: string, doc: string): BrokerConfig => ({
  name,
  type,
  doc,
  value: () => value,
})

/** Kafka's name for a setting of questlog. */
const named = (name: string, type: number, setting: SettingName, divisor = 1): BrokerConfig => ({
  name,
  type,
  setting,
  doc: settingRows[setting].doc,
  value: (settings) => {
    const value = settings[setting]
    return String(typeof value === 'number' ? Math.floor(value / divisor) : value)
  },
})

/** Configs of Kafka brokers that mean something here, as tools look for them. All are read-only: they are settings. */
const brokerConfigs: readonly BrokerConfig[] = [
  fixed('broker.id', types.int, '1', 'The one broker there is.'),
  named('message.max.bytes', types.int, 'messageBytesMax'),
  named('log.segment.bytes', types.int, 'segmentBytesMax'),
  fixed('log.retention.ms', types.long, '-1', 'Events are kept without a limit of age.'),
  fixed('log.retention.bytes', types.long, '-1', 'Events are kept without a limit of size.'),
  fixed('log.cleanup.policy', types.list, 'delete', 'Retention removes whole segments.'),
  fixed('log.message.timestamp.type', types.string, 'CreateTime', 'The client sets the time.'),
  fixed('num.partitions', types.int, '1', 'Partitions of a topic made without a number.'),
  fixed('default.replication.factor', types.int, '1', 'questlog is one node.'),
  fixed('min.insync.replicas', types.int, '1', 'questlog is one node.'),
  fixed('delete.topic.enable', types.boolean, 'true', 'Topics that feed no table can be deleted.'),
  named('auto.create.topics.enable', types.boolean, 'autoCreateTopics'),
  named('max.connections', types.int, 'brokerConnectionsMax'),
  named('connections.max.idle.ms', types.long, 'brokerIdleTimeoutMs'),
  named('socket.request.max.bytes', types.int, 'brokerRequestBytesMax'),
  named('group.initial.rebalance.delay.ms', types.int, 'groupInitialRebalanceDelayMs'),
  named('group.min.session.timeout.ms', types.int, 'groupSessionTimeoutMinMs'),
  named('group.max.session.timeout.ms', types.int, 'groupSessionTimeoutMaxMs'),
  named('group.max.size', types.int, 'groupMembersMax'),
  named('offset.metadata.max.bytes', types.int, 'offsetMetadataBytesMax'),
  named('offsets.retention.minutes', types.int, 'offsetsRetentionMs', 60_000),
  named('transaction.max.timeout.ms', types.int, 'transactionTimeoutMaxMs'),
]

/** The configs that a topic may have; `log/topic.ts` has their rules. */
const topicConfigRows: readonly TopicConfig[] = [
  {
    name: 'cleanup.policy',
    type: types.list,
    doc: 'How retention removes records: by whole segments.',
    standIn: 'log.cleanup.policy',
  },
  {
    name: 'max.message.bytes',
    type: types.int,
    doc: 'Largest record batch, bytes.',
    standIn: 'message.max.bytes',
  },
  {
    name: 'message.timestamp.type',
    type: types.string,
    doc: 'Whether the client or the log sets the time of a record.',
    standIn: 'log.message.timestamp.type',
  },
  {
    name: 'retention.bytes',
    type: types.long,
    doc: 'A partition keeps about as many bytes; -1 is no limit.',
    standIn: 'log.retention.bytes',
  },
  {
    name: 'retention.ms',
    type: types.long,
    doc: 'Records are kept for this time; -1 is no limit.',
    standIn: 'log.retention.ms',
  },
  {
    name: 'segment.bytes',
    type: types.int,
    doc: 'A segment file is closed at this size, bytes.',
    standIn: 'log.segment.bytes',
  },
]

/** A config with its value and where that comes from. */
export interface ConfigShown {
  readonly name: string
  readonly value: string
  readonly source: number
  readonly type: number
  readonly doc: string
  /** Where the value is looked for, the first that has one first. */
  readonly synonyms: readonly {
    readonly name: string
    readonly value: string
    readonly source: number
  }[]
}

function brokerConfig(row: BrokerConfig, settings: Settings): ConfigShown {
  const { name, type, setting } = row
  const value = row.value(settings)
  const isSet = setting !== undefined && settings[setting] !== settingRows[setting].default
  const source = isSet ? fromSettings : fromDefault
  const doc =
    setting === undefined ? row.doc : `${row.doc} Set by ${environmentName(setting)} (${setting}).`
  return { name, value, source, type, doc, synonyms: [{ name, value, source }] }
}

/** All configs of a topic, those that it does not have itself with the value that stands in. */
export function topicConfigs(
  topic: Pick<Topic, 'configs'>,
  settings: Settings,
): readonly ConfigShown[] {
  return topicConfigRows.map(({ name, type, doc, standIn }) => {
    const row = brokerConfigs.find((config) => config.name === standIn)
    const synonyms = row === undefined ? [] : brokerConfig(row, settings).synonyms
    const own = topic.configs[name]
    if (own === undefined)
      return {
        name,
        value: synonyms[0]?.value ?? '',
        source: synonyms[0]?.source ?? fromDefault,
        type,
        doc,
        synonyms,
      }
    const first = { name, value: own, source: fromTopic }
    return { name, value: own, source: fromTopic, type, doc, synonyms: [first, ...synonyms] }
  })
}

/** Whether a topic config holds a list. */
export function isListConfig(name: string): boolean {
  return topicConfigRows.some((row) => row.name === name && row.type === types.list)
}

export interface ConfigParts {
  readonly log: Pick<BrokerLog, 'topic' | 'setConfigs'>
  readonly settings: Settings
  readonly logger: Logger
  readonly brokerId: number
}

type Asked = RequestOf<'describeConfigs'>['resources'][number]
type Described = ResponseOf<'describeConfigs'>['results'][number]

/**
 * DescribeConfigs v0-4 (KIP-133; KIP-226: v1 synonyms and sources; KIP-569: v3 types and documentation). Topics, and the broker, whose configs are
 * questlog's settings under Kafka's names and read-only.
 */
export function describeConfigsHandler(parts: ConfigParts): Handler<'describeConfigs'> {
  return {
    api: 'describeConfigs',
    minVersion: 0,
    maxVersion: 4,
    async handle({ resources, includeSynonyms, includeDocumentation }) {
      const described = new Set<string>()
      const results = await mapInTurns(resources, (asked) => {
        const { resourceType, resourceName, configurationKeys } = asked
        const key = `${resourceType} ${resourceName}`
        const isTwice = described.has(key)
        described.add(key)
        return answered<Described, Described>(
          async () => ({
            errorCode: kafkaErrors.none,
            errorMessage: null,
            resourceType,
            resourceName,
            configs: (isTwice ? refuseTwice(resourceName) : configsOf(parts, asked))
              .filter(({ name }) => configurationKeys?.includes(name) ?? true)
              .map(({ name, value, source, type, doc, synonyms }) => ({
                name,
                value,
                readOnly: resourceType === brokerResource,
                isDefault: source === fromDefault,
                configSource: source,
                isSensitive: false,
                synonyms: includeSynonyms ? synonyms : [],
                configType: type,
                documentation: includeDocumentation ? doc : null,
              })),
          }),
          (refusal) => ({ resourceType, resourceName, configs: [], ...refusal }),
          parts.logger,
        )
      })
      return { results }
    },
  }
}

/** Or one request could have an answer that keeps the process for long. */
function refuseTwice(name: string): never {
  throw new ProtocolRefusal(kafkaErrors.invalidRequest, `the request names ${name} twice`)
}

function configsOf(parts: ConfigParts, asked: Asked): readonly ConfigShown[] {
  const { resourceType, resourceName } = asked
  if (resourceType === topicResource)
    return topicConfigs(existingTopic(parts, resourceName), parts.settings)
  if (resourceType !== brokerResource)
    throw new ProtocolRefusal(
      kafkaErrors.invalidRequest,
      `there are configs of topics (2) and of the broker (4), not of resources of type ${resourceType}`,
    )
  // An empty name asks for what holds for all brokers and was changed while they run: nothing.
  if (resourceName === '') return []
  if (resourceName !== String(parts.brokerId))
    throw new ProtocolRefusal(
      kafkaErrors.invalidRequest,
      `there is no broker ${resourceName}, only ${parts.brokerId}`,
    )
  return brokerConfigs.map((row) => brokerConfig(row, parts.settings))
}

/** TOPIC_UNKNOWN when there is none of this name. */
export function existingTopic({ log }: Pick<ConfigParts, 'log'>, name: string): Topic {
  const topic = log.topic(name)
  if (topic !== undefined) return topic
  throw new QuestlogError(
    'TOPIC_UNKNOWN',
    `there is no topic ${name}`,
    { topic: name },
    { hint: '' },
  )
}
