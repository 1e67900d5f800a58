import type { ServerResponse } from 'node:http'

/** Lines that wait are sent when there are so many characters of them. */
const waitingLengthMax = 64 * 1024

/**
 * The lines of an answer, on their way to the client. Those that are there in the same turn of the event loop leave together: of a small statement they are the whole answer,
 * which then has a length, is one write, and costs a part of what its lines would cost one by one.
 */
export class AnswerLines {
  readonly #response: ServerResponse
  #waiting = ''
  #flushing: NodeJS.Immediate | undefined

  /** The headers of `response` are set, and not sent. */
  constructor(response: ServerResponse) {
    this.#response = response
  }

  add(line: string): void {
    this.#waiting += `${line}\n`
    if (this.#waiting.length >= waitingLengthMax) this.flush()
    else this.#flushing ??= setImmediate(() => this.flush())
  }

  /** Sends what waits. */
  flush(): void {
    this.#stopFlushing()
    if (this.#waiting !== '') this.#response.write(this.#waiting)
    this.#waiting = ''
  }

  /** Sends what waits, and ends the answer. */
  end(): void {
    this.#stopFlushing()
    this.#response.end(this.#waiting)
    this.#waiting = ''
  }

  #stopFlushing(): void {
    clearImmediate(this.#flushing)
    this.#flushing = undefined
  }
}
