import { join } from 'node:path'
import {
  fetchTopics,
  requestTopic,
  requestTopicChange,
  requestTopicDeletion,
} from '../app/control-client.ts'
import type { TopicChange, TopicDeletion, TopicSpec } from '../app/roles.ts'
import { alterTopic, refuseFed } from '../app/topic-changes.ts'
import { realClock } from '../core/clock.ts'
import { QuestlogError } from '../core/errors.ts'
import { realFiles } from '../core/files.ts'
import { acquireLock } from '../core/lock.ts'
import { silentLogger } from '../core/logger.ts'
import { resolveSettings } from '../core/settings.ts'
import type { Topic } from '../log/record.ts'
import { nearestName } from '../plan/nearest.ts'
import { activeVersion, readDefinition } from '../plan/store.ts'
import { findInstances, requireData } from './locate.ts'

/** The topics of a data folder, through whoever owns its log now. */
export interface Topics {
  list(): Promise<readonly Topic[]>
  create(spec: TopicSpec): Promise<Topic>
  alter(change: TopicChange): Promise<Topic>
  /** TOPIC_IN_USE when tables read it and `force` is not given. */
  delete(deletion: TopicDeletion): Promise<void>
  close(): Promise<void>
}

/** Asks the running ingest process; when none runs, opens the log itself. */
export async function openTopics(data: string | undefined): Promise<Topics> {
  const owner = findInstances(data).find(({ roles }) => roles.includes('ingest'))
  if (owner !== undefined)
    return {
      list: () => fetchTopics(owner),
      create: (spec) => requestTopic(owner, spec),
      alter: (change) => requestTopicChange(owner, change),
      delete: (deletion) => requestTopicDeletion(owner, deletion),
      close: async () => {},
    }
  return openStoppedLog(requireData(data))
}

/** The same for reading only: the meta file tells, running or not. */
export async function readTopics(data: string | undefined): Promise<readonly Topic[]> {
  const { LogReader } = await import('../log/reader.ts')
  const reader = new LogReader(realFiles, join(requireData(data), 'log'))
  try {
    return await reader.topics()
  } finally {
    await reader.close()
  }
}

async function openStoppedLog(data: string): Promise<Topics> {
  const { openEventLog } = await import('../log/event-log.ts')
  const { readFloors } = await import('../app/floors.ts')
  const folder = join(data, 'log')
  await realFiles.makeFolder(folder)
  const lock = acquireLock(join(folder, 'lock'))
  if (lock === undefined)
    throw new QuestlogError('ALREADY_RUNNING', `another process holds ${folder}`, { data })
  try {
    const log = await openEventLog({
      files: realFiles,
      clock: realClock,
      logger: silentLogger,
      folder,
      settings: resolveSettings({}, process.env),
      floors: await readFloors(realFiles, realClock, data),
      repair: false,
    })
    return {
      list: async () => log.topics(),
      create: (spec) => log.createTopic(spec),
      alter: (change) => alterTopic(log, change),
      async delete({ name, force }) {
        const version = force ? undefined : await activeVersion(realFiles, data)
        if (version !== undefined) refuseFed(await readDefinition(realFiles, data, version), name)
        await log.deleteTopic(name)
      },
      async close() {
        await log.close()
        lock.release()
      },
    }
  } catch (error) {
    lock.release()
    throw error
  }
}

/** TOPIC_UNKNOWN with the nearest name when there is none of this name. */
export function requireTopic(topics: readonly Topic[], name: string): Topic {
  const topic = topics.find((candidate) => candidate.name === name)
  if (topic !== undefined) return topic
  const near = nearestName(
    name,
    topics.map((candidate) => candidate.name),
  )
  throw new QuestlogError(
    'TOPIC_UNKNOWN',
    `topic "${name}" does not exist`,
    { topic: name },
    {
      hint:
        near === undefined
          ? `create it with \`questlog topics create ${name}\``
          : `did you mean "${near}"? or create it with \`questlog topics create ${name}\``,
    },
  )
}

/** The lines of kafka-topics --describe, with its tabs. */
export function describeTopic(topic: Topic): string[] {
  const configs = Object.entries(topic.configs)
    .toSorted(([one], [other]) => (one < other ? -1 : 1))
    .map(([name, value]) => `${name}=${value}`)
    .join(',')
  const head = [
    `Topic:${topic.name}`,
    `PartitionCount:${topic.partitions}`,
    'ReplicationFactor:1',
    `Configs:${configs}`,
  ]
  const partitions = Array.from({ length: topic.partitions }, (_, partition) =>
    [
      `\tTopic: ${topic.name}`,
      `Partition: ${partition}`,
      'Leader: 1',
      'Replicas: 1',
      'Isr: 1',
    ].join('\t'),
  )
  return [head.join('\t'), ...partitions]
}
