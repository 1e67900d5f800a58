import { setMaxListeners } from 'node:events'
import type { Socket } from 'node:net'
import type { Clock } from '../core/clock.ts'
import { QuestlogError } from '../core/errors.ts'
import type { Settings } from '../core/settings.ts'
import type { ByteBudget } from './byte-budget.ts'
import { FrameReader, type FrameHead } from './frame-reader.ts'
import type { ClientConnection } from './handler.ts'
import { OutputQueue } from './output-queue.ts'

/** A connection reads no further request while it has this many bytes of requests, or of answers that are not taken. */
const requestBytesHeldMax = 16 * 1024 * 1024
const answerBytesHeldMax = 1024 * 1024
/** Smaller requests do not wait behind larger ones for their memory: a heartbeat must get through. */
const smallRequestBytes = 64 * 1024
/** API key, version and correlation id. */
const requestBytesMin = 8
const produceKey = 0
/** The largest request of every other API. */
const plainRequestBytesMax = 4 * 1024 * 1024

/** Answers one request: the chunks of a whole response with its size; null for no answer. `onSent` takes what is called once the answer has left or never will. */
export type Dispatch = (
  frame: Buffer,
  connection: ClientConnection,
  onSent: (listener: () => void) => void,
) => Promise<readonly Buffer[] | null>

export interface ConnectionOptions {
  readonly id: number
  readonly settings: Settings
  readonly clock: Clock
  /** Memory for requests and for answers that wait. */
  readonly budget: ByteBudget
  readonly dispatch: Dispatch
  readonly traffic: Traffic
  /** Called when the client's bytes end the connection. */
  readonly onProblem: (error: unknown, connection: ClientConnection) => void
}

/** Bytes that went over all connections. */
export interface Traffic {
  bytesIn: number
  bytesOut: number
}

interface Exchange {
  readonly requestBytes: number
  /** Undefined until it is there; null = none. */
  answer: readonly Buffer[] | null | undefined
  answerBytes: number
  readonly onSent: (() => void)[]
}

/**
 * One client: requests are handed out in the order in which they come, without waiting for earlier answers; answers go out in that order.
 * Nothing is read while too many requests are open, their memory is not free, or the client does not take its answers.
 */
export class Connection {
  readonly client: ClientConnection
  readonly #socket: Socket
  readonly #options: ConnectionOptions
  readonly #reader = new FrameReader()
  readonly #output: OutputQueue
  readonly #closed = new AbortController()
  readonly #exchanges: Exchange[] = []
  #requestBytes = 0
  #answerBytes = 0
  #waitsForMemory = false
  #reading = true
  #ended = false
  #activeAtMs: number
  #readSinceMs: number

  constructor(socket: Socket, options: ConnectionOptions) {
    const { id, clock, traffic } = options
    this.#socket = socket
    this.#options = options
    this.#activeAtMs = clock.monotonicMs()
    this.#readSinceMs = this.#activeAtMs
    setMaxListeners(0, this.#closed.signal)
    this.client = {
      id,
      clientHost: plainHost(socket.remoteAddress),
      localHost: plainHost(socket.localAddress),
      localPort: socket.localPort ?? 0,
      closed: this.#closed.signal,
    }
    this.#output = new OutputQueue(socket, clock, (bytes) => {
      traffic.bytesOut += bytes
      this.#pump()
    })
    socket.setNoDelay(true)
    socket.on('data', (chunk) => this.#receive(chunk))
    socket.on('error', () => {}) // 'close' follows
    socket.once('close', () => this.#end())
  }

  /** Requests without an answer that has left. */
  get open(): number {
    return this.#exchanges.length + (this.#output.isEmpty ? 0 : 1)
  }

  /** Reads nothing more, and lets requests that wait for something else end early. */
  stop(): void {
    this.#reading = false
    this.#socket.pause()
    this.#closed.abort()
  }

  destroy(): void {
    this.#socket.destroy()
  }

  /** Why the connection should be closed at this time: null = no reason that needs a word, undefined = it should not. */
  dueToClose(nowMs: number): string | null | undefined {
    const { requestTimeoutMs, brokerIdleTimeoutMs } = this.#options.settings
    if (nowMs - this.#output.stuckSinceMs(nowMs) > requestTimeoutMs)
      return 'a Kafka client did not take its answers'
    const isReading = this.#reader.isPartial && !this.#isFull() && !this.#waitsForMemory
    if (isReading && nowMs - this.#readSinceMs > requestTimeoutMs)
      return 'a Kafka client did not send the rest of its request'
    const isIdle = this.open === 0 && !this.#reader.isPartial
    return isIdle && nowMs - this.#activeAtMs > brokerIdleTimeoutMs ? null : undefined
  }

  #receive(chunk: Buffer): void {
    this.#options.traffic.bytesIn += chunk.length
    this.#activeAtMs = this.#options.clock.monotonicMs()
    if (!this.#reader.isPartial) this.#readSinceMs = this.#activeAtMs
    this.#reader.push(chunk)
    this.#pump()
  }

  /** Takes requests out of what was received, as long as there is room for them. */
  #pump(): void {
    const wasFull = this.#socket.isPaused()
    while (!this.#ended && this.#reading) {
      const frame = this.#reader.take()
      if (frame !== undefined) {
        this.#accept(frame)
        continue
      }
      const head = this.#isFull() || this.#waitsForMemory ? undefined : this.#reader.head()
      if (head === undefined) break
      const problem = this.#check(head)
      if (problem !== undefined) return this.#fail(problem)
      this.#begin(head.size)
    }
    if (this.#ended || !this.#reading) return
    if (this.#isFull() || this.#waitsForMemory) {
      this.#socket.pause()
    } else if (wasFull) {
      this.#readSinceMs = this.#options.clock.monotonicMs()
      this.#socket.resume()
    }
  }

  #isFull(): boolean {
    return (
      this.#exchanges.length >= this.#options.settings.brokerRequestsPerConnectionMax ||
      this.#requestBytes >= requestBytesHeldMax ||
      this.#answerBytes >= answerBytesHeldMax
    )
  }

  #check({ size, apiKey }: FrameHead): QuestlogError | undefined {
    const { brokerRequestBytesMax } = this.#options.settings
    const most =
      apiKey === produceKey
        ? brokerRequestBytesMax
        : Math.min(brokerRequestBytesMax, plainRequestBytesMax)
    if (size >= requestBytesMin && size <= most) return undefined
    return new QuestlogError(
      'REQUEST_MALFORMED',
      `a request can't have ${size} bytes${looksLike(size)}`,
      { size, apiKey, most },
    )
  }

  #begin(size: number): void {
    const { budget } = this.#options
    if (size <= smallRequestBytes && budget.tryTake(size)) return this.#reader.begin(size)
    this.#waitsForMemory = true
    void budget.take(size, size, this.#closed.signal).then((bytes) => {
      this.#waitsForMemory = false
      if (bytes === 0) return
      if (this.#ended || !this.#reading) return budget.release(bytes)
      this.#reader.begin(size)
      this.#readSinceMs = this.#options.clock.monotonicMs()
      this.#pump()
    })
  }

