import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import type { Clock } from '../core/clock.ts'
import { asQuestlogError, QuestlogError, systemErrorCode } from '../core/errors.ts'
import type { Logger } from '../core/logger.ts'
import type { Settings } from '../core/settings.ts'
import type { BrokerCounters } from './broker-counters.ts'
import type { ByteBudget } from './byte-budget.ts'
import { Connection, type Dispatch } from './connection.ts'
import type { ClientConnection } from './handler.ts'
import type { RareLog } from './rare-log.ts'

export interface ListenerOptions {
  readonly settings: Settings
  readonly clock: Clock
  readonly logger: Logger
  readonly rareLog: RareLog
  readonly counters: BrokerCounters
  /** Memory for requests and small answers. */
  readonly budget: ByteBudget
  readonly dispatch: Dispatch
}

/** Connections are looked after this often, or more when a limit is shorter. */
const lookIntervalMs = 5_000
const drainPollMs = 10

/** The socket that Kafka clients connect to, and their connections. */
export class Listener {
  readonly #options: ListenerOptions
  readonly #server: Server
  readonly #connections = new Map<Socket, Connection>()
  readonly #stopping = new AbortController()
  #watch: Promise<void> | undefined
  #nextId = 1
  #closed: Promise<void> | undefined

  constructor(options: ListenerOptions) {
    const { settings, counters } = options
    this.#options = options
    this.#server = createServer((socket) => this.#accept(socket))
    this.#server.maxConnections = settings.brokerConnectionsMax
    this.#server.on('drop', () => {
      counters.connectionsDropped += 1
    })
  }

  get connections(): number {
    return this.#connections.size
  }

  /** Resolves to the port (0 = a free one). @throws PORT_BUSY */
  listen(host: string, port: number): Promise<number> {
    const server = this.#server
    return new Promise((resolve, reject) => {
      const refuse = (error: Error) => reject(listenError(error, host, port))
      server.once('error', refuse)
      server.listen(port, host, () => {
        server.off('error', refuse)
        server.on('error', (error) => this.#options.logger.error('the broker failed', { error }))
        this.#watch = this.#watchConnections()
        resolve((server.address() as AddressInfo).port) // a TCP server that listens
      })
    })
  }

  /** Accepts nobody, reads nothing more, waits until what was read is answered (bounded by drainTimeoutMs), then ends all connections. Idempotent. */
  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  async #close(): Promise<void> {
    const { clock, settings } = this.#options
    this.#stopping.abort()
    const stopped = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    for (const connection of this.#connections.values()) connection.stop()
    const untilMs = clock.monotonicMs() + settings.drainTimeoutMs
    while (this.#isBusy() && clock.monotonicMs() < untilMs) await clock.sleep(drainPollMs)
    for (const connection of this.#connections.values()) connection.destroy()
    await stopped
    await this.#watch
  }

  #isBusy(): boolean {
    return [...this.#connections.values()].some(({ open }) => open > 0)
  }

  #accept(socket: Socket): void {
    const { counters, rareLog } = this.#options
    counters.connectionsOpened += 1
    const connection = new Connection(socket, {
      ...this.#options,
      id: this.#nextId++,
      traffic: counters,
      onProblem: (error, client) => {
        counters.connectionsFailed += 1
        rareLog.warn(problemText(error), { ...describeClient(client), error })
      },
    })
    this.#connections.set(socket, connection)
    socket.once('close', () => this.#connections.delete(socket))
  }

  /** Ends connections that rest for too long, in the middle of something or not. */
  async #watchConnections(): Promise<void> {
    const { clock, settings, counters, rareLog } = this.#options
    const shortestMs = Math.min(settings.brokerIdleTimeoutMs, settings.requestTimeoutMs)
    const { signal } = this.#stopping
    while (!signal.aborted) {
      await clock.sleep(Math.min(lookIntervalMs, Math.ceil(shortestMs / 4)), signal)
      const nowMs = clock.monotonicMs()
      for (const connection of this.#connections.values()) {
        const reason = connection.dueToClose(nowMs)
        if (reason === undefined) continue
        if (reason !== null) {
          counters.connectionsFailed += 1
          rareLog.warn(reason, describeClient(connection.client))
        }
        connection.destroy()
      }
    }
  }
}

function problemText(error: unknown): string {
  return error instanceof QuestlogError && error.code === 'REQUEST_MALFORMED'
    ? 'a Kafka client sent what can not be answered'
    : 'a Kafka request failed'
}

function describeClient({ id, clientHost }: ClientConnection) {
  return { connection: id, client: clientHost }
}

function listenError(error: Error, host: string, port: number): QuestlogError {
  if (systemErrorCode(error) !== 'EADDRINUSE') return asQuestlogError(error)
  return new QuestlogError(
    'PORT_BUSY',
    `port ${port} of ${host} is taken`,
    { host, port },
    { cause: error },
  )
}
