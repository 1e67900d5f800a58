import type { IncomingMessage, ServerResponse } from 'node:http'
import { once } from 'node:events'
import { asQuestlogError } from '../core/errors.ts'

/** Writes one line of an answer; resolves when the reader has room for more. */
export type WriteLine = (line: string) => Promise<void>

/** Answers a GET with NDJSON: `{"line":"…"}` for each line, and `{"exit":N}` at the end, N being the exit code that `work` resolves to. */
export function lineResponder(work: (url: URL, write: WriteLine) => Promise<number>) {
  return async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    response.writeHead(200, { 'content-type': 'application/x-ndjson', 'cache-control': 'no-store' })
    const send = async (object: unknown) => {
      if (!response.write(`${JSON.stringify(object)}\n`) && !response.destroyed)
        await Promise.race([once(response, 'drain'), once(response, 'close')])
    }
    try {
      const exit = await work(new URL(request.url ?? '/', 'http://localhost'), (line) =>
        send({ line }),
      )
      await send({ exit })
    } catch (error) {
      const known = asQuestlogError(error)
      await send({ line: `error[${known.code}]: ${known.message}` })
      await send({ exit: 1 })
    }
    response.end()
  }
}
