import { connect, type Socket } from 'node:net'
import { QuestlogError } from '../core/errors.ts'
import type { ApiName, ClientRequestOf, ClientResponseOf } from './apis.ts'
import { FrameReader } from './frame-reader.ts'
import { encodeRequestFrame, readResponse } from './frames.ts'
import { Reader } from './wire.ts'

export interface KafkaClientOptions {
  readonly host: string
  readonly port: number
  readonly clientId: string
  /** A request that has no answer after this time fails; the connection with it. */
  readonly timeoutMs: number
}

interface Waiting {
  readonly api: ApiName
  readonly take: (frame: Buffer) => void
  readonly fail: (error: QuestlogError) => void
}

/** Larger answers are refused. */
const responseBytesMax = 256 * 1024 * 1024

/**
 * One connection to a Kafka broker: ours or any other. Requests may be sent without waiting for the answers of earlier ones (public protocol guide, "Network").
 * NOT_RUNNING when nobody answers, also for what is open when the connection ends.
 */
export class KafkaClient {
  readonly #socket: Socket
  readonly #options: KafkaClientOptions
  readonly #frames = new FrameReader()
  readonly #waiting = new Map<number, Waiting>()
  #correlationId = 0
  #ended: QuestlogError | undefined

  private constructor(socket: Socket, options: KafkaClientOptions) {
    this.#socket = socket
    this.#options = options
    socket.setNoDelay(true)
    socket.on('data', (chunk: Buffer) => this.#read(chunk))
    socket.on('error', (error) => this.#end(error.message))
    socket.on('close', () => this.#end('the connection was closed'))
  }

  static open(options: KafkaClientOptions): Promise<KafkaClient> {
    return new Promise((resolve, reject) => {
      const socket = connect(options.port, options.host)
      const refuse = (why: string) => {
        socket.destroy()
        reject(unreachable(options, why))
      }
      socket.setTimeout(options.timeoutMs, () => refuse('no connection in time'))
      socket.once('error', (error) => refuse(error.message))
      socket.once('connect', () => {
        socket.setTimeout(0)
        socket.removeAllListeners()
        resolve(new KafkaClient(socket, options))
      })
    })
  }

  /** The address of this end. */
  get localHost(): string {
    return this.#socket.localAddress ?? this.#options.host
  }

  /** Sends a request and resolves with its answer. REQUEST_MALFORMED when the answer can't be read. */
  request<N extends ApiName>(
    api: N,
    version: number,
    body: ClientRequestOf<N>,
    timeoutMs = this.#options.timeoutMs,
  ): Promise<ClientResponseOf<N>> {
    if (this.#ended !== undefined) return Promise.reject(this.#ended)
    const id = this.#correlationId++
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#end(`no answer to ${api} in ${timeoutMs} ms`), timeoutMs)
      this.#waiting.set(id, {
        api,
        take: (frame) => {
          clearTimeout(timer)
          resolve(readResponse(api, version, new Reader(frame)))
        },
        fail: (error) => {
          clearTimeout(timer)
          reject(error)
        },
      })
      this.#send(api, version, id, body)
    })
  }

  /** Sends a request that has no answer: Produce with acks 0. */
  send<N extends ApiName>(api: N, version: number, body: ClientRequestOf<N>): void {
    this.#send(api, version, this.#correlationId++, body)
  }

  close(): Promise<void> {
    this.#ended ??= unreachable(this.#options, 'the connection was closed by this side')
    if (this.#socket.closed) return Promise.resolve()
    return new Promise((resolve) => {
      this.#socket.once('close', () => resolve())
      this.#socket.destroy()
    })
  }

  #send<N extends ApiName>(api: N, version: number, id: number, body: ClientRequestOf<N>): void {
    const head = { correlationId: id, clientId: this.#options.clientId }
    const chunks = encodeRequestFrame(api, version, head, body)
    this.#socket.cork()
    for (const chunk of chunks) this.#socket.write(chunk)
    this.#socket.uncork()
  }

  #read(chunk: Buffer): void {
    this.#frames.push(chunk)
    for (let head = this.#frames.head(); head !== undefined; head = this.#frames.head()) {
      if (head.size < 4 || head.size > responseBytesMax)
        return this.#end(`an answer of ${head.size} bytes`)
      this.#frames.begin(head.size)
      if (!this.#take()) return
    }
    this.#take()
  }

  #take(): boolean {
    const frame = this.#frames.take()
    if (frame === undefined) return false
    const id = frame.readInt32BE(0)
    const waiting = this.#waiting.get(id)
    this.#waiting.delete(id)
    try {
      waiting?.take(frame.subarray(4))
    } catch (error) {
      waiting?.fail(
        error instanceof QuestlogError ? error : unreachable(this.#options, String(error)),
      )
    }
    return true
  }

  #end(why: string): void {
    this.#ended ??= unreachable(this.#options, why)
    this.#socket.destroy()
    for (const { fail } of this.#waiting.values()) fail(this.#ended)
    this.#waiting.clear()
  }
}

function unreachable({ host, port }: KafkaClientOptions, why: string): QuestlogError {
  return new QuestlogError(
    'NOT_RUNNING',
    `the Kafka broker at ${host}:${port} does not answer: ${why}`,
    { host, port },
  )
}
