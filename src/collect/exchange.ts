import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Clock } from '../core/clock.ts'
import type { QuestlogError } from '../core/errors.ts'
import type { AccessLog } from './access-log.ts'
import { errorHeaders, formatError } from './answers.ts'
import type { Connection } from './connections.ts'
import type { Cors } from './cors.ts'

export const jsonType = 'application/json'
/** An answer that comes before the end of a body: this long the rest is read and dropped, so that the client gets to see the answer. */
export const lingerMs = 2_000
/** An answer of this size may meet a client that does not read it. */
const largeAnswerBytes = 64 * 1024

/** What all exchanges share. */
export interface Desk {
  readonly clock: Clock
  readonly cors: Cors
  readonly accessLog: AccessLog | null
  readonly requestTimeoutMs: number
  /** Every answer ends its connection. */
  closing: boolean
  /** Requests that have no answer yet. */
  inFlight: number
  readonly statuses: Map<number, number>
}

/** One request and its one answer. */
export class Exchange {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly connection: Connection | undefined
  /** The client waits for `100 Continue` before it sends the body. */
  readonly expectsContinue: boolean
  /** Whether the answer has a line in the access log. */
  logged = true
  readonly #desk: Desk

  constructor(
    desk: Desk,
    request: IncomingMessage,
    response: ServerResponse,
    connection: Connection | undefined,
    expectsContinue: boolean,
  ) {
    this.#desk = desk
    this.request = request
    this.response = response
    this.connection = connection
    this.expectsContinue = expectsContinue
    desk.inFlight += 1
    if (connection !== undefined) connection.pending += 1
  }

  /** Answers. `headers` is name, value, name, value, … and is completed here. */
  send(status: number, headers: string[], body: string): void {
    if (this.#desk.closing || this.connection?.broken === true) headers.push('Connection', 'close')
    this.response.writeHead(status, headers)
    this.response.end(body)
    if (body.length > largeAnswerBytes)
      this.connection?.socket.setTimeout(this.#desk.requestTimeoutMs)
    this.#finish(status)
  }

  /** Answers with a body of this type, and with CORS headers. */
  sendText(status: number, type: string, body: string, more: readonly string[] = []): void {
    this.send(status, this.#headers(type, body, more), body)
  }

  /** Answers with an error. */
  refuse(error: QuestlogError, more: readonly string[] = []): void {
    if (this.response.headersSent) return
    const body = formatError(error)
    const headers = [...errorHeaders(error), ...more]
    if (this.request.complete || !this.hasBody)
      return this.sendText(error.row.http, jsonType, body, headers)
    // A body is on its way. A small one is dropped by node:http after the answer; else the connection is given up.
    if (this.#isSmall()) return this.sendText(error.row.http, jsonType, body, headers)
    this.response.writeHead(
      error.row.http,
      this.#headers(jsonType, body, [...headers, 'Connection', 'close']),
    )
    this.response.write(body)
    this.#linger(error.row.http)
  }

  get hasBody(): boolean {
    const { headers } = this.request
    return headers['content-length'] !== undefined || headers['transfer-encoding'] !== undefined
  }

  #isSmall(): boolean {
    const length = this.request.headers['content-length']
    return !this.expectsContinue && length !== undefined && Number(length) <= largeAnswerBytes
  }

  #headers(type: string, body: string, more: readonly string[]): string[] {
    const { cors } = this.#desk
    const headers = [
      'Content-Type',
      type,
      'Content-Length',
      String(Buffer.byteLength(body)),
      'Cache-Control',
      'no-store',
      ...more,
    ]
    if (cors.enabled) headers.push(...cors.answerHeaders(this.request.headers.origin))
    return headers
  }

  /** Reads on for a moment: a connection that is closed with unread bytes is reset, and the answer may be lost with it. */
  #linger(status: number): void {
    const { request, response, connection } = this
    const over = new AbortController()
    const end = () => over.abort()
    request.once('end', end).once('close', end).resume()
    if (connection !== undefined) connection.failBody = end
    void this.#desk.clock.sleep(lingerMs, over.signal).then(() => {
      request.off('end', end).off('close', end)
      if (connection !== undefined) connection.failBody = null
      response.end()
      this.#finish(status)
    })
  }

  #finish(status: number): void {
    const { accessLog, statuses } = this.#desk
    this.#desk.inFlight -= 1
    statuses.set(status, (statuses.get(status) ?? 0) + 1)
    const { connection, request } = this
    if (connection !== undefined) {
      connection.pending -= 1
      if (connection.broken && connection.pending === 0) connection.socket.destroySoon()
    }
    if (accessLog !== null && this.logged)
      accessLog.log(
        connection === undefined ? '-' : connection.address,
        `${request.method ?? '-'} ${request.url ?? '-'} HTTP/${request.httpVersion}`,
        status,
      )
  }
}
