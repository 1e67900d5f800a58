import type { IncomingMessage } from 'node:http'
import { QuestlogError } from './errors.ts'

/** A body that is too large by less than this is read to its end and thrown away: a client that is cut off while it sends does not see the answer. */
const patienceFactor = 4

/**
 * Reads the whole body of a request, as it is.
 *
 * @param limit what sets `bytesMax`, for the message
 * @throws QuestlogError REQUEST_TOO_LARGE
 */
export async function wholeBody(
  request: IncomingMessage,
  bytesMax: number,
  limit: string,
): Promise<Buffer> {
  const tooLarge = () =>
    new QuestlogError('REQUEST_TOO_LARGE', `the body is larger than ${limit}, ${bytesMax} bytes`, {
      bytesMax,
    })
  if (Number(request.headers['content-length'] ?? 0) > bytesMax * patienceFactor) throw tooLarge()
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request.iterator({ destroyOnReturn: false })) {
    const bytes = chunk as Buffer // no encoding is set on the request
    size += bytes.length
    if (size <= bytesMax) chunks.push(bytes)
    else if (size > bytesMax * patienceFactor) throw tooLarge()
  }
  if (size > bytesMax) throw tooLarge()
  return Buffer.concat(chunks)
}
