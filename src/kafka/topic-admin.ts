import { QuestlogError } from '../core/errors.ts'
import type { Logger } from '../core/logger.ts'
import type { Settings } from '../core/settings.ts'
import type { Topic } from '../log/record.ts'
import { checkTopic } from '../log/topic.ts'
import type { RequestOf, ResponseOf } from './apis.ts'
import type { BrokerLog, TopicGuard } from './broker-log.ts'
import { alterConfigsHandler, incrementalAlterConfigsHandler } from './config-changes.ts'
import { describeConfigsHandler, topicConfigs } from './config-descriptions.ts'
import { kafkaErrors } from './error-codes.ts'
import { mapInTurns } from './in-turns.ts'
import type { AnyHandler, Handler } from './handler.ts'
import type { Address } from './metadata.ts'
import { describeClusterHandler } from './cluster.ts'
import { answered, isCode, ProtocolRefusal } from './topic-refusals.ts'
import type { TopicNames } from './topic-names.ts'
import { zeroUuid } from './wire.ts'

export interface TopicParts {
  readonly log: Pick<
    BrokerLog,
    | 'addPartitions'
    | 'createTopic'
    | 'deleteRecords'
    | 'deleteTopic'
    | 'partition'
    | 'setConfigs'
    | 'topic'
    | 'topics'
  >
  readonly names: TopicNames
  readonly guard: TopicGuard
  readonly settings: Settings
  readonly logger: Logger
  readonly clusterId: string
  readonly brokerId: number
  readonly advertised: Address | null
}

type NewTopic = RequestOf<'createTopics'>['topics'][number]
type CreatedTopic = ResponseOf<'createTopics'>['topics'][number]
type DeletedTopic = ResponseOf<'deleteTopics'>['responses'][number]
type MorePartitions = RequestOf<'createPartitions'>['topics'][number]

/** Partitions of a topic whose creator leaves the number to the broker. */
const partitionsStandard = 1

/** The APIs that look after topics, configs and the cluster. */
export function topicHandlers(parts: TopicParts): readonly AnyHandler[] {
  return [
    createTopicsHandler(parts),
    deleteTopicsHandler(parts),
    createPartitionsHandler(parts),
    deleteRecordsHandler(parts),
    describeConfigsHandler(parts),
    alterConfigsHandler(parts),
    incrementalAlterConfigsHandler(parts),
    describeClusterHandler(parts),
  ]
}

/**
 * CreateTopics v0-7 (KIP-4; KIP-464: -1 partitions and replicas mean 1; KIP-525: v5 answers with the configs; KIP-516: v7 with the id).
 * Each topic is made or refused for itself; one that a request names twice is refused both times. `validateOnly` makes none.
 * A replication factor above 1 is refused: questlog is one node. Replicas may be assigned, to broker 1.
 */
function createTopicsHandler(parts: TopicParts): Handler<'createTopics'> {
  return {
    api: 'createTopics',
    minVersion: 0,
    maxVersion: 7,
    async handle({ topics, validateOnly }) {
      const twice = namedTwice(topics.map(({ name }) => name))
      const answers = await mapInTurns(topics, (asked) =>
        answered<CreatedTopic, CreatedTopic>(
          () => createOne(parts, asked, validateOnly, twice),
          (refusal) => ({ name: asked.name, configs: null, ...refusal }),
          parts.logger,
        ),
      )
      return { topics: answers }
    },
  }
}

async function createOne(
  { log, settings, brokerId }: TopicParts,
  asked: NewTopic,
  validateOnly: boolean,
  twice: ReadonlySet<string>,
): Promise<CreatedTopic> {
  const { name } = asked
  if (twice.has(name))
    throw new ProtocolRefusal(kafkaErrors.invalidRequest, `the request names topic ${name} twice`)
  checkTopic({ name, partitions: 1 })
  if (log.topic(name) !== undefined)
    throw new QuestlogError('TOPIC_EXISTS', `topic ${name} exists`, { topic: name }, { hint: '' })
  const partitions = partitionsOf(asked, brokerId)
  const configs = configsOf(asked)
  try {
    checkTopic({ name, partitions })
  } catch (error) {
    if (!isCode(error, 'TOPIC_INVALID')) throw error
    throw new ProtocolRefusal(kafkaErrors.invalidPartitions, `${error.message}; ${error.hint}`)
  }
  checkTopic({ name, partitions, configs })
  const wanted: Topic = { id: zeroUuid, name, partitions, configs }
  const topic = validateOnly ? wanted : await log.createTopic({ name, partitions, configs })
  return {
    name,
    topicId: topic.id,
    errorCode: kafkaErrors.none,
    errorMessage: null,
    numPartitions: topic.partitions,
    replicationFactor: 1,
    configs: topicConfigs(topic, settings).map(({ name: config, value, source }) => ({
      name: config,
      value,
      readOnly: false,
      configSource: source,
      isSensitive: false,
    })),
  }
}

