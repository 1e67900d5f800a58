import { spawn, type ChildProcess } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePorts, runCommand, runOrThrow, waitFor } from '../support/commands.ts'
import { classPath } from './clients.ts'

/** Small and quick to start; the defaults are for large machines. */
const javaOptions = ['-Xmx768m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1']

/** Apache Kafka itself: one node, broker and controller in one process (KRaft), in a temporary folder. */
export class RealBroker {
  readonly bootstrap: string
  readonly #folder: string
  readonly #process: ChildProcess

  private constructor(bootstrap: string, folder: string, process: ChildProcess) {
    this.bootstrap = bootstrap
    this.#folder = folder
    this.#process = process
  }

  /** Resolves when it takes requests. `properties` replace those of its server.properties. `forSpeed`: with the JVM's full compiler, for measurements. */
  static async start(
    properties: Readonly<Record<string, string>> = {},
    forSpeed = false,
  ): Promise<RealBroker> {
    const folder = mkdtempSync(join(tmpdir(), 'questlog-real-broker-'))
    const [port = 0, controllerPort = 0] = await freePorts(2)
    const config = join(folder, 'server.properties')
    const all = { ...standardProperties(folder, port, controllerPort), ...properties }
    writeFileSync(
      config,
      Object.entries(all)
        .map(([name, value]) => `${name}=${value}\n`)
        .join(''),
    )
    const java = ['-cp', classPath('kafka-4'), ...(forSpeed ? ['-Xmx1g'] : javaOptions)]
    const format = ['format', '--cluster-id', 'AAAAAAAAQACAAAAAAAAAAQ', '--config', config]
    await runOrThrow('java', [...java, 'kafka.tools.StorageTool', ...format], { cwd: folder })
    const output = openSync(join(folder, 'output'), 'w')
    const process = spawn('java', [...java, 'kafka.Kafka', config], {
      cwd: folder,
      stdio: ['ignore', output, output],
    })
    closeSync(output)
    const broker = new RealBroker(`127.0.0.1:${port}`, folder, process)
    try {
      await broker.#ready()
    } catch (error) {
      await broker[Symbol.asyncDispose]()
      throw error
    }
    return broker
  }

  async #ready(): Promise<void> {
    await waitFor('the real broker answers', 300_000, async () => {
      if (this.#process.exitCode !== null)
        throw new Error(`Kafka ended: ${readFileSync(join(this.#folder, 'output'), 'utf8')}`)
      const words = ['-L', '-b', this.bootstrap, '-m', '10']
      const { code } = await runCommand('kcat', words, { cwd: this.#folder })
      return code === 0
    })
  }

  get pid(): number | undefined {
    return this.#process.pid
  }

  /** The folder of a partition's files. */
  partitionFolder(topic: string, partition: number): string {
    return join(this.#folder, 'data', `${topic}-${partition}`)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#process.exitCode === null && this.#process.signalCode === null) {
      const ended = new Promise((resolve) => this.#process.once('exit', resolve))
      this.#process.kill('SIGKILL')
      await ended
    }
    rmSync(this.#folder, { recursive: true, force: true })
  }
}

function standardProperties(
  folder: string,
  port: number,
  controllerPort: number,
): Record<string, string> {
  return {
    'process.roles': 'broker,controller',
    'node.id': '1',
    'controller.quorum.voters': `1@127.0.0.1:${controllerPort}`,
    'controller.listener.names': 'CONTROLLER',
    listeners: `PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controllerPort}`,
    'log.dirs': join(folder, 'data'),
    'message.max.bytes': '5242880',
    'num.partitions': '1',
    'offsets.topic.num.partitions': '1',
    'offsets.topic.replication.factor': '1',
    'transaction.state.log.num.partitions': '1',
    'transaction.state.log.replication.factor': '1',
    'transaction.state.log.min.isr': '1',
    'share.coordinator.state.topic.replication.factor': '1',
    'share.coordinator.state.topic.min.isr': '1',
    'group.initial.rebalance.delay.ms': '0',
    // Records of the past stay.
    'log.retention.ms': '-1',
  }
}
