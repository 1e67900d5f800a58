import type { IncomingMessage } from 'node:http'
import type { Transform } from 'node:stream'
import { createBrotliDecompress, createGunzip, createInflate, createInflateRaw } from 'node:zlib'
import type { Clock } from '../core/clock.ts'
import { asQuestlogError, QuestlogError } from '../core/errors.ts'
import type { ByteLease } from './byte-budget.ts'

export type ContentEncoding = 'identity' | 'gzip' | 'deflate' | 'br'

export interface BodyLimits {
  readonly bodyBytesMax: number
  readonly decompressedBytesMax: number
}

/** @throws MEDIA_TYPE_UNSUPPORTED for every encoding but gzip, deflate and br, and for several at once */
export function readEncoding(header: string | undefined): ContentEncoding {
  const name = (header ?? '').trim().toLowerCase()
  if (name === '' || name === 'identity') return 'identity'
  if (name === 'gzip' || name === 'x-gzip') return 'gzip'
  if (name === 'deflate' || name === 'br') return name
  throw new QuestlogError(
    'MEDIA_TYPE_UNSUPPORTED',
    `Content-Encoding ${JSON.stringify(name.slice(0, 60))} is not supported`,
    {},
    { hint: 'send the body as it is, or with gzip, deflate or br' },
  )
}

/** @throws REQUEST_TOO_LARGE when the request announces a body that is over the limit */
export function checkContentLength(request: IncomingMessage, bodyBytesMax: number): void {
  const length = Number(request.headers['content-length'] ?? 0)
  if (length > bodyBytesMax) throw bodyTooLarge(bodyBytesMax)
}

/** Waits before a body is read: what the client goes on sending stays in the buffers of its connection. `onFail` and errors as with `readBody`. */
export async function holdBody(
  request: IncomingMessage,
  clock: Clock,
  delayMs: number,
  onFail: (fail: ((error: QuestlogError) => void) | null) => void,
): Promise<void> {
  const over = new AbortController()
  const close = () => over.abort(closedWithin())
  onFail((error) => over.abort(error))
  request.once('close', close)
  await clock.sleep(delayMs, over.signal)
  request.off('close', close)
  onFail(null)
  over.signal.throwIfAborted()
}

/**
 * Reads and decompresses a body. Stops at the first byte over a limit: a compressed bomb is cut where it passes the limit.
 * `onFail` receives a function that ends the reading with an error from outside (a timeout, bytes that are not HTTP), and null when it is over.
 * @throws REQUEST_TOO_LARGE, REQUEST_MALFORMED, OVERLOADED, and what is given to the function of `onFail`
 */
export function readBody(
  request: IncomingMessage,
  encoding: ContentEncoding,
  limits: BodyLimits,
  lease: ByteLease,
  onFail: (fail: ((error: QuestlogError) => void) | null) => void,
): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let received = 0
    let length = 0
    let decoder: Transform | undefined
    const settle = (error?: QuestlogError) => {
      request.off('data', receive).off('end', end).off('close', close)
      decoder?.off('data', keep).destroy()
      onFail(null)
      if (error !== undefined) reject(error)
      else
        resolve(
          chunks.length === 1 && chunks[0] !== undefined
            ? chunks[0]
            : Buffer.concat(chunks, length),
        )
    }
    const keep = (chunk: Buffer) => {
      length += chunk.length
      if (length > limits.decompressedBytesMax)
        return settle(decompressedTooLarge(limits.decompressedBytesMax))
      try {
        lease.take(chunk.length)
      } catch (error) {
        return settle(asQuestlogError(error))
      }
      chunks.push(chunk)
    }
    const receive = (chunk: Buffer) => {
      received += chunk.length
      if (received > limits.bodyBytesMax) return settle(bodyTooLarge(limits.bodyBytesMax))
      if (encoding === 'identity') return keep(chunk)
      if (decoder === undefined) {
        decoder = createDecoder(encoding, chunk[0] ?? 0)
        decoder.on('data', keep).once('end', () => settle())
        decoder.once('error', (error) => settle(badEncoding(encoding, error)))
        decoder.on('drain', () => request.resume())
      }
      if (!decoder.write(chunk)) request.pause()
    }
    const end = () => {
      request.off('close', close)
      if (decoder === undefined) settle()
      else decoder.end()
    }
    const close = () => settle(closedWithin())
    onFail(settle)
    request.on('data', receive).once('end', end).once('close', close)
  })
}

const closedWithin = () =>
  new QuestlogError('REQUEST_MALFORMED', 'the client closed the connection within the body')

/** `deflate` is the zlib format (RFC 9110, 8.4.1.2); some clients send it without its header. */
function createDecoder(
  encoding: Exclude<ContentEncoding, 'identity'>,
  firstByte: number,
): Transform {
  const options = { chunkSize: 64 * 1024 }
  if (encoding === 'gzip') return createGunzip(options)
  if (encoding === 'br') return createBrotliDecompress(options)
  return (firstByte & 0x0f) === 8 ? createInflate(options) : createInflateRaw(options)
}

function bodyTooLarge(bodyBytesMax: number): QuestlogError {
  return new QuestlogError(
    'REQUEST_TOO_LARGE',
    `the body is larger than bodyBytesMax, ${bodyBytesMax} bytes`,
    { bodyBytesMax },
  )
}

function decompressedTooLarge(decompressedBytesMax: number): QuestlogError {
  return new QuestlogError(
    'REQUEST_TOO_LARGE',
    `the decompressed body is larger than decompressedBytesMax, ${decompressedBytesMax} bytes`,
    { decompressedBytesMax },
  )
}

function badEncoding(encoding: string, cause: Error): QuestlogError {
  return new QuestlogError(
    'REQUEST_MALFORMED',
    `the body is not valid ${encoding}: ${cause.message}`,
    {},
    { cause },
  )
}
