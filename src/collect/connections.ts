import type { Socket } from 'node:net'
import type { QuestlogError } from '../core/errors.ts'

/** What the collector knows about one open connection. */
export interface Connection {
  readonly socket: Socket
  /** The client's address, without the prefix of an IPv4 address on an IPv6 socket; '-' when it is gone. */
  readonly address: string
  /** Requests that have no answer yet. */
  pending: number
  /** Ends the reading of a body, with the error that becomes its answer if it has none yet; null when none is read. */
  failBody: ((error: QuestlogError) => void) | null
  /** What follows on this connection is not HTTP: it is closed after the answers that are due. */
  broken: boolean
}

/** The open connections of the server. */
export class Connections {
  readonly #open = new Map<Socket, Connection>()

  get size(): number {
    return this.#open.size
  }

  add(socket: Socket): void {
    const address = (socket.remoteAddress ?? '-').replace(/^::ffff:/, '')
    this.#open.set(socket, { socket, address, pending: 0, failBody: null, broken: false })
    socket.once('close', () => this.#open.delete(socket))
  }

  get(socket: Socket): Connection | undefined {
    return this.#open.get(socket)
  }

  /** Destroys those that owe no answer. */
  destroyIdle(): void {
    for (const { socket, pending } of this.#open.values())
      if (pending === 0 && socket.writableLength === 0) socket.destroy()
  }
}
