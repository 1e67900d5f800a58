import { setImmediate as nextTurn } from 'node:timers/promises'
import { silentLogger } from '../../../src/core/logger.ts'
import { resolveSettings, type Settings } from '../../../src/core/settings.ts'
import { GroupCoordinator, type TopicSource } from '../../../src/kafka/groups/coordinator.ts'
import { groupHandlers } from '../../../src/kafka/groups/group-handlers.ts'
import { OffsetCommits } from '../../../src/kafka/groups/offset-commits.ts'
import type { Topic } from '../../../src/log/record.ts'
import { StateFile } from '../../../src/log/state-file.ts'
import { SimulatedClock } from '../../support/simulated-clock.ts'
import { SimulatedFiles } from '../../support/simulated-files.ts'
import { HandlerClient } from '../call-handlers.ts'

const path = '/data/log/groups'

/** Topics that a test makes and removes. */
export class TestTopics implements TopicSource {
  readonly #topics = new Map<string, Topic>()
  #made = 0

  make(name: string, partitions = 4): Topic {
    const id = `00000000-0000-0000-0000-${String(++this.#made).padStart(12, '0')}`
    const topic = { id, name, partitions, configs: {} }
    this.#topics.set(name, topic)
    return topic
  }

  remove(name: string): void {
    this.#topics.delete(name)
  }

  topics(): readonly Topic[] {
    return [...this.#topics.values()]
  }

  topic(name: string): Topic | undefined {
    return this.#topics.get(name)
  }
}

/** A coordinator on a simulated disk, with its handlers; `start` again after `crash` or `close`. */
export class CoordinatorBench {
  readonly files: SimulatedFiles
  readonly clock = new SimulatedClock()
  readonly topics = new TestTopics()
  readonly #settings: Settings
  #state: StateFile | undefined
  #coordinator: GroupCoordinator | undefined
  #commits: OffsetCommits | undefined
  #ids = 0

  constructor(settings: Partial<Settings> = {}, seed = 1) {
    this.files = new SimulatedFiles({ seed })
    this.#settings = { ...resolveSettings(), groupInitialRebalanceDelayMs: 0, ...settings }
    this.topics.make('events')
  }

  async start(): Promise<HandlerClient> {
    const { files, clock, topics } = this
    await files.makeFolder('/data/log')
    const state = await StateFile.open({ files, path })
    const settings = this.#settings
    const logger = silentLogger
    const newId = () => `id${++this.#ids}`
    const coordinator = new GroupCoordinator({
      store: state,
      topics,
      settings,
      clock,
      logger,
      newId,
    })
    const commits = new OffsetCommits({ coordinator, topics, settings, clock })
    this.#state = state
    this.#coordinator = coordinator
    this.#commits = commits
    return this.client()
  }

  get coordinator(): GroupCoordinator {
    if (this.#coordinator === undefined) throw new Error('not started')
    return this.#coordinator
  }

  get commits(): OffsetCommits {
    if (this.#commits === undefined) throw new Error('not started')
    return this.#commits
  }

  client(clientId?: string): HandlerClient {
    const { coordinator, commits, topics } = this
    const parts = { coordinator, commits, topics, brokerId: 1, advertised: null }
    return new HandlerClient(groupHandlers(parts), clientId)
  }

  async close(): Promise<void> {
    await this.#coordinator?.close()
    await this.#state?.close()
  }

  async restart(): Promise<HandlerClient> {
    await this.close()
    return this.start()
  }

  /** Time goes on, and what it brings about is done. */
  async advance(byMs: number): Promise<void> {
    this.clock.advance(byMs)
    for (let turn = 0; turn < 20; turn++) await nextTurn()
  }
}

/** A request for the offsets of partitions of one topic. */
export function offsetsOf(
  name: string,
  ...offsets: readonly [partition: number, offset: number][]
) {
  return [
    {
      name,
      partitions: offsets.map(([partitionIndex, committedOffset]) => ({
        partitionIndex,
        committedOffset,
        committedMetadata: `at ${committedOffset}`,
      })),
    },
  ]
}

/** What was fetched, as `partition → offset`. */
export function fetched(
  topics: readonly {
    readonly partitions: readonly {
      readonly partitionIndex: number
      readonly committedOffset: number
    }[]
  }[],
): Record<number, number> {
  return Object.fromEntries(
    topics.flatMap(({ partitions }) =>
      partitions.map(({ partitionIndex, committedOffset }) => [partitionIndex, committedOffset]),
    ),
  )
}
