import type { Socket } from 'node:net'
import type { Clock } from '../core/clock.ts'

/** So many bytes are handed to the socket at once: each time they are taken, the client has shown that it lives. */
const writeBytesMax = 1024 * 1024

const nothing = Buffer.alloc(0)

interface Answer {
  readonly chunks: readonly Buffer[]
  /** The next chunk to write, and the next byte in it. */
  chunk: number
  position: number
  readonly done: () => void
}

/** Answers on their way into a socket, in order and without copies. */
export class OutputQueue {
  readonly #socket: Socket
  readonly #clock: Clock
  readonly #onWritten: (bytes: number) => void
  readonly #answers: Answer[] = []
  /** Answers of which the last bytes are with the socket. */
  #leaving: Answer[] = []
  /** Bytes that the socket was given and has not taken. */
  #writing = 0
  #writeAtMs = 0

  /** `onWritten` is called each time that the socket has taken some bytes. */
  constructor(socket: Socket, clock: Clock, onWritten: (bytes: number) => void) {
    this.#socket = socket
    this.#clock = clock
    this.#onWritten = onWritten
  }

  get isEmpty(): boolean {
    return this.#writing === 0 && this.#answers.length === 0
  }

  /** Since when the socket has not taken what it was given; `nowMs` when it has. */
  stuckSinceMs(nowMs: number): number {
    return this.#writing === 0 ? nowMs : this.#writeAtMs
  }

  /** `done` is called when the socket has taken the last byte, or after `clear`. */
  add(chunks: readonly Buffer[], done: () => void): void {
    this.#answers.push({ chunks, chunk: 0, position: 0, done })
    this.#write()
  }

  /** Forgets what has not left. */
  clear(): void {
    const left = [...this.#leaving, ...this.#answers.splice(0)]
    this.#leaving = []
    this.#writing = 0
    for (const { done } of left) done()
  }

  #write(): void {
    if (this.#writing > 0 || this.#answers.length === 0) return
    this.#writeAtMs = this.#clock.monotonicMs()
    this.#socket.cork()
    while (this.#writing < writeBytesMax && this.#writeNext());
    // Called when the kernel has all of it: not before then may the memory be used again.
    this.#socket.write(nothing, (error) => {
      if (error) return // 'close' follows
      this.#taken()
      this.#write()
    })
    this.#socket.uncork()
  }

  /** Writes a chunk, or a part of a long one. False when there is none. */
  #writeNext(): boolean {
    const [answer] = this.#answers
    if (answer === undefined) return false
    const chunk = answer.chunks[answer.chunk]
    if (chunk === undefined) {
      this.#answers.shift()
      this.#leaving.push(answer)
      return true
    }
    const end = Math.min(chunk.length, answer.position + writeBytesMax - this.#writing)
    const piece = chunk.subarray(answer.position, end)
    this.#writing += piece.length
    this.#socket.write(piece)
    if (end < chunk.length) {
      answer.position = end
    } else {
      answer.chunk += 1
      answer.position = 0
    }
    return true
  }

  #taken(): void {
    const bytes = this.#writing
    const left = this.#leaving
    this.#writing = 0
    this.#leaving = []
    for (const { done } of left) done()
    this.#onWritten(bytes)
  }
}
