import type { IncomingMessage } from 'node:http'
import { QuestlogError } from './errors.ts'

/** A body that is too large by less than this is read to its end and thrown away: a client that is cut off while it sends does not see the answer. */
const patienceFactor = 4

/**
 * Reads the whole body of a request, as it is.
 *
 * @param limit what sets `bytesMax`, for the message
 * @throws QuestlogError REQUEST_TOO_LARGE, and REQUEST_MALFORMED when the connection ends before the body
 */
export function wholeBody(
  request: IncomingMessage,
  bytesMax: number,
  limit: string,
): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const tooLarge = () =>
      new QuestlogError(
        'REQUEST_TOO_LARGE',
        `the body is larger than ${limit}, ${bytesMax} bytes`,
        { bytesMax },
      )
    const cutOff = () => new QuestlogError('REQUEST_MALFORMED', 'the request was cut off')
    if (Number(request.headers['content-length'] ?? 0) > bytesMax * patienceFactor)
      return reject(tooLarge())
    if (request.destroyed) return reject(cutOff())
    const chunks: Buffer[] = []
    let size = 0
    const onData = (bytes: Buffer) => {
      size += bytes.length
      if (size <= bytesMax) chunks.push(bytes)
      else if (size > bytesMax * patienceFactor) {
        // What is left is the connection's to get rid of.
        request.off('data', onData)
        request.pause()
        reject(tooLarge())
      }
    }
    request.on('data', onData)
    request.on('end', () => {
      if (size > bytesMax) reject(tooLarge())
      else resolve(Buffer.concat(chunks))
    })
    request.on('error', reject)
    request.on('close', () => {
      if (!request.readableEnded) reject(cutOff())
    })
  })
}
