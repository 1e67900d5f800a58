import { QuestlogError } from '../core/errors.ts'
import {
  apiNameOf,
  apis,
  decodeResponse,
  encodeRequest,
  encodeResponse,
  isFlexible,
} from './apis.ts'
import type { ApiName, ClientRequestOf, ClientResponseOf, ResponseOf } from './apis.ts'
import { Reader, Writer } from './wire.ts'

/**
 * Frames of a connection: four bytes of length, a header, the message (public protocol guide, "Protocol Design").
 */

const sizeBytes = 4
/** API key, version, correlation id, and a null client id. */
const requestBytesMin = 10

/** What the header of a request says. */
export interface RequestHead {
  readonly apiKey: number
  readonly apiVersion: number
  readonly correlationId: number
  readonly clientId: string | null
  /** Undefined when the key is not one of ours. */
  readonly api: ApiName | undefined
  /** Stands at the body. Not to be read when the version is none that the table has. */
  readonly body: Reader
}

/**
 * Reads the header of a request: version 1, or 2 (with tagged fields) for a flexible version of the message.
 * `clientId` is never compact (KIP-482).
 *
 * @param frame the bytes after the length
 * @throws QuestlogError REQUEST_MALFORMED
 */
export function decodeRequestHead(frame: Buffer): RequestHead {
  const reader = new Reader(frame)
  const apiKey = reader.int16()
  const apiVersion = reader.int16()
  const correlationId = reader.int32()
  const length = reader.stringLength(false)
  const clientId = length < 0 ? null : reader.text(length)
  const api = apiNameOf(apiKey)
  if (api !== undefined && isFlexible(api, apiVersion)) skipTags(reader)
  return { apiKey, apiVersion, correlationId, clientId, api, body: reader }
}

/** A whole request as buffers to write to a socket. */
export function encodeRequestFrame<N extends ApiName>(
  api: N,
  apiVersion: number,
  head: { correlationId: number; clientId: string | null },
  request: ClientRequestOf<N>,
): Buffer[] {
  const writer = new Writer()
  writer.int16(apis[api].key)
  writer.int16(apiVersion)
  writer.int32(head.correlationId)
  if (head.clientId === null) writer.stringLength(-1, false)
  else writer.string(head.clientId, false)
  if (isFlexible(api, apiVersion)) writer.unsignedVarint(0)
  return framed(encodeRequest(api, apiVersion, request, writer))
}

/**
 * A whole response as buffers to write to a socket; record batches are the same buffers that were given. The header is version 0, or 1 (with
 * tagged fields) for a flexible version; of ApiVersions always 0, so that a client can read it whatever it asked for (KIP-511).
 */
export function encodeResponseFrame<N extends ApiName>(
  api: N,
  apiVersion: number,
  correlationId: number,
  response: ResponseOf<N>,
): Buffer[] {
  const writer = new Writer()
  writer.int32(correlationId)
  if (hasResponseTags(api, apiVersion)) writer.unsignedVarint(0)
  return framed(encodeResponse(api, apiVersion, response, writer))
}

/** The correlation id of a response: tells which request it answers. */
export function correlationIdOf(frame: Buffer): number {
  return new Reader(frame).int32()
}

/**
 * Reads a response.
 *
 * @param frame the bytes after the length
 * @throws QuestlogError REQUEST_MALFORMED
 */
export function decodeResponseFrame<N extends ApiName>(
  api: N,
  apiVersion: number,
  frame: Buffer,
): ClientResponseOf<N> {
  const reader = new Reader(frame)
  reader.int32()
  if (hasResponseTags(api, apiVersion)) skipTags(reader)
  return decodeResponse(api, apiVersion, reader)
}

/**
 * Cuts a stream of bytes into frames. Holds at most one unfinished frame; a large frame is put together once, when
 * it is whole. Frames may be views of the chunks they came in.
 */
export class FrameSplitter {
  readonly #frameBytesMax: number
  readonly #frameBytesMin: number
  #held: Buffer[] = []
  #heldBytes = 0
  #frameBytes = -1

  constructor(options: { frameBytesMax: number; frameBytesMin?: number }) {
    this.#frameBytesMax = options.frameBytesMax
    this.#frameBytesMin = options.frameBytesMin ?? requestBytesMin
  }

  /** Bytes of the unfinished frame that are held. */
  get heldBytes(): number {
    return this.#heldBytes
  }

  /** Length of the frame that is coming in, -1 when it is not known yet. */
  get frameBytes(): number {
    return this.#frameBytes
  }

  /**
   * Takes the next bytes and gives the frames that they complete, each without its length.
   *
   * @throws QuestlogError REQUEST_MALFORMED for a length that no request can have; REQUEST_TOO_LARGE above `frameBytesMax`. The stream cannot be read on.
   */
  push(chunk: Buffer): Buffer[] {
    if (chunk.length > 0) this.#held.push(chunk)
    this.#heldBytes += chunk.length
    const frames: Buffer[] = []
    for (;;) {
      if (this.#frameBytes < 0) {
        if (this.#heldBytes < sizeBytes) return frames
        this.#frameBytes = this.#checked(this.#take(sizeBytes).readInt32BE(0))
      }
      if (this.#heldBytes < this.#frameBytes) return frames
      frames.push(this.#take(this.#frameBytes))
      this.#frameBytes = -1
    }
  }

  #checked(length: number): number {
    if (length < this.#frameBytesMin) {
      throw new QuestlogError('REQUEST_MALFORMED', `a Kafka frame of ${length} bytes`, { length })
    }
    if (length > this.#frameBytesMax) {
      throw new QuestlogError(
        'REQUEST_TOO_LARGE',
        `a Kafka frame of ${length} bytes; at most ${this.#frameBytesMax} are taken`,
        { length, frameBytesMax: this.#frameBytesMax },
      )
    }
    return length
  }

  /** The first `length` of the bytes that are held; there are enough. */
  #take(length: number): Buffer {
    const parts: Buffer[] = []
    let missing = length
    let used = 0
    while (missing > 0) {
      const first = this.#held[used]
      if (first === undefined) break
      if (first.length > missing) {
        parts.push(first.subarray(0, missing))
        this.#held[used] = first.subarray(missing)
        missing = 0
      } else {
        parts.push(first)
        missing -= first.length
        used++
      }
    }
    if (used > 0) this.#held = this.#held.slice(used)
    this.#heldBytes -= length
    const [only] = parts
    return parts.length === 1 && only !== undefined ? only : Buffer.concat(parts, length)
  }
}

function hasResponseTags(api: ApiName, version: number): boolean {
  return isFlexible(api, version) && api !== 'apiVersions'
}

function framed(writer: Writer): Buffer[] {
  const size = Buffer.allocUnsafe(sizeBytes)
  size.writeInt32BE(writer.length)
  return [size, ...writer.chunks()]
}

/** Tagged fields of a header: none is known here. */
function skipTags(reader: Reader): void {
  const count = reader.unsignedVarint()
  for (let index = 0; index < count; index++) {
    reader.unsignedVarint()
    reader.skip(reader.unsignedVarint())
  }
}