  #accept(frame: Buffer): void {
    const exchange: Exchange = {
      requestBytes: frame.length,
      answer: undefined,
      answerBytes: 0,
      onSent: [],
    }
    this.#exchanges.push(exchange)
    this.#requestBytes += frame.length
    const onSent = (listener: () => void) => void exchange.onSent.push(listener)
    void this.#options.dispatch(frame, this.client, onSent).then(
      (answer) => this.#answered(exchange, answer),
      (error: unknown) => {
        this.#fail(error)
        this.#answered(exchange, null)
      },
    )
  }

  #answered(exchange: Exchange, answer: readonly Buffer[] | null): void {
    const { budget, clock } = this.#options
    this.#requestBytes -= exchange.requestBytes
    budget.release(exchange.requestBytes)
    this.#activeAtMs = clock.monotonicMs()
    if (this.#ended) return runAll(exchange.onSent)
    exchange.answer = answer
    // Who waits for its leaving has accounted for its bytes.
    if (exchange.onSent.length === 0 && answer !== null) {
      exchange.answerBytes = countBytes(answer)
      budget.add(exchange.answerBytes)
    }
    this.#answerBytes += exchange.answerBytes
    this.#send()
    this.#pump()
  }

  /** Hands over the answers that are next. */
  #send(): void {
    for (;;) {
      const [first] = this.#exchanges
      if (first?.answer === undefined) return
      this.#exchanges.shift()
      if (first.answer === null) this.#sent(first)
      else this.#output.add(first.answer, () => this.#sent(first))
    }
  }

  #sent(exchange: Exchange): void {
    this.#answerBytes -= exchange.answerBytes
    this.#options.budget.release(exchange.answerBytes)
    runAll(exchange.onSent)
  }

  #fail(error: unknown): void {
    if (this.#ended) return
    this.#options.onProblem(error, this.client)
    this.#end()
    this.#socket.destroy()
  }

  /** Gives back what it holds; requests that still run give theirs back when they are done. */
  #end(): void {
    if (this.#ended) return
    this.#ended = true
    this.#closed.abort()
    this.#reader.clear((bytes) => this.#options.budget.release(bytes))
    for (const exchange of this.#exchanges.splice(0))
      if (exchange.answer !== undefined) this.#sent(exchange)
    this.#output.clear()
  }
}

function runAll(listeners: readonly (() => void)[]): void {
  for (const listener of listeners) listener()
}

function countBytes(chunks: readonly Buffer[]): number {
  return chunks.reduce((sum, chunk) => sum + chunk.length, 0)
}

/** An address without the prefix of IPv4 on an IPv6 socket. */
function plainHost(address: string | undefined): string {
  return (address ?? '').replace(/^::ffff:/, '')
}

/** What other protocols send first, as a size. */
function looksLike(size: number): string {
  const text = Buffer.alloc(4)
  text.writeInt32BE(size)
  if (/^(?:GET |POST|PUT |HEAD)$/.test(text.toString('latin1')))
    return ': it looks like HTTP, which the collector and SQL speak on other ports'
  return size >>> 16 === 0x1603 ? ': it looks like TLS, which is not spoken here' : ''
}