function partitionsOf(asked: NewTopic, brokerId: number): number {
  const { name, numPartitions, replicationFactor, assignments } = asked
  if (assignments.length === 0) {
    if (replicationFactor !== 1 && replicationFactor !== -1)
      throw new QuestlogError(
        'REPLICATION_INVALID',
        `topic ${name} can't have replication factor ${replicationFactor}`,
        { topic: name, replicationFactor },
      )
    return numPartitions === -1 ? partitionsStandard : numPartitions
  }
  if (numPartitions !== -1 || replicationFactor !== -1)
    throw new ProtocolRefusal(
      kafkaErrors.invalidRequest,
      `topic ${name}: give either the assignments of replicas, or the numbers of partitions and replicas`,
    )
  const indexes = new Set(assignments.map(({ partitionIndex }) => partitionIndex))
  const isWhole = assignments.every((_, index) => indexes.has(index))
  if (!isWhole)
    throw new ProtocolRefusal(
      kafkaErrors.invalidReplicaAssignment,
      `topic ${name}: the assignments of replicas must be of partitions 0 to ${assignments.length - 1}`,
    )
  for (const { brokerIds } of assignments) checkReplicas(name, brokerIds, brokerId)
  return assignments.length
}

function checkReplicas(name: string, brokerIds: readonly number[], brokerId: number): void {
  if (brokerIds.length === 1 && brokerIds[0] === brokerId) return
  throw new ProtocolRefusal(
    kafkaErrors.invalidReplicaAssignment,
    `topic ${name}: replicas can't be on brokers ${brokerIds.join(', ')}: questlog is one node, broker ${brokerId}`,
  )
}

function configsOf({ name, configs }: NewTopic): Record<string, string> {
  const values: Record<string, string> = {}
  for (const { name: config, value } of configs) {
    if (value === null)
      throw new ProtocolRefusal(
        kafkaErrors.invalidConfig,
        `topic ${name}: config ${config} has no value`,
      )
    values[config] = value
  }
  return values
}

function namedTwice(names: readonly string[]): Set<string> {
  const seen = new Set<string>()
  return new Set(names.filter((name) => seen.size === seen.add(name).size))
}

/**
 * DeleteTopics v0-6 (KIP-516: v6 also by id; KIP-599). A topic that feeds tables is refused with TOPIC_DELETION_DISABLED; from v5 on the
 * message names the tables and how to delete it all the same.
 */
function deleteTopicsHandler(parts: TopicParts): Handler<'deleteTopics'> {
  return {
    api: 'deleteTopics',
    minVersion: 0,
    maxVersion: 6,
    async handle({ topics, topicNames }, { apiVersion }) {
      const asked =
        apiVersion >= 6 ? topics : topicNames.map((name) => ({ name, topicId: zeroUuid }))
      const responses = await mapInTurns(asked, ({ name, topicId }) =>
        answered<DeletedTopic, DeletedTopic>(
          () => deleteOne(parts, name, topicId),
          (refusal) => ({ name, topicId, ...refusal }),
          parts.logger,
        ),
      )
      return { responses }
    },
  }
}

async function deleteOne(
  { log, names, guard, logger }: TopicParts,
  name: string | null,
  topicId: string,
): Promise<DeletedTopic> {
  if (name !== null && topicId !== zeroUuid)
    throw new ProtocolRefusal(
      kafkaErrors.invalidRequest,
      `topic ${name}: give either the name or the id`,
    )
  const found = name ?? names.nameOf(topicId)
  const topic = found === undefined ? undefined : log.topic(found)
  if (name === null && topic === undefined)
    throw new ProtocolRefusal(kafkaErrors.unknownTopicId, `there is no topic with id ${topicId}`)
  if (topic === undefined)
    throw new QuestlogError('TOPIC_UNKNOWN', `there is no topic ${name}`, {}, { hint: '' })
  const tables = guard.tablesOf(topic.id)
  if (tables.length > 0)
    throw new QuestlogError(
      'TOPIC_IN_USE',
      `topic ${topic.name} feeds ${tables.length === 1 ? 'table' : 'tables'} ${tables.join(', ')}`,
      { topic: topic.name },
      {
        hint: `take them out of questlog.config.ts first, or run \`questlog topics delete ${topic.name} --force\`: the tables keep their rows`,
      },
    )
  await log.deleteTopic(topic.name)
  logger.info('a Kafka client deleted a topic', { topic: topic.name })
  return { name: topic.name, topicId: topic.id, errorCode: kafkaErrors.none, errorMessage: null }
}

