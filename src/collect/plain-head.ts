import { headerKeyOf, type RequestHeaders } from './header-fragment.ts'
import { TextCache } from './text-cache.ts'

/** A request that needs no more of HTTP than this: a GET without a body, alone in what arrived. */
export interface PlainRequest {
  /** `GET /path?query HTTP/1.1` */
  readonly line: string
  readonly target: string
  readonly head: PlainHead
  /** Whether the client goes on with the connection after the answer. */
  readonly keepAlive: boolean
}

/** The header lines of a plain request. The same client sends the same again and again, so they are read once. */
export interface PlainHead extends RequestHeaders {
  readonly origin: string | undefined
  /** What `Connection` says. */
  readonly connection: 'close' | 'keep-alive' | undefined
  readonly hasHost: boolean
}

export interface PlainLimits {
  readonly headerBytesMax: number
  readonly urlBytesMax: number
}

/** The longest part of a request line beside the target. */
const lineBytes = 'GET  HTTP/1.1\r\n'.length
const letterG = 0x47
const lineFeed = 0x0a
const carriageReturn = 0x0d
/** RFC 9112, 3.2.1, origin-form: of what is visible in ASCII all but `#`, of which llhttp makes more than a character. */
const plainTarget = /^\/[!-"$-~]*$/
/** RFC 9112, 5: names are tokens without white space before the colon, values are visible ASCII, spaces and tabs; no line goes on in the next. */
const plainLines = /^(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t -~]*\r\n)*\r\n$/
/** Headers that change how a message or its connection is read. */
const notPlain: ReadonlySet<string> = new Set([
  'content-length',
  'transfer-encoding',
  'trailer',
  'te',
  'expect',
  'upgrade',
  'proxy-connection',
])

/**
 * Reads what arrived on a connection when it is one plain request and nothing else. The grammar is narrower than RFC 9112 and than what llhttp takes:
 * for whatever could be read in another way there is node:http.
 */
export class PlainReader {
  readonly #limits: PlainLimits
  /** Null = known to be not plain. */
  readonly #heads = new TextCache<PlainHead | null>()

  constructor(limits: PlainLimits) {
    this.#limits = limits
  }

  /** Undefined when the bytes are anything but one plain request, or one with an empty line before or behind it. */
  read(chunk: Buffer): PlainRequest | undefined {
    const { headerBytesMax, urlBytesMax } = this.#limits
    if (chunk[0] !== letterG && chunk[0] !== carriageReturn) return undefined
    if (chunk[chunk.length - 1] !== lineFeed) return undefined
    if (chunk.length > lineBytes + urlBytesMax + headerBytesMax) return undefined
    const text = withoutEmptyLines(chunk.toString('latin1'))
    const lineEnd = text.indexOf('\r\n')
    const line = text.slice(0, lineEnd)
    const isNew = line.endsWith(' HTTP/1.1')
    if (!line.startsWith('GET ') || (!isNew && !line.endsWith(' HTTP/1.0'))) return undefined
    const target = line.slice('GET '.length, -' HTTP/1.1'.length)
    if (target.length > urlBytesMax || !plainTarget.test(target)) return undefined
    if (text.length - lineEnd - 2 > headerBytesMax) return undefined
    const head = this.#head(text.slice(lineEnd + 2))
    if (head === null || (isNew && !head.hasHost)) return undefined
    const { connection } = head
    const keepAlive = connection === undefined ? isNew : connection === 'keep-alive'
    return { line, target, head, keepAlive }
  }

  #head(lines: string): PlainHead | null {
    const known = this.#heads.get(lines)
    if (known !== undefined) return known
    // A text of its own: a slice would hold on to the whole request.
    const own = Buffer.from(lines, 'latin1').toString('latin1')
    const head = readHead(own)
    this.#heads.put(own, head, 4 * own.length + 48 * (head?.rawHeaders.length ?? 0))
    return head
  }
}

/** RFC 9112, 2.2: a server passes over an empty line where it expects a request line. Old clients send one behind each request. */
export function isEmptyLine(chunk: Buffer): boolean {
  return chunk.length === 2 && chunk[0] === carriageReturn && chunk[1] === lineFeed
}

/** Without such a line before a request, and without one behind the one that ends it. */
function withoutEmptyLines(text: string): string {
  const start = text.startsWith('\r\n') ? 2 : 0
  return text.slice(start, text.endsWith('\r\n\r\n\r\n') ? -2 : undefined)
}

/** Reads the header lines with the empty one at their end; null when they are not plain. */
function readHead(lines: string): PlainHead | null {
  if (!plainLines.test(lines)) return null
  const rawHeaders: string[] = []
  const single = new Map<string, string>()
  for (const line of lines.slice(0, -'\r\n'.length).split('\r\n').slice(0, -1)) {
    const colon = line.indexOf(':')
    const name = line.slice(0, colon)
    const value = line.slice(colon + 1).trim() // of spaces and tabs, there is no other white space
    rawHeaders.push(name, value)
    const lower = name.toLowerCase()
    if (notPlain.has(lower)) return null
    if (lower !== 'host' && lower !== 'connection' && lower !== 'origin') continue
    if (single.has(lower)) return null
    single.set(lower, value)
  }
  const connection = single.get('connection')?.toLowerCase()
  if (connection !== undefined && connection !== 'close' && connection !== 'keep-alive') return null
  return {
    rawHeaders,
    headerKey: headerKeyOf(rawHeaders),
    origin: single.get('origin'),
    connection,
    hasHost: single.has('host'),
  }
}
