import type { Socket } from 'node:net'
import type { QuestlogError } from '../core/errors.ts'

/** What the collector knows about one open connection. */
export interface Connection {
  readonly socket: Socket
  /** The client's address, without the prefix of an IPv4 address on an IPv6 socket; '-' when it is gone, or nobody asks. */
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
  readonly #isAddressed: boolean
  readonly #remove: (this: Socket) => void

  /** `isAddressed`: whether anybody asks for addresses; the kernel is asked for each. */
  constructor(isAddressed: boolean) {
    this.#isAddressed = isAddressed
    const open = this.#open
    this.#remove = function remove() {
      open.delete(this)
    }
  }

  get size(): number {
    return this.#open.size
  }

  add(socket: Socket): Connection {
    const address = this.#isAddressed ? addressOf(socket) : '-'
    const connection = { socket, address, pending: 0, failBody: null, broken: false }
    this.#open.set(socket, connection)
    socket.on('close', this.#remove)
    return connection
  }

  get(socket: Socket): Connection | undefined {
    return this.#open.get(socket)
  }

  /** Destroys those that owe no answer. */
  destroyIdle(): void {
    for (const { socket, pending } of this.#open.values())
      if (pending === 0 && socket.writableLength === 0) socket.destroy()
  }

  destroyAll(): void {
    for (const socket of this.#open.keys()) socket.destroy()
  }
}

function addressOf(socket: Socket): string {
  return (socket.remoteAddress ?? '-').replace(/^::ffff:/, '')
}
