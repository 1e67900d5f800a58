import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { runCommand, waitFor } from '../support/commands.ts'
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
  #supervisor: number | undefined

  private constructor(instance: Instance) {
    this.instance = instance
  }

  static async start(environment: Readonly<Record<string, string>> = {}): Promise<QuestlogTarget> {
    return new QuestlogTarget(await Instance.start(undefined, { environment }))
  }

  get bootstrap(): string {
    return this.instance.endpoints.broker ?? ''
  }

  /** Ends ingest as a power cut would, as soon as there is one. Quicker than asking `questlog ps`, which a busy client runs ahead of. */
  async killIngest(): Promise<void> {
    const supervisor = await this.supervisor()
    const pid = await waitFor('ingest runs', 300_000, async () => ingestOf(supervisor))
    process.kill(pid, 'SIGKILL')
  }

  async supervisor(): Promise<number> {
    this.#supervisor ??= await this.instance.pid('supervisor')
    return this.#supervisor
  }

  /** Resolves when Kafka clients are answered. */
  async ready(): Promise<void> {
    const words = ['-L', '-b', this.bootstrap, '-m', '10']
    await waitFor('the broker answers', 300_000, async () => {
      const { code } = await runCommand('kcat', words, { cwd: this.instance.data })
      return code === 0
    })
  }

  partitionFolder(topic: string, partition: number): string {
    return join(this.instance.data, 'log', `${topic}-${partition}`)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.instance[Symbol.asyncDispose]()
  }
}

/** The process with the role ingest among the children of the supervisor. */
function ingestOf(supervisor: number): number | undefined {
  const children = readFileSync(`/proc/${supervisor}/task/${supervisor}/children`, 'utf8')
  return children
    .split(' ')
    .filter((child) => child !== '')
    .map(Number)
    .find((child) => {
      try {
        return readFileSync(`/proc/${child}/environ`, 'utf8').includes('"role":"ingest"')
      } catch {
        return false // it has just ended
      }
    })
}

/** Each script is run against Kafka itself as well: what it expects is what Kafka does. */
export const targets: readonly { readonly name: string; readonly start: () => Promise<Target> }[] =
  [
    { name: 'Kafka itself', start: () => RealBroker.start() },
    { name: 'questlog', start: () => QuestlogTarget.start() },
  ]
