import { QuestlogError } from '../core/errors.ts'
import { decodeHeaderValue } from './fields.ts'
import { NameSet } from './name-set.ts'
import type { PreparedEvent } from './prepared.ts'
import { TextCache } from './text-cache.ts'

/** Secrets: they never become part of an event. */
const secretHeaders = ['cookie', 'authorization', 'proxy-authorization', 'questlog-write-key']
/** Headers that describe the body of a POST and its way here, not the event. */
const bodyHeaders = [
  'content-type',
  'content-length',
  'content-encoding',
  'transfer-encoding',
  'connection',
]
const getDropped: ReadonlySet<string> = new Set(secretHeaders)
const postDropped: ReadonlySet<string> = new Set([...secretHeaders, ...bodyHeaders])

/** What the headers of a request mean to the events of one route. Made once for each distinct set of headers. */
export interface HeaderFragment {
  /** The headers as JSON members, each with a comma before it: `,"Host":"user1.comcast.com"`. */
  readonly text: string
  /** Names in `text`. */
  readonly names: NameSet
  /** Values by canonical name. */
  readonly values: ReadonlyMap<string, string>
  readonly origin: string | undefined
  readonly authorization: string | undefined
  readonly writeKey: string | undefined
  /** Why the request is refused for its headers. */
  readonly problem: QuestlogError | null
  /** The event of a GET without parameters: it is the same each time. */
  bare: PreparedEvent | undefined
}

export interface HeaderLimits {
  readonly headerCountMax: number
  readonly headerBytesMax: number
}

export interface FragmentOptions {
  /** Whether the headers become part of the event. */
  readonly merge: boolean
  readonly method: 'GET' | 'POST'
  /** Names of the server's own fields: a header with such a name is dropped. */
  readonly serverNames: NameSet
  readonly limits: HeaderLimits
}

/** Reads `rawHeaders` (name, value, name, value, … as node:http gives them). */
export function readHeaders(
  rawHeaders: readonly string[],
  options: FragmentOptions,
): HeaderFragment {
  const problem = findProblem(rawHeaders, options.limits)
  const all = new Map<string, string>()
  for (let index = 0; index + 1 < rawHeaders.length && problem === null; index += 2) {
    const name = (rawHeaders[index] ?? '').toLowerCase()
    const value = decodeHeaderValue(rawHeaders[index + 1] ?? '')
    const before = all.get(name)
    all.set(name, before === undefined ? value : `${before}, ${value}`)
  }
  const values = new Map<string, string>()
  const dropped = options.method === 'GET' ? getDropped : postDropped
  if (options.merge)
    for (const [name, value] of all)
      if (!dropped.has(name) && !options.serverNames.has(name))
        values.set(canonicalName(name), value)
  let text = ''
  for (const [name, value] of values) text += `,${JSON.stringify(name)}:${JSON.stringify(value)}`
  return {
    text,
    names: new NameSet(values.keys()),
    values,
    origin: all.get('origin'),
    authorization: all.get('authorization'),
    writeKey: all.get('questlog-write-key'),
    problem,
    bare: undefined,
  }
}

/** `user-agent` → `User-Agent`: each part between dashes starts with a capital. */
export function canonicalName(name: string): string {
  return name
    .split('-')
    .map((part) => part.charAt(0).toUpperCase() + part.slice(1).toLowerCase())
    .join('-')
}

function findProblem(rawHeaders: readonly string[], limits: HeaderLimits): QuestlogError | null {
  const count = rawHeaders.length / 2
  if (count > limits.headerCountMax)
    return new QuestlogError(
      'REQUEST_TOO_LARGE',
      `the request has ${count} headers, headerCountMax is ${limits.headerCountMax}`,
      { count, headerCountMax: limits.headerCountMax },
    )
  let bytes = 0
  for (const part of rawHeaders) bytes += part.length + 2 // ": " after a name, CR LF after a value
  if (bytes <= limits.headerBytesMax) return null
  return new QuestlogError(
    'REQUEST_TOO_LARGE',
    `the headers of the request have ${bytes} bytes, headerBytesMax is ${limits.headerBytesMax}`,
    { bytes, headerBytesMax: limits.headerBytesMax },
  )
}

/** The headers of a request, as they came. */
export interface RequestHeaders {
  /** Name, value, name, value, … as node:http gives them. */
  readonly rawHeaders: readonly string[]
  /** All of them as one text: `headerKeyOf` the list. */
  readonly headerKey: string
}

/** Two lists are the same when their keys are: no header holds a line feed. */
export function headerKeyOf(rawHeaders: readonly string[]): string {
  return rawHeaders.join('\n')
}

/** The fragments of one route by the exact headers. Clients repeat their headers, so nearly every look-up hits. */
export class FragmentCache {
  readonly #options: FragmentOptions
  readonly #fragments = new TextCache<HeaderFragment>()

  constructor(options: FragmentOptions) {
    this.#options = options
  }

  get({ rawHeaders, headerKey }: RequestHeaders): HeaderFragment {
    const known = this.#fragments.get(headerKey)
    if (known !== undefined) return known
    const fragment = readHeaders(rawHeaders, this.#options)
    // The key, the text and the bare event are each about as long as the headers.
    this.#fragments.put(headerKey, fragment, 4 * headerKey.length)
    return fragment
  }
}
