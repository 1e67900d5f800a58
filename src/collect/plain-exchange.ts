import { STATUS_CODES } from 'node:http'
import type { QuestlogError } from '../core/errors.ts'
import type { Connection } from './connections.ts'
import { Exchange, type Desk } from './exchange.ts'
import type { PlainRequest } from './plain-head.ts'

/** Where the answer of a plain request goes. */
export interface PlainAnswers {
  /** The lines of an answer that say when it was given and whether the connection goes on. */
  lastLines(keepAlive: boolean, closes: boolean): string
  /** Sends an answer, one byte a character. */
  answer(bytes: string, keepAlive: boolean): void
}

const onlyAscii = /^[\0-\x7f]*$/

/** A request that was read without node:http. The answer has the lines that node:http would give it, in their order. */
export class PlainExchange extends Exchange {
  readonly #request: PlainRequest
  readonly #answers: PlainAnswers
  #isAnswered = false

  constructor(desk: Desk, connection: Connection, request: PlainRequest, answers: PlainAnswers) {
    super(desk, connection)
    this.#request = request
    this.#answers = answers
  }

  get rawHeaders(): readonly string[] {
    return this.#request.head.rawHeaders
  }

  get headerKey(): string {
    return this.#request.head.headerKey
  }

  get origin(): string | undefined {
    return this.#request.head.origin
  }

  protected get requestLine(): string {
    return this.#request.line
  }

  override refuse(error: QuestlogError, more: readonly string[] = []): void {
    if (!this.#isAnswered) super.refuse(error, more)
  }

  protected write(status: number, headers: string[], body: string, closes: boolean): void {
    this.#isAnswered = true
    let text = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? 'unknown'}\r\n`
    for (let index = 0; index + 1 < headers.length; index += 2)
      text += `${headers[index] ?? ''}: ${headers[index + 1] ?? ''}\r\n`
    const keepAlive = this.#request.keepAlive && !closes
    text += this.#answers.lastLines(keepAlive, closes)
    text += onlyAscii.test(body) ? body : Buffer.from(body).toString('latin1')
    this.#answers.answer(text, keepAlive)
  }
}
