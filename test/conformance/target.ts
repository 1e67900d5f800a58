import { join } from 'node:path'
import { Instance } from '../support/instance.ts'
import { RealBroker } from './real-broker.ts'

/** What a client talks to. */
export interface Target extends AsyncDisposable {
  /** `host:port`. */
  readonly bootstrap: string
  /** The folder in which the segments of a partition lie. */
  partitionFolder(topic: string, partition: number): string
}

/** An instance of questlog as a target. */
export class QuestlogTarget implements Target {
  readonly instance: Instance

  private constructor(instance: Instance) {
    this.instance = instance
  }

  static async start(environment: Readonly<Record<string, string>> = {}): Promise<QuestlogTarget> {
    return new QuestlogTarget(await Instance.start(undefined, { environment }))
  }

  get bootstrap(): string {
    return this.instance.endpoints.broker ?? ''
  }

  partitionFolder(topic: string, partition: number): string {
    return join(this.instance.data, 'log', `${topic}-${partition}`)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.instance[Symbol.asyncDispose]()
  }
}

/** Each script is run against Kafka itself as well: what it expects is what Kafka does. */
export const targets: readonly { readonly name: string; readonly start: () => Promise<Target> }[] =
  [
    { name: 'Kafka itself', start: () => RealBroker.start() },
    { name: 'questlog', start: () => QuestlogTarget.start() },
  ]
