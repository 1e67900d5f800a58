import type { Socket } from 'node:net'
import type { Connection } from './connections.ts'
import type { Desk } from './exchange.ts'
import { splitTarget } from './fields.ts'
import { PlainExchange, type PlainAnswers } from './plain-exchange.ts'
import { isEmptyLine, type PlainReader, type PlainRequest } from './plain-head.ts'
import type { RequestHandler } from './request-handler.ts'

/** What all plain connections share. */
export interface PlainParts {
  readonly desk: Desk
  readonly reader: PlainReader
  readonly handler: RequestHandler
  /** Gives a socket to node:http for good. What lies in its buffer is read first. */
  readonly giveToHttp: (socket: Socket) => void
  readonly lastLines: PlainAnswers['lastLines']
  /** The connection is no longer one of these. */
  readonly left: (connection: PlainConnection) => void
  /** Turns of the watch on idle connections so far. */
  readonly turn: () => number
}

/**
 * A connection that has sent nothing but plain requests to routes so far, one at a time. With the first bytes that are anything else it becomes node:http's, which reads
 * them as if it had been there from the start: nothing is done with bytes before that is decided.
 */
export class PlainConnection implements PlainAnswers {
  readonly connection: Connection
  readonly #parts: PlainParts
  readonly #socket: Socket
  /** Whether a request was read yet. */
  hasAsked = false
  /** Whether a request has no answer yet. */
  isDue = false
  /** The turn in which the connection was opened, or last had a request or an answer. */
  turn: number
  /** Bytes came while an answer was due: they wait in the socket's buffer, which reads no more than its high-water mark. */
  #isHeld = false
  /** The client sends nothing more. */
  #hasEnded = false

  constructor(parts: PlainParts, connection: Connection) {
    this.#parts = parts
    this.connection = connection
    this.#socket = connection.socket
    this.turn = parts.turn()
    connection.socket
      .on('data', this.#receive)
      .on('end', this.#end)
      .on('error', this.#fail)
      .on('close', this.#leave)
  }

  readonly #receive = (chunk: Buffer): void => {
    if (this.connection.broken) return // what comes after the answer that it took too long
    if (isEmptyLine(chunk)) return
    if (this.isDue) {
      this.#isHeld = true
      return this.#putBack(chunk)
    }
    const request = this.#parts.reader.read(chunk)
    if (request !== undefined && this.#take(request)) return
    this.#putBack(chunk)
    this.#giveAway()
  }

  /** False when the request is not one of an event; nothing is done then. */
  #take(request: PlainRequest): boolean {
    const { desk, handler, turn } = this.#parts
    const { path, query } = splitTarget(request.target)
    const route = handler.routes.get.get(path)
    if (route === undefined) return false
    this.isDue = true
    this.hasAsked = true
    this.turn = turn()
    handler.handleGet(new PlainExchange(desk, this.connection, request, this), route, query)
    return true
  }

  /** Into the buffer of the socket, as if it had not been read; and nothing more is read until somebody resumes it. */
  #putBack(chunk: Buffer): void {
    this.#socket.pause()
    this.#socket.unshift(chunk)
  }

  /** The listener that stays takes the connection out of the list of open ones. */
  #giveAway(): void {
    const socket = this.#socket
    socket.off('data', this.#receive).off('end', this.#end).off('error', this.#fail)
    socket.off('close', this.#leave)
    this.#leave()
    this.#parts.giveToHttp(socket)
    socket.resume()
  }

  lastLines(keepAlive: boolean, closes: boolean): string {
    return this.#parts.lastLines(keepAlive, closes)
  }

  answer(bytes: string, keepAlive: boolean): void {
    const socket = this.#socket
    this.isDue = false
    if (socket.destroyed) return
    socket.write(bytes, 'latin1')
    this.turn = this.#parts.turn()
    if (!keepAlive || this.#hasEnded) return this.#close()
    if (this.#isHeld) this.#giveAway()
    else if (socket.writableNeedDrain) {
      // It does not read its answers: no more requests from it until it does.
      socket.pause()
      socket.once('drain', () => socket.resume())
    }
  }

  /** What the kernel has taken it sends before it closes. */
  #close(): void {
    if (this.#socket.writableLength === 0) this.#socket.destroy()
    else this.#socket.destroySoon()
  }

  readonly #end = (): void => {
    this.#hasEnded = true
    if (!this.isDue) this.#socket.end()
  }

  readonly #fail = (): void => {
    this.#socket.destroy()
  }

  readonly #leave = (): void => {
    this.#parts.left(this)
  }
}
