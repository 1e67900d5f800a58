import type { Clock } from '../core/clock.ts'

const months = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']
const printable = /^[ -~]*$/

/**
 * Lines as the write-ups' web API prints them, in local time:
 * `127.0.0.1 - - [26/Jul/2018 22:36:27] "GET /purchase_a_sword HTTP/1.0" 200 -`.
 */
export class AccessLog {
  readonly #clock: Clock
  readonly #write: (line: string) => void
  #second = Number.NaN
  #secondText = ''

  constructor(clock: Clock, write: (line: string) => void) {
    this.#clock = clock
    this.#write = write
  }

  /** `requestLine` is `GET /path HTTP/1.1`, or `-` for a request that could not be read. */
  log(address: string, requestLine: string, status: number): void {
    const nowMs = this.#clock.nowMs()
    const second = Math.floor(nowMs / 1000)
    if (second !== this.#second) {
      this.#second = second
      this.#secondText = formatSecond(nowMs)
    }
    const line = printable.test(requestLine) ? requestLine : escapeBytes(requestLine)
    this.#write(`${address} - - [${this.#secondText}] "${line}" ${status} -`)
  }
}

/** `26/Jul/2018 22:36:27`, local time. */
export function formatSecond(timeMs: number): string {
  const time = new Date(timeMs)
  const two = (value: number) => String(value).padStart(2, '0')
  const date = `${two(time.getDate())}/${months[time.getMonth()] ?? ''}/${time.getFullYear()}`
  return `${date} ${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}`
}

/** Control characters and bytes beyond ASCII as `\x1b`, so that a line stays one line and a terminal stays as it is. */
function escapeBytes(text: string): string {
  return text.replace(
    /[^ -~]/g,
    (character) => `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`,
  )
}
