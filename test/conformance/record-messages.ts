import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { apiNameOf, apiNames, apis, type ApiName } from '../../src/kafka/apis.ts'
import { FrameReader } from '../../src/kafka/frame-reader.ts'
import { encodeResponseFrame, readRequestHead, readResponse } from '../../src/kafka/frames.ts'
import { Reader } from '../../src/kafka/wire.ts'
import { freePort, runCommand, runOrThrow } from '../support/commands.ts'
import { repositoryRoot } from '../support/tidy-source.ts'
import { classPath, debianPython, runScript, scriptPath, venvPython } from './clients.ts'
import { RealBroker } from './real-broker.ts'

// Records what real clients and a real broker say to each other, for test/kafka/golden.test.ts:
//   node --import jiti/register test/conformance/record-messages.ts
// It stands between the two and offers of each API only the versions that our table has.

interface Message {
  readonly api: ApiName
  readonly version: number
  /** Hexadecimal, without the size in front. */
  readonly request: string
  /** Null when there is none: Produce with acks 0. */
  readonly response: string | null
}

/** The broker itself comes this way too, to end transactions. */
const writeTxnMarkers = 27
/** Longer messages are not kept, unless there is no shorter one. */
const hexLengthMax = 1_200

class Recorder {
  readonly #server: Server
  readonly #target: number
  readonly #sockets = new Set<Socket>()
  #messages = new Map<string, Message>()

  constructor(target: number) {
    this.#target = target
    this.#server = createServer((socket) => this.#serve(socket))
  }

  async listen(port: number): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(port, '127.0.0.1', resolve))
  }

  close(): void {
    this.#server.close()
    for (const socket of this.#sockets) socket.destroy()
  }

  /** What was said since the last time: of each API in each version the longest that is not too long. */
  take(): Message[] {
    const messages = [...this.#messages.values()]
    this.#messages = new Map()
    return messages.toSorted(
      (one, other) => apis[one.api].key - apis[other.api].key || one.version - other.version,
    )
  }

  #keep(message: Message): void {
    const key = `${message.api} ${message.version}`
    const known = this.#messages.get(key)
    const lengths = [message, known].map(
      (each) => (each?.request.length ?? 0) + (each?.response?.length ?? 0),
    )
    const [length = 0, knownLength = 0] = lengths
    const isBetter =
      knownLength > hexLengthMax
        ? length < knownLength
        : length > knownLength && length <= hexLengthMax
    if (known === undefined || isBetter) this.#messages.set(key, message)
  }

  #serve(client: Socket): void {
    const broker = connect(this.#target, '127.0.0.1')
    const waiting = new Map<number, Message>()
    for (const socket of [client, broker]) {
      this.#sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => {
        client.destroy()
        broker.destroy()
        for (const message of waiting.values()) this.#keep(message)
        waiting.clear()
      })
    }
    readFrames(client, (frame) => {
      const reader = new Reader(frame)
      const { api, apiVersion: version, correlationId } = readRequestHead(reader)
      if (api !== undefined && version <= apis[api].maxVersion) {
        const request = frame.toString('hex')
        waiting.set(correlationId, { api, version, request, response: null })
      }
      write(broker, [frame])
    })
    readFrames(broker, (frame) => {
      const correlationId = frame.readInt32BE(0)
      const asked = waiting.get(correlationId)
      waiting.delete(correlationId)
      if (asked !== undefined) this.#keep({ ...asked, response: frame.toString('hex') })
      const isVersions = asked?.api === 'apiVersions' && frame.readInt16BE(4) === 0
      if (!isVersions) return write(client, [frame])
      for (const chunk of narrowed(asked.version, correlationId, frame)) client.write(chunk)
    })
  }
}

/** ApiVersions of the broker, without what our table does not have. */
function narrowed(version: number, correlationId: number, frame: Buffer): Buffer[] {
  const answer = readResponse('apiVersions', version, new Reader(frame, 4))
  const apiKeys = answer.apiKeys.flatMap((offered) => {
    const name = apiNameOf(offered.apiKey)
    if (name === undefined) return offered.apiKey === writeTxnMarkers ? [offered] : []
    return [{ ...offered, maxVersion: Math.min(offered.maxVersion, apis[name].maxVersion) }]
  })
  // Without features: with Kafka's transactions of version 2 clients would leave out what older versions need.
  const { errorCode, throttleTimeMs } = answer
  const narrow = { errorCode, throttleTimeMs, apiKeys }
  return encodeResponseFrame('apiVersions', version, correlationId, narrow)
}

