import type { Clock } from '../core/clock.ts'
import type { QuestlogError } from '../core/errors.ts'
import type { AccessLog } from './access-log.ts'
import { errorHeaders, formatError } from './answers.ts'
import type { Connection } from './connections.ts'
import type { Cors } from './cors.ts'
import type { RequestHeaders } from './header-fragment.ts'

export const jsonType = 'application/json'

/** What all exchanges share. */
export interface Desk {
  readonly clock: Clock
  readonly cors: Cors
  readonly accessLog: AccessLog | null
  readonly requestTimeoutMs: number
  /** Every answer ends its connection. */
  closing: boolean
  /** Requests that could be read as far as their target. */
  requests: number
  /** Requests that have no answer yet. */
  inFlight: number
  readonly statuses: Map<number, number>
}

/** One request and its one answer, however they travel. */
export abstract class Exchange implements RequestHeaders {
  readonly connection: Connection | undefined
  /** Whether the answer has a line in the access log. */
  logged = true
  protected readonly desk: Desk

  constructor(desk: Desk, connection: Connection | undefined) {
    this.desk = desk
    this.connection = connection
    desk.requests += 1
    desk.inFlight += 1
    if (connection !== undefined) connection.pending += 1
  }

  abstract get rawHeaders(): readonly string[]
  abstract get headerKey(): string
  /** The header `Origin`. */
  abstract get origin(): string | undefined
  /** `GET /path HTTP/1.1`, for the access log. */
  protected abstract get requestLine(): string

  /** Gives the answer to the connection. `headers` is whole but for `Date` and, unless the connection `closes`, `Connection`. */
  protected abstract write(status: number, headers: string[], body: string, closes: boolean): void

  /** Answers. `headers` is name, value, name, value, … and is completed here. */
  send(status: number, headers: string[], body: string): void {
    const closes = this.desk.closing || this.connection?.broken === true
    if (closes) headers.push('Connection', 'close')
    this.write(status, headers, body, closes)
    this.finish(status)
  }

  /** Answers with a body of this type, and with CORS headers. */
  sendText(status: number, type: string, body: string, more: readonly string[] = []): void {
    this.send(status, this.textHeaders(type, body, more), body)
  }

  /** Answers with an error. */
  refuse(error: QuestlogError, more: readonly string[] = []): void {
    this.sendText(error.row.http, jsonType, formatError(error), [...errorHeaders(error), ...more])
  }

  protected textHeaders(type: string, body: string, more: readonly string[]): string[] {
    const { cors } = this.desk
    const headers = [
      'Content-Type',
      type,
      'Content-Length',
      String(Buffer.byteLength(body)),
      'Cache-Control',
      'no-store',
      ...more,
    ]
    if (cors.enabled) headers.push(...cors.answerHeaders(this.origin))
    return headers
  }

  /** Counts the answer. */
  protected finish(status: number): void {
    const { accessLog, statuses } = this.desk
    this.desk.inFlight -= 1
    statuses.set(status, (statuses.get(status) ?? 0) + 1)
    const { connection } = this
    if (connection !== undefined) {
      connection.pending -= 1
      if (connection.broken && connection.pending === 0) connection.socket.destroySoon()
    }
    if (accessLog !== null && this.logged)
      accessLog.log(connection === undefined ? '-' : connection.address, this.requestLine, status)
  }
}
