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

/** Headers of requests and responses, and the size in front of them (public protocol guide, "Protocol Design"). */

const sizeBytes = 4

/** What the header of a request says. */
export interface RequestHead {
  readonly apiKey: number
  readonly apiVersion: number
  readonly correlationId: number
  readonly clientId: string | null
  /** Undefined when the key is not one of ours. */
  readonly api: ApiName | undefined
}

/**
 * Reads the header of a request; the reader stands at the body then. The header is version 1, or 2 (with tagged fields) for a flexible
 * version of the message. `clientId` is never compact (KIP-482).
 *
 * @throws QuestlogError REQUEST_MALFORMED
 */
export function readRequestHead(reader: Reader): RequestHead {
  const apiKey = reader.int16()
  const apiVersion = reader.int16()
  const correlationId = reader.int32()
  const length = reader.stringLength(false)
  const clientId = length < 0 ? null : reader.text(length)
  const api = apiNameOf(apiKey)
  if (api !== undefined && isFlexible(api, apiVersion)) skipTags(reader)
  return { apiKey, apiVersion, correlationId, clientId, api }
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

/**
 * Reads what follows the correlation id of a response: the rest of its header, and the message.
 *
 * @throws QuestlogError REQUEST_MALFORMED
 */
export function readResponse<N extends ApiName>(
  api: N,
  apiVersion: number,
  reader: Reader,
): ClientResponseOf<N> {
  if (hasResponseTags(api, apiVersion)) skipTags(reader)
  return decodeResponse(api, apiVersion, reader)
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