function readFrames(socket: Socket, take: (frame: Buffer) => void): void {
  const frames = new FrameReader()
  socket.on('data', (chunk) => {
    frames.push(Buffer.from(chunk))
    for (;;) {
      const frame = frames.take()
      if (frame !== undefined) take(frame)
      const head = frames.head()
      if (head === undefined) return
      frames.begin(head.size)
    }
  })
}

function write(socket: Socket, chunks: readonly Buffer[]): void {
  const size = Buffer.alloc(4)
  size.writeInt32BE(chunks.reduce((sum, { length }) => sum + length, 0))
  for (const chunk of [size, ...chunks]) socket.write(chunk)
}

async function kcat(bootstrap: string, folder: string): Promise<void> {
  const run = (line: string) =>
    runCommand('bash', ['-c', line.replaceAll('kcat', `kcat -b ${bootstrap}`)], { cwd: folder })
  await run('seq 1 3 | kcat -P -t kcat -z gzip')
  await run('seq 4 6 | kcat -P -t kcat -z zstd -X enable.idempotence=true')
  await run('seq 7 9 | kcat -P -t kcat -X transactional.id=kcat')
  await run('kcat -L')
  await run('kcat -C -t kcat -o beginning -e -q')
  await run('kcat -Q -t kcat:0:1600000000000')
  await run('kcat -G kcat -X auto.offset.reset=earliest -e -q kcat')
}

async function java(bootstrap: string, folder: string): Promise<void> {
  const classes = join(folder, 'classes')
  const jars = classPath('kafka-4')
  const source = scriptPath('JavaClient.java')
  await runOrThrow('javac', ['-nowarn', '-cp', jars, '-d', classes, source], { cwd: folder })
  const words = ['-cp', `${classes}:${jars}`, 'JavaClient', bootstrap, 'java4']
  await runOrThrow('java', words, { cwd: folder, timeoutMs: 240_000 })
  const command = ['-cp', jars, 'org.apache.kafka.tools.TopicCommand', '--describe']
  await runCommand('java', [...command, '--bootstrap-server', bootstrap], { cwd: folder })
}

const folder = mkdtempSync(join(tmpdir(), 'questlog-messages-'))
const port = await freePort()
const broker = await RealBroker.start({
  'advertised.listeners': `PLAINTEXT://127.0.0.1:${port}`,
  // It would ask itself in a version that our table does not have.
  'transaction.partition.verification.enable': 'false',
})
const recorder = new Recorder(Number(broker.bootstrap.split(':')[1]))
try {
  await recorder.listen(port)
  const bootstrap = `127.0.0.1:${port}`
  const python = (program: string, script: string, prefix: string) => () =>
    runScript(program, script, [bootstrap, prefix], 240_000)
  const node = (script: string) => () => runScript('node', `${script}.mjs`, [bootstrap, script])
  const clients: [name: string, client: string, run: () => Promise<unknown>][] = [
    ['kcat', 'kcat 1.7.1, librdkafka 2.0.2', () => kcat(bootstrap, folder)],
    ['java', 'kafka-clients 4.3.1', () => java(bootstrap, folder)],
    ['kafka-python-2', 'kafka-python 2.0.2', python(debianPython, 'kafka_python.py', 'py2')],
    ['kafka-python-3', 'kafka-python 3.0.12', python(venvPython, 'kafka_python.py', 'py3')],
    ['confluent', 'confluent-kafka 2.16.1', python(venvPython, 'confluent.py', 'confluent')],
    ['kafkajs', 'kafkajs 2.2.4', node('kafkajs')],
    ['platformatic', '@platformatic/kafka 2.12.1', node('platformatic')],
  ]
  const covered = new Set<ApiName>()
  for (const [name, client, run] of clients) {
    await run().catch((error: unknown) => console.error(name, error))
    const messages = recorder.take()
    for (const { api } of messages) covered.add(api)
    const recording = { client, broker: 'Apache Kafka 4.3.1', messages }
    const path = join(repositoryRoot, 'test/kafka/golden', `${name}.json`)
    writeFileSync(path, `${JSON.stringify(recording, null, 2)}\n`)
    console.log(name, messages.map(({ api, version }) => `${api} ${version}`).join(', '))
  }
  console.log('of nobody:', apiNames.filter((name) => !covered.has(name)).join(', '))
} finally {
  recorder.close()
  await broker[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true, force: true })
}
