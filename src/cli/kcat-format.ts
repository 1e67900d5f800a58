import type { KafkaClient } from '../kafka/client.ts'
import type { LogRecord } from '../log/record.ts'
import { versions } from './broker.ts'
import { formatRecordJson } from './tail.ts'

export interface KcatFormatOptions {
  readonly json: boolean
  readonly format: string | undefined
  readonly keySeparator: string | undefined
}

const escapes: Readonly<Record<string, string>> = { n: '\n', t: '\t', r: '\r', '\\': '\\' }

/** How kcat prints a record: the value; with -K the key before it; with -f what the text says; with -J a JSON object. A line feed follows each, but with -f. */
export function formatKcat(
  options: KcatFormatOptions,
): (topic: string, partition: number, record: LogRecord) => Buffer {
  const { json, format, keySeparator } = options
  if (json)
    return (topic, partition, record) =>
      Buffer.from(`${formatRecordJson(topic, partition, record)}\n`)
  const text = format ?? (keySeparator === undefined ? '%s\\n' : `%k${keySeparator}%s\\n`)
  const plain = text.replace(/\\([ntr\\])/g, (_, letter: string) => escapes[letter] ?? letter)
  const parts = plain.split(/(%[tpoksSKTh%])/)
  return (topic, partition, record) =>
    Buffer.concat(parts.map((part) => formatPart(part, topic, partition, record)))
}

function formatPart(
  part: string,
  topic: string,
  partition: number,
  { offset, key, value, timestampMs, headers }: LogRecord,
): Uint8Array {
  switch (part) {
    case '%s':
      return value ?? Buffer.alloc(0)
    case '%k':
      return key ?? Buffer.alloc(0)
    case '%t':
      return Buffer.from(topic)
    case '%p':
      return Buffer.from(String(partition))
    case '%o':
      return Buffer.from(String(offset))
    case '%S':
      return Buffer.from(String(value?.length ?? -1))
    case '%K':
      return Buffer.from(String(key?.length ?? -1))
    case '%T':
      return Buffer.from(String(timestampMs))
    case '%h':
      return Buffer.from(
        headers
          .map((header) => `${header.key}=${Buffer.from(header.value ?? []).toString('utf8')}`)
          .join(','),
      )
    case '%%':
      return Buffer.from('%')
    default:
      return Buffer.from(part)
  }
}

/** The lines of kcat -L. */
export async function listCluster(
  client: KafkaClient,
  only: string | undefined,
): Promise<readonly string[]> {
  const answer = await client.request('metadata', versions.metadata, {
    topics: only === undefined ? null : [{ name: only }],
    allowAutoTopicCreation: false,
  })
  const { brokers, controllerId } = answer
  const topics = answer.topics.toSorted((one, other) =>
    (one.name ?? '') < (other.name ?? '') ? -1 : 1,
  )
  return [
    `Metadata for ${only ?? 'all topics'} (from broker ${controllerId}):`,
    ` ${brokers.length} brokers:`,
    ...brokers.map(
      ({ nodeId, host, port }) =>
        `  broker ${nodeId} at ${host}:${port}${nodeId === controllerId ? ' (controller)' : ''}`,
    ),
    ` ${topics.length} topics:`,
    ...topics.flatMap(({ name, partitions, errorCode }) => [
      `  topic "${name}" with ${partitions.length} partitions:${errorCode === 0 ? '' : ` error ${errorCode}`}`,
      ...partitions
        .toSorted((one, other) => one.partitionIndex - other.partitionIndex)
        .map(
          ({ partitionIndex, leaderId, replicaNodes, isrNodes }) =>
            `    partition ${partitionIndex}, leader ${leaderId}, replicas: ${replicaNodes.join(',')}, isrs: ${isrNodes.join(',')}`,
        ),
    ]),
  ]
}