/** CreatePartitions v0-3 (KIP-195, KIP-599): only more. `validateOnly` changes nothing. */
function createPartitionsHandler(parts: TopicParts): Handler<'createPartitions'> {
  return {
    api: 'createPartitions',
    minVersion: 0,
    maxVersion: 3,
    async handle({ topics, validateOnly }) {
      const twice = namedTwice(topics.map(({ name }) => name))
      const results = await mapInTurns(topics, (asked) => {
        const { name } = asked
        const accepted = { name, errorCode: kafkaErrors.none, errorMessage: null }
        return answered(
          () => addPartitions(parts, asked, validateOnly, twice).then(() => accepted),
          (refusal) => ({ name, ...refusal }),
          parts.logger,
        )
      })
      return { results }
    },
  }
}

async function addPartitions(
  { log, brokerId }: TopicParts,
  { name, count, assignments }: MorePartitions,
  validateOnly: boolean,
  twice: ReadonlySet<string>,
): Promise<void> {
  if (twice.has(name))
    throw new ProtocolRefusal(kafkaErrors.invalidRequest, `the request names topic ${name} twice`)
  const topic = log.topic(name)
  if (topic === undefined)
    throw new QuestlogError('TOPIC_UNKNOWN', `there is no topic ${name}`, {}, { hint: '' })
  if (count <= topic.partitions)
    throw new ProtocolRefusal(
      kafkaErrors.invalidPartitions,
      `topic ${name} has ${topic.partitions} partitions; ${count} would not be more`,
    )
  if (assignments !== null && assignments.length !== count - topic.partitions)
    throw new ProtocolRefusal(
      kafkaErrors.invalidReplicaAssignment,
      `topic ${name}: ${count - topic.partitions} partitions are new, but ${assignments.length} have replicas assigned`,
    )
  for (const { brokerIds } of assignments ?? []) checkReplicas(name, brokerIds, brokerId)
  try {
    checkTopic({ name, partitions: count })
    if (!validateOnly) await log.addPartitions(name, count)
  } catch (error) {
    if (!isCode(error, 'TOPIC_INVALID')) throw error
    throw new ProtocolRefusal(kafkaErrors.invalidPartitions, `${error.message}; ${error.hint}`)
  }
}

/**
 * DeleteRecords v0-2 (KIP-107): moves the start of a partition; -1 means up to the high watermark. Refused with POLICY_VIOLATION above what the tables of the topic have
 * committed; as this API has no messages, the log of the process says why.
 */
function deleteRecordsHandler(parts: TopicParts): Handler<'deleteRecords'> {
  return {
    api: 'deleteRecords',
    minVersion: 0,
    maxVersion: 2,
    async handle({ topics }) {
      const answers = await mapInTurns(topics, async ({ name, partitions }) => ({
        name,
        partitions: await mapInTurns(partitions, ({ partitionIndex, offset }) =>
          answered(
            async () => ({
              partitionIndex,
              lowWatermark: await deleteBefore(parts, name, partitionIndex, offset),
              errorCode: kafkaErrors.none,
            }),
            ({ errorCode }) => ({ partitionIndex, lowWatermark: -1, errorCode }),
            parts.logger,
          ),
        ),
      }))
      return { topics: answers }
    },
  }
}

async function deleteBefore(
  { log, guard, logger }: TopicParts,
  name: string,
  partition: number,
  offset: number,
): Promise<number> {
  const view = log.partition(name, partition)
  if (view === undefined)
    throw new QuestlogError('TOPIC_UNKNOWN', `there is no partition ${partition} of topic ${name}`)
  const beforeOffset = offset === -1 ? view.highWatermark : offset
  if (beforeOffset < 0 || beforeOffset > view.highWatermark)
    throw new QuestlogError(
      'OFFSET_OUT_OF_RANGE',
      `topic ${name}, partition ${partition} ends at ${view.highWatermark}; ${offset} is beyond it`,
    )
  if (beforeOffset <= view.startOffset) return view.startOffset
  const committed = await guard.committed(view.topicId, partition)
  if (beforeOffset > committed) {
    const tables = guard.tablesOf(view.topicId).join(', ')
    const message = 'a Kafka client may not delete records that tables have not committed'
    logger.warn(message, { topic: name, partition, offset: beforeOffset, committed, tables })
    throw new ProtocolRefusal(kafkaErrors.policyViolation, message)
  }
  return log.deleteRecords(name, partition, beforeOffset)
}
