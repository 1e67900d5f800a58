import { connect, type Socket } from 'node:net'

/** Takes the HTTP status of an answer; 0 = none came. */
export type OnAnswer = (status: number) => void

const headerEnd = Buffer.from('\r\n\r\n')
const okStart = Buffer.from('HTTP/1.1 200 ')

/**
 * One HTTP connection with one request at a time, on a bare socket: the client must not be what is measured. Requests are bytes that
 * are sent as they are; answers need a Content-Length. A server that closes after each answer is called anew for the next request.
 */
export class Connection {
  readonly #port: number
  readonly #onAnswer: OnAnswer
  #socket: Socket | undefined
  #waiting = false
  #closed = false
  #held = Buffer.alloc(0)
  /** Lengths of the answer before: the next one is most likely of the same. */
  #headLength = 0
  #bodyLength = 0

  constructor(port: number, onAnswer: OnAnswer) {
    this.#port = port
    this.#onAnswer = onAnswer
  }

  send(...parts: readonly Uint8Array[]): void {
    const socket = (this.#socket ??= this.#connect())
    this.#waiting = true
    socket.cork()
    for (const part of parts) socket.write(part)
    socket.uncork()
  }

  close(): void {
    this.#closed = true
    this.#socket?.destroy()
  }

  #connect(): Socket {
    const socket = connect({
      port: this.#port,
      host: '127.0.0.1',
      noDelay: true,
      onread: {
        buffer: Buffer.allocUnsafe(64 * 1024),
        callback: (length, buffer) => {
          this.#receive(Buffer.from(buffer.buffer, buffer.byteOffset, length))
          return true
        },
      },
    })
    socket.on('error', () => {})
    socket.once('close', () => {
      if (this.#socket !== socket) return
      this.#socket = undefined
      this.#held = Buffer.alloc(0)
      if (this.#waiting) this.#finish(0)
    })
    return socket
  }

  /** `bytes` are valid until the next read. */
  #receive(bytes: Buffer): void {
    if (this.#held.length === 0 && this.#isLikeBefore(bytes)) return this.#finish(200)
    this.#held = Buffer.concat([this.#held, bytes])
    const end = this.#held.indexOf(headerEnd)
    if (end < 0) return
    const head = this.#held.toString('latin1', 0, end + 2)
    const bodyLength = Number(/\r\nContent-Length: *(\d+)\r\n/i.exec(head)?.[1] ?? 0)
    if (this.#held.length < end + headerEnd.length + bodyLength) return
    this.#held = Buffer.alloc(0)
    const status = Number(/^HTTP\/1\.\d (\d{3})/.exec(head)?.[1] ?? 0)
    const keeps = head.startsWith('HTTP/1.1')
      ? !/\r\nConnection: *close\r\n/i.test(head)
      : /\r\nConnection: *keep-alive\r\n/i.test(head)
    if (keeps && status === 200) [this.#headLength, this.#bodyLength] = [end, bodyLength]
    if (!keeps) {
      this.#socket?.destroy()
      this.#socket = undefined
    }
    this.#finish(status)
  }

  /** Offsets and dates change in a header, its length seldom does. */
  #isLikeBefore(bytes: Buffer): boolean {
    const end = this.#headLength
    return (
      end > 0 &&
      bytes.length === end + headerEnd.length + this.#bodyLength &&
      bytes.compare(headerEnd, 0, headerEnd.length, end, end + headerEnd.length) === 0 &&
      bytes.compare(okStart, 0, okStart.length, 0, okStart.length) === 0
    )
  }

  #finish(status: number): void {
    this.#waiting = false
    if (!this.#closed) this.#onAnswer(status)
  }
}
