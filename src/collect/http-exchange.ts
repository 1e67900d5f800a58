import type { IncomingMessage, ServerResponse } from 'node:http'
import type { QuestlogError } from '../core/errors.ts'
import { errorHeaders, formatError } from './answers.ts'
import type { Connection } from './connections.ts'
import { Exchange, jsonType, type Desk } from './exchange.ts'
import { headerKeyOf } from './header-fragment.ts'

/** An answer that comes before the end of a body: this long the rest is read and dropped, so that the client gets to see the answer. */
export const lingerMs = 2_000
/** An answer of this size may meet a client that does not read it. */
const largeAnswerBytes = 64 * 1024

/** A request that node:http has read. */
export class HttpExchange extends Exchange {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  /** The client waits for `100 Continue` before it sends the body. */
  readonly expectsContinue: boolean

  constructor(
    desk: Desk,
    request: IncomingMessage,
    response: ServerResponse,
    connection: Connection | undefined,
    expectsContinue: boolean,
  ) {
    super(desk, connection)
    this.request = request
    this.response = response
    this.expectsContinue = expectsContinue
  }

  get rawHeaders(): readonly string[] {
    return this.request.rawHeaders
  }

  get headerKey(): string {
    return headerKeyOf(this.request.rawHeaders)
  }

  get origin(): string | undefined {
    return this.request.headers.origin
  }

  protected get requestLine(): string {
    const { method, url, httpVersion } = this.request
    return `${method ?? '-'} ${url ?? '-'} HTTP/${httpVersion}`
  }

  protected write(status: number, headers: string[], body: string): void {
    this.response.writeHead(status, headers)
    this.response.end(body)
    this.#limitReading(body)
  }

  /** A client that does not read has a while. What waits for it may be the answer of a request before, of the time before the connection was node:http's. */
  #limitReading(body: string): void {
    const socket = this.connection?.socket
    if (socket !== undefined && (body.length > largeAnswerBytes || socket.writableNeedDrain))
      socket.setTimeout(this.desk.requestTimeoutMs)
  }

  override refuse(error: QuestlogError, more: readonly string[] = []): void {
    if (this.response.headersSent) return
    // A body is on its way. A small one is dropped by node:http after the answer; else the connection is given up.
    if (this.request.complete || !this.hasBody || this.#isSmall()) return super.refuse(error, more)
    const body = formatError(error)
    const headers = [...errorHeaders(error), ...more, 'Connection', 'close']
    this.response.writeHead(error.row.http, this.textHeaders(jsonType, body, headers))
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

  /** Reads on for a moment: a connection that is closed with unread bytes is reset, and the answer may be lost with it. */
  #linger(status: number): void {
    const { request, response, connection } = this
    const over = new AbortController()
    const end = () => over.abort()
    request.once('end', end).once('close', end).resume()
    if (connection !== undefined) connection.failBody = end
    void this.desk.clock.sleep(lingerMs, over.signal).then(() => {
      request.off('end', end).off('close', end)
      if (connection !== undefined) connection.failBody = null
      response.end()
      this.#limitReading('')
      this.finish(status)
    })
  }
}
