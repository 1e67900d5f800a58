import { isAscii, isUtf8 } from 'node:buffer'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { QuestlogError } from '../core/errors.ts'
import { cleanEvent, type CleanEvent } from './clean-event.ts'
import { isJsonSpace, JsonScanner } from './json-scan.ts'
import { ObjectShape } from './object-shape.ts'
import type { PreparedEvent } from './prepared.ts'

/** What became of one event of a body: ready for the log, or refused. */
export type Outcome = PreparedEvent | QuestlogError

/** How a body is read; `detect` looks at its first byte (text/plain beacons, no Content-Type). */
export type BodyFormat = 'json' | 'ndjson' | 'form' | 'detect'

export interface BodyEvents {
  /** The body was one JSON object, not a list of events. */
  readonly single: boolean
  readonly outcomes: readonly Outcome[]
}

export interface BodyEventsLimits {
  readonly jsonDepthMax: number
  readonly jsonValuesMax: number
  readonly eventsPerRequestMax: number
  /** Bytes of an event as sent. */
  readonly eventBytesMax: number
}

/** Makes an event of one JSON object; `single` says that the body is this object alone. May throw a QuestlogError. */
export type Prepare = (clean: CleanEvent, single: boolean) => PreparedEvent

/** Makes an event of the bytes of one of several JSON objects as they are; undefined when it has to be parsed. May throw a QuestlogError. */
export type PrepareWhole = (bytes: Buffer, shape: ObjectShape) => PreparedEvent | undefined

const formats: Readonly<Record<string, BodyFormat>> = {
  '': 'detect',
  'text/plain': 'detect',
  'application/json': 'json',
  'application/x-ndjson': 'ndjson',
  'application/ndjson': 'ndjson',
  'application/jsonl': 'ndjson',
  'application/x-www-form-urlencoded': 'form',
}
/** After so many bytes or lines or values other requests have their turn. */
const sliceBytes = 256 * 1024
const sliceEvents = 500
/** More white space than this between events is taken for no JSON. */
const spaceBytesMax = 1024 * 1024
const lineFeed = 0x0a
const comma = 0x2c
const openBracket = 0x5b
const closeBracket = 0x5d
const openBrace = 0x7b

