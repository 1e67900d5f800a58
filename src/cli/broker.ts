import { fetchStatus } from '../app/control-client.ts'
import { QuestlogError, type ErrorCode } from '../core/errors.ts'
import { KafkaClient } from '../kafka/client.ts'
import { kafkaErrors } from '../kafka/error-codes.ts'
import { findInstances } from './locate.ts'

/** Versions that Kafka brokers from 2.3 to 4.x all serve. */
export const versions = {
  metadata: 8,
  produce: 7,
  fetch: 11,
  listOffsets: 5,
  findCoordinator: 1,
  joinGroup: 5,
  syncGroup: 3,
  heartbeat: 3,
  leaveGroup: 3,
  offsetCommit: 7,
  offsetFetch: 5,
  listGroups: 2,
  describeGroups: 4,
  deleteGroups: 1,
} as const

const timeoutMs = 30_000

/** Arguments of the commands that speak to the broker. */
export const brokerArguments = {
  data: { type: 'string', valueHint: 'DIR', description: 'data folder' },
  broker: {
    type: 'string',
    alias: 'b',
    valueHint: 'HOST:PORT',
    description: 'a Kafka broker; the running questlog otherwise',
  },
} as const

/** Connects to the broker that a command means. NOT_RUNNING when none is there. */
export async function openBroker(args: {
  readonly data?: string | undefined
  readonly broker?: string | undefined
}): Promise<KafkaClient> {
  const { host, port } = parseAddress(args.broker ?? (await runningBroker(args.data)))
  return KafkaClient.open({ host, port, clientId: 'questlog', timeoutMs })
}

async function runningBroker(data: string | undefined): Promise<string> {
  const owner = findInstances(data).find(({ roles }) => roles.includes('ingest'))
  if (owner === undefined)
    throw new QuestlogError(
      'NOT_RUNNING',
      data === undefined ? 'no questlog of yours runs on this machine' : `nothing runs on ${data}`,
      {},
      { hint: 'start it with `questlog up -d`, or name a broker with -b HOST:PORT' },
    )
  const { endpoints } = await fetchStatus(owner)
  if (endpoints.broker !== null) return endpoints.broker
  throw new QuestlogError('NOT_RUNNING', 'the running questlog serves no Kafka clients')
}

/** `localhost:9092` or `localhost`. Of a list the first counts. USAGE */
export function parseAddress(text: string): { host: string; port: number } {
  const [first = ''] = text.split(',')
  const match = /^(?:\[([^\]]+)\]|([^:]+))(?::(\d{1,5}))?$/.exec(first.trim())
  const host = match?.[1] ?? match?.[2]
  const port = Number(match?.[3] ?? 9092)
  if (host !== undefined && port > 0 && port <= 65_535) return { host, port }
  throw new QuestlogError('USAGE', `"${text}" is no address of a broker: HOST:PORT`)
}

const catalogCodes: Readonly<Record<number, ErrorCode>> = {
  1: 'OFFSET_OUT_OF_RANGE',
  3: 'TOPIC_UNKNOWN',
  7: 'OVERLOADED',
  10: 'EVENT_TOO_LARGE',
  17: 'TOPIC_INVALID',
  36: 'TOPIC_EXISTS',
  40: 'TOPIC_CONFIG_INVALID',
  56: 'PARTITION_OFFLINE',
  87: 'EVENT_MALFORMED',
}

/** The error for an error code in a broker's answer. */
export function brokerError(code: number, what: string): QuestlogError {
  const known = catalogCodes[code]
  if (known !== undefined) return new QuestlogError(known, what, { kafka: code })
  const name = Object.entries(kafkaErrors).find(([, value]) => value === code)?.[0] ?? 'error'
  return new QuestlogError('BROKER_REFUSED', `${what}: ${name} (${code})`, { kafka: code })
}

/** The partition numbers of a topic, in order; with `create` a broker that may create topics does. TOPIC_UNKNOWN */
export async function fetchPartitions(
  client: KafkaClient,
  topic: string,
  create: boolean,
): Promise<readonly number[]> {
  const answer = await client.request('metadata', versions.metadata, {
    topics: [{ name: topic }],
    allowAutoTopicCreation: create,
  })
  const found = answer.topics.find(({ name }) => name === topic)
  if (found === undefined || found.errorCode !== 0)
    throw brokerError(found?.errorCode ?? 3, `topic "${topic}" can't be had`)
  return found.partitions.map(({ partitionIndex }) => partitionIndex).toSorted((a, b) => a - b)
}

/** Commits offsets of a topic for a group, as `claim` says who does; resolves to the first error code among the partitions, 0 when all were taken. */
export async function commitOffsets(
  client: KafkaClient,
  claim: {
    readonly groupId: string
    readonly generationIdOrMemberEpoch: number
    readonly memberId: string
  },
  topic: string,
  offsets: ReadonlyMap<number, number>,
): Promise<number> {
  const partitions = [...offsets].map(([partitionIndex, committedOffset]) => ({
    partitionIndex,
    committedOffset,
    committedMetadata: null,
  }))
  const answer = await client.request('offsetCommit', versions.offsetCommit, {
    ...claim,
    topics: [{ name: topic, partitions }],
  })
  const codes = answer.topics.flatMap((each) => each.partitions.map((part) => part.errorCode))
  return codes.find((code) => code !== kafkaErrors.none) ?? kafkaErrors.none
}

/** Times that ListOffsets takes for the ends of a partition. */
export const endOfLog = -1
export const startOfLog = -2

/** The offset of a time, or of an end of the log, for each partition; -1 when there is none. */
export async function fetchOffsets(
  client: KafkaClient,
  topic: string,
  partitions: readonly number[],
  timestamp: number,
): Promise<ReadonlyMap<number, number>> {
  const answer = await client.request('listOffsets', versions.listOffsets, {
    topics: [
      {
        name: topic,
        partitions: partitions.map((partitionIndex) => ({ partitionIndex, timestamp })),
      },
    ],
  })
  const found = new Map<number, number>()
  for (const { partitionIndex, errorCode, offset } of answer.topics[0]?.partitions ?? []) {
    if (errorCode !== 0) throw brokerError(errorCode, `${topic}/${partitionIndex} has no offsets`)
    found.set(partitionIndex, offset)
  }
  return found
}
