import type { BrokerLog } from './broker-log.ts'

/** Finds topics by their id. */
export class TopicNames {
  readonly #log: Pick<BrokerLog, 'topic' | 'topics'>
  #names: ReadonlyMap<string, string> = new Map()

  constructor(log: Pick<BrokerLog, 'topic' | 'topics'>) {
    this.#log = log
  }

  /** The name of a topic that exists; undefined when there is none with this id. */
  nameOf(id: string): string | undefined {
    const known = this.#known(id)
    if (known !== undefined) return known
    this.#names = new Map(this.#log.topics().map((topic) => [topic.id, topic.name]))
    return this.#known(id)
  }

  #known(id: string): string | undefined {
    const name = this.#names.get(id)
    return name !== undefined && this.#log.topic(name)?.id === id ? name : undefined
  }
}