/** @throws MEDIA_TYPE_UNSUPPORTED */
export function readFormat(contentType: string | undefined): BodyFormat {
  const name = (contentType ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? ''
  const format = Object.hasOwn(formats, name) ? formats[name] : undefined
  if (format !== undefined) return format
  throw new QuestlogError(
    'MEDIA_TYPE_UNSUPPORTED',
    `Content-Type ${JSON.stringify(name.slice(0, 60))} is not supported`,
  )
}

/** A form never starts so, JSON does: `curl -d '{…}'` sends JSON with the Content-Type of a form. */
export function looksLikeJson(body: Buffer): boolean {
  const first = body[skipSpace(body, 0, body.length)]
  return first === openBrace || first === openBracket
}

/**
 * Reads the events of a JSON or NDJSON body, in slices between which other requests have their turn. A line of NDJSON that is not JSON is refused alone; a JSON array that is not JSON is refused as a whole.
 * @throws EVENT_MALFORMED, EVENT_TOO_LARGE, REQUEST_TOO_LARGE
 */
export async function readEvents(
  body: Buffer,
  format: Exclude<BodyFormat, 'form'>,
  limits: BodyEventsLimits,
  prepare: Prepare,
  prepareWhole?: PrepareWhole,
): Promise<BodyEvents> {
  // Each pass over a large body has a turn of its own.
  const pause = async () => (body.length > sliceBytes ? nextTurn() : undefined)
  await pause()
  const reader = new EventReader(body, limits, prepare, prepareWhole)
  await pause()
  const actual = format === 'detect' ? reader.detect() : format
  await pause()
  return actual === 'json' ? reader.readJson() : reader.readLines()
}

/** One body. Positions are bytes; the text is the same bytes one a character, which is the body's text when it is ASCII. */
class EventReader {
  readonly #body: Buffer
  readonly #start: number
  readonly #end: number
  readonly #text: string
  readonly #isAscii: boolean
  readonly #isUtf8: boolean
  readonly #scanner: JsonScanner
  readonly #shape: ObjectShape
  readonly #prepare: Prepare
  readonly #prepareWhole: PrepareWhole | undefined
  readonly #limits: BodyEventsLimits
  readonly #outcomes: Outcome[] = []
  #pauseAt = sliceBytes
  #sincePause = 0

  constructor(
    body: Buffer,
    limits: BodyEventsLimits,
    prepare: Prepare,
    prepareWhole: PrepareWhole | undefined,
  ) {
    this.#body = body
    const hasByteOrderMark = body[0] === 0xef && body[1] === 0xbb && body[2] === 0xbf
    this.#limits = limits
    this.#start = this.#skip(hasByteOrderMark ? 3 : 0, body.length)
    this.#end = skipSpaceBack(body, Math.max(this.#start, body.length - spaceBytesMax), body.length)
    this.#isAscii = isAscii(body)
    this.#isUtf8 = this.#isAscii || isUtf8(body)
    this.#text = this.#isAscii ? body.toString('latin1') : ''
    this.#scanner = new JsonScanner(limits.jsonDepthMax)
    this.#shape = new ObjectShape(limits)
    this.#prepare = prepare
    this.#prepareWhole = prepareWhole
  }

  /** More than one value is NDJSON. */
  detect(): 'json' | 'ndjson' {
    if (this.#body[this.#start] === openBracket) return 'json'
    const valueEnd = this.#scan(this.#start, this.#end)
    const next = this.#skip(valueEnd, this.#end)
    return next < this.#end && this.#body[next] === openBrace ? 'ndjson' : 'json'
  }

  async readJson(): Promise<BodyEvents> {
    if (!this.#isUtf8) throw malformed('the body is not valid UTF-8')
    const single = this.#body[this.#start] !== openBracket
    try {
      if (single) {
        if (this.#end - this.#start > this.#limits.eventBytesMax) throw this.#tooLarge()
        this.#scan(this.#start, this.#end)
        this.#take(this.#start, this.#end, true)
      } else await this.#readArray()
    } catch (error) {
      if (error instanceof SyntaxError) throw malformed('the body is not valid JSON', error)
      throw error
    }
    return { single, outcomes: this.#outcomes }
  }

  async readLines(): Promise<BodyEvents> {
    for (let position = this.#start; position < this.#end;) {
      if (this.#isLong(position)) await this.#pause(position)
      const found = this.#body.indexOf(lineFeed, position)
      const lineEnd = found < 0 || found > this.#end ? this.#end : found
      if (lineEnd - position > this.#limits.eventBytesMax) this.#add(this.#tooLarge())
      else {
        const start = skipSpace(this.#body, position, lineEnd)
        const end = skipSpaceBack(this.#body, start, lineEnd)
        if (start < end) this.#takeLine(start, end)
      }
      position = lineEnd + 1
    }
    return { single: false, outcomes: this.#outcomes }
  }

  async #readArray(): Promise<void> {
    const body = this.#body
    const end = this.#end
    let position = this.#skip(this.#start + 1, end)
    if (body[position] === closeBracket && position === end - 1) return
    for (;;) {
      if (this.#isLong(position)) await this.#pause(position)
      const valueEnd = this.#scan(position, end)
      if (valueEnd - position > this.#limits.eventBytesMax) throw this.#tooLarge()
      if (valueEnd === position) throw new SyntaxError(`a value is missing at byte ${position}`)
      if (!this.#takeWhole(position, valueEnd)) this.#take(position, valueEnd, false)
      const next = this.#skip(valueEnd, end)
      if (body[next] === closeBracket && next === end - 1) return
      if (body[next] !== comma || next >= end)
        throw new SyntaxError(`a comma or the end of the array is missing at byte ${next}`)
      position = this.#skip(next + 1, end)
    }
  }

  #takeLine(start: number, end: number): void {
    if (!this.#isUtf8 && !isUtf8(this.#body.subarray(start, end)))
      return this.#add(malformed('the line is not valid UTF-8'))
    if (this.#takeWhole(start, end)) return
    this.#scan(start, end)
    try {
      this.#take(start, end, false)
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error
      this.#add(malformed('the line is not valid JSON', error))
    }
  }

  /** Takes an event that can be kept as it is, without parsing it. False: it is not such an event. */
  #takeWhole(start: number, end: number): boolean {
    if (this.#prepareWhole === undefined) return false
    const bytes = this.#body.subarray(start, end)
    if (!this.#shape.read(bytes, 0, bytes.length)) return false
    let outcome: Outcome | undefined
    try {
      outcome = this.#prepareWhole(bytes, this.#shape)
    } catch (error) {
      if (!(error instanceof QuestlogError)) throw error
      outcome = error
    }
    if (outcome === undefined) return false
    this.#add(outcome)
    return true
  }

  /** Takes the event that was just scanned. A SyntaxError goes to the caller, who knows how much it spoils. */
  #take(start: number, end: number, single: boolean): void {
    const text = this.#isAscii
      ? this.#text.slice(start, end)
      : this.#body.toString('utf8', start, end)
    let outcome: Outcome
    try {
      const bytes = this.#body.subarray(start, end)
      const clean = cleanEvent(text, bytes, this.#scanner, this.#limits.jsonValuesMax)
      outcome = this.#prepare(clean, single)
    } catch (error) {
      if (!(error instanceof QuestlogError)) throw error
      outcome = error
    }
    this.#add(outcome)
  }

  /** The end of the value at `start`; of one that is too large, a place beyond what is allowed. */
  #scan(start: number, end: number): number {
    const most = start + this.#limits.eventBytesMax + 1
    return this.#scanner.scan(this.#body, start, Math.min(end, most))
  }

  #skip(from: number, end: number): number {
    return skipSpace(this.#body, from, Math.min(end, from + spaceBytesMax))
  }

  /** Whether it is others' turn; called once a line or value. */
  #isLong(position: number): boolean {
    this.#sincePause += 1
    return this.#sincePause > sliceEvents || position > this.#pauseAt
  }

  async #pause(position: number): Promise<void> {
    this.#sincePause = 0
    this.#pauseAt = position + sliceBytes
    await nextTurn()
  }

  #tooLarge(): QuestlogError {
    return eventTooLarge(this.#limits.eventBytesMax)
  }

  #add(outcome: Outcome): void {
    const { eventsPerRequestMax } = this.#limits
    if (this.#outcomes.length >= eventsPerRequestMax)
      throw new QuestlogError(
        'REQUEST_TOO_LARGE',
        `the request has more than eventsPerRequestMax, ${eventsPerRequestMax}, events`,
        { eventsPerRequestMax },
      )
    this.#outcomes.push(outcome)
  }
}

/** EVENT_TOO_LARGE for an event that is not even looked at. */
export function eventTooLarge(eventBytesMax: number): QuestlogError {
  return new QuestlogError(
    'EVENT_TOO_LARGE',
    `the event has more than ${eventBytesMax} bytes as it was sent`,
    { bytesMax: eventBytesMax },
  )
}

function malformed(what: string, cause?: SyntaxError): QuestlogError {
  const message = cause === undefined ? what : `${what}: ${cause.message}`
  return new QuestlogError('EVENT_MALFORMED', message, {}, { cause })
}

function skipSpace(body: Buffer, from: number, end: number): number {
  let position = from
  while (position < end && isJsonSpace(body[position])) position += 1
  return position
}

function skipSpaceBack(body: Buffer, start: number, from: number): number {
  let position = from
  while (position > start && isJsonSpace(body[position - 1])) position -= 1
  return position
}
