import { QuestlogError } from '../core/errors.ts'
import type { Logger } from '../core/logger.ts'
import type { Settings } from '../core/settings.ts'
import type { Topic } from '../log/record.ts'
import { checkTopic } from '../log/topic.ts'
import type { ResponseOf } from './apis.ts'
import type { BrokerLog } from './broker-log.ts'
import { kafkaErrorOf, kafkaErrors } from './error-codes.ts'
import type { AnyHandler, ClientConnection, Handler } from './handler.ts'
import type { TopicNames } from './topic-names.ts'
import { zeroUuid } from './wire.ts'

/** Most topics that one request makes; the client asks again for the others. */
const autoCreatedMax = 20
/** There is one leader, and it never changes. */
const leaderEpoch = 0

export interface MetadataParts {
  readonly log: Pick<BrokerLog, 'createTopic' | 'topic' | 'topics'>
  readonly names: TopicNames
  readonly settings: Settings
  readonly logger: Logger
  readonly clusterId: string
  readonly brokerId: number
  readonly advertised: Address | null
}

export interface Address {
  readonly host: string
  readonly port: number
}

type TopicAnswer = ResponseOf<'metadata'>['topics'][number]

/** The address that a client is told to use: what it has reached, unless another is set. */
export function addressFor(connection: ClientConnection, advertised: Address | null): Address {
  return advertised ?? { host: connection.localHost, port: connection.localPort }
}

/**
 * Metadata 0 to 12 (KIP-4, KIP-78, KIP-430, KIP-516): the one broker, and the topics by name or (from version 10) by id. A topic that does not exist is made, with one
 * partition, when the client allows it and the setting autoCreateTopics does; else it is answered UNKNOWN_TOPIC_OR_PARTITION, a name that no topic can have INVALID_TOPIC.
 */
export function metadataHandlers(parts: MetadataParts): readonly AnyHandler[] {
  const metadata: Handler<'metadata'> = {
    api: 'metadata',
    minVersion: 0,
    maxVersion: 12,
    async handle({ topics, allowAutoTopicCreation }, { connection, apiVersion }) {
      // Version 0 had no null: it asks for all topics with an empty list.
      const isAll = topics === null || (apiVersion === 0 && topics.length === 0)
      const { host, port } = addressFor(connection, parts.advertised)
      return {
        brokers: [{ nodeId: parts.brokerId, host, port, rack: null }],
        clusterId: parts.clusterId,
        controllerId: parts.brokerId,
        topics: isAll
          ? parts.log.topics().map((topic) => describe(topic, parts.brokerId))
          : await describeAsked(parts, topics, allowAutoTopicCreation),
      }
    },
  }
  return [metadata]
}

/** Each topic once, however often it is asked for. */
async function describeAsked(
  parts: MetadataParts,
  asked: readonly { readonly topicId: string; readonly name: string | null }[],
  mayCreate: boolean,
): Promise<TopicAnswer[]> {
  const answers: TopicAnswer[] = []
  const missing = new Set<string>()
  const seen = new Set<string>()
  for (const { topicId, name } of asked) {
    const key = name ?? topicId
    if (seen.has(key)) continue
    seen.add(key)
    const found = name ?? parts.names.nameOf(topicId)
    const topic = found === undefined ? undefined : parts.log.topic(found)
    if (topic !== undefined) answers.push(describe(topic, parts.brokerId))
    else if (name === null) answers.push(refused(kafkaErrors.unknownTopicId, null, topicId))
    else missing.add(name)
  }
  const creates = mayCreate && parts.settings.autoCreateTopics === 'true'
  let created = 0
  for (const name of missing) {
    const known = creates ? undefined : kafkaErrors.unknownTopicOrPartition
    const problem = nameProblem(name) ?? known
    if (problem !== undefined) answers.push(refused(problem, name))
    else if (++created > autoCreatedMax) answers.push(refused(kafkaErrors.leaderNotAvailable, name))
    else answers.push(await create(parts, name))
  }
  return answers
}

async function create(parts: MetadataParts, name: string): Promise<TopicAnswer> {
  try {
    const topic = await parts.log.createTopic({ name, partitions: 1 })
    parts.logger.info('a Kafka client made a topic', { topic: name })
    return describe(topic, parts.brokerId)
  } catch (error) {
    const topic = parts.log.topic(name) // another client was faster
    return topic === undefined
      ? refused(kafkaErrorOf(error), name)
      : describe(topic, parts.brokerId)
  }
}

function nameProblem(name: string): number | undefined {
  try {
    checkTopic({ name, partitions: 1 })
    return undefined
  } catch (error) {
    if (error instanceof QuestlogError) return error.row.kafka
    throw error
  }
}

function describe({ id, name, partitions }: Topic, brokerId: number): TopicAnswer {
  return {
    errorCode: kafkaErrors.none,
    name,
    topicId: id,
    partitions: Array.from({ length: partitions }, (_, partitionIndex) => ({
      errorCode: kafkaErrors.none,
      partitionIndex,
      leaderId: brokerId,
      leaderEpoch,
      replicaNodes: [brokerId],
      isrNodes: [brokerId],
    })),
  }
}

function refused(errorCode: number, name: string | null, topicId = zeroUuid): TopicAnswer {
  return { errorCode, name, topicId, partitions: [] }
}
