import type { Socket } from 'node:net'
import type { Settings } from '../core/settings.ts'
import type { Connection } from './connections.ts'
import type { Desk } from './exchange.ts'
import { PlainConnection, type PlainParts } from './plain-connection.ts'
import { PlainReader } from './plain-head.ts'
import type { RequestHandler } from './request-handler.ts'

export interface PlainOptions {
  readonly desk: Desk
  readonly settings: Settings
  readonly handler: RequestHandler
  readonly giveToHttp: (socket: Socket) => void
  /** The client of this connection sent no request in time. */
  readonly onTimeout: (error: Error, connection: Connection) => void
}

/** node:http gives a client so much more time than it tells it, so that a request does not cross the end of its connection. */
const keepAliveGraceMs = 1_000
const watchIntervalMsMax = 1_000
/** A limit is kept within this share of it. */
const watchesPerLimit = 4

/** The connections that node:http has not got. */
export class PlainConnections {
  readonly #options: PlainOptions
  readonly #parts: PlainParts
  readonly #open = new Set<PlainConnection>()
  readonly #keepAliveLine: string
  readonly #watchIntervalMs: number
  readonly #stopping = new AbortController()
  /** Runs as long as there are connections, and a little longer. */
  #watch: Promise<void> | undefined
  #turn = 0
  #second = Number.NaN
  #dateLine = ''

  constructor(options: PlainOptions) {
    const { desk, settings, handler, giveToHttp } = options
    const { keepAliveTimeoutMs, requestTimeoutMs } = settings
    this.#options = options
    this.#keepAliveLine = `Connection: keep-alive\r\nKeep-Alive: timeout=${Math.floor(keepAliveTimeoutMs / 1000)}\r\n\r\n`
    const shortestMs = Math.min(keepAliveTimeoutMs, requestTimeoutMs)
    this.#watchIntervalMs = Math.min(watchIntervalMsMax, Math.ceil(shortestMs / watchesPerLimit))
    this.#parts = {
      desk,
      handler,
      giveToHttp,
      reader: new PlainReader(settings),
      lastLines: (keepAlive, closes) => this.#lastLines(keepAlive, closes),
      left: (connection) => this.#open.delete(connection),
      turn: () => this.#turn,
    }
  }

  open(connection: Connection): void {
    this.#open.add(new PlainConnection(this.#parts, connection))
    this.#watch ??= this.#watchIdle()
  }

  /** The clock is asked once for each watch and not once for each request. */
  async #watchIdle(): Promise<void> {
    const { clock } = this.#options.desk
    const { signal } = this.#stopping
    while (this.#open.size > 0 && !signal.aborted) {
      await clock.sleep(this.#watchIntervalMs, signal)
      this.#turn += 1
      for (const connection of this.#open) this.#endIfIdle(connection)
    }
    this.#watch = undefined
  }

  /** As node:http: 408 where no request ever came, nothing where one could follow. A client that does not read its answer has as long as one that does not send. */
  #endIfIdle({ connection, isDue, hasAsked, turn }: PlainConnection): void {
    if (isDue || connection.broken) return // what was told that it took too long has its moment to read that
    const { keepAliveTimeoutMs, requestTimeoutMs } = this.#options.settings
    const idleMs = (this.#turn - turn - 1) * this.#watchIntervalMs
    if (hasAsked) {
      const isReading = connection.socket.writableLength === 0
      const limitMs = isReading ? keepAliveTimeoutMs + keepAliveGraceMs : requestTimeoutMs
      if (idleMs >= limitMs) connection.socket.destroy()
    } else if (idleMs >= requestTimeoutMs)
      this.#options.onTimeout(
        Object.assign(new Error('no request came'), { code: 'ERR_HTTP_REQUEST_TIMEOUT' }),
        connection,
      )
  }

  #lastLines(keepAlive: boolean, closes: boolean): string {
    const nowMs = this.#options.desk.clock.nowMs()
    const second = Math.floor(nowMs / 1000)
    if (second !== this.#second) {
      this.#second = second
      this.#dateLine = `Date: ${new Date(nowMs).toUTCString()}\r\n`
    }
    if (keepAlive) return this.#dateLine + this.#keepAliveLine
    return closes ? `${this.#dateLine}\r\n` : `${this.#dateLine}Connection: close\r\n\r\n`
  }

  /** Once all connections are closed. */
  async close(): Promise<void> {
    this.#stopping.abort()
    await this.#watch
  }
}
