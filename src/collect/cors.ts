const none: readonly string[] = []
const allowedHeaders = 'Content-Type, Content-Encoding, Authorization, Questlog-Write-Key'
const preflightSeconds = '600'

/** Which pages of other origins may send events and read the answers (WHATWG fetch standard, "CORS protocol"). */
export class Cors {
  readonly #origins: ReadonlySet<string>

  constructor(origins: readonly string[]) {
    this.#origins = new Set(origins)
  }

  /** False when no origin is set: then no answer carries a header of this kind. */
  get enabled(): boolean {
    return this.#origins.size > 0
  }

  /** Header lines of an answer to a request from `origin`. */
  answerHeaders(origin: string | undefined): readonly string[] {
    if (!this.enabled) return none
    if (origin === undefined) return ['Vary', 'Origin']
    const named = this.#origins.has(origin)
    if (!named && !this.#origins.has('*')) return ['Vary', 'Origin']
    const headers = [
      'Vary',
      'Origin',
      'Access-Control-Allow-Origin',
      named ? origin : '*',
      'Access-Control-Expose-Headers',
      'Questlog-Receipt',
    ]
    // sendBeacon with a JSON body asks for credentials; only an origin that is named gets them.
    if (named) headers.push('Access-Control-Allow-Credentials', 'true')
    return headers
  }

  /** Header lines of an answer to OPTIONS. */
  preflightHeaders(origin: string | undefined, allow: string): readonly string[] {
    const headers = this.answerHeaders(origin)
    if (!headers.includes('Access-Control-Allow-Origin')) return headers
    return [
      ...headers,
      'Access-Control-Allow-Methods',
      allow,
      'Access-Control-Allow-Headers',
      allowedHeaders,
      'Access-Control-Max-Age',
      preflightSeconds,
    ]
  }
}
