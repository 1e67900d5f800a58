import {
  decodeRequest,
  decodeResponse,
  encodeRequest,
  encodeResponse,
  type ApiName,
  type ClientRequestOf,
  type ClientResponseOf,
} from '../../src/kafka/apis.ts'
import type { AnyHandler, Handler, RequestContext } from '../../src/kafka/handler.ts'
import { Reader } from '../../src/kafka/wire.ts'

/** Sends requests to handlers as the listener does, through the bytes of the wire. */
export class HandlerClient {
  readonly #handlers: ReadonlyMap<ApiName, Handler>
  readonly clientId: string

  constructor(handlers: readonly AnyHandler[], clientId = 'client') {
    this.#handlers = new Map(
      handlers.map((handler) => [handler.api, handler as unknown as Handler]), // found by its own name only
    )
    this.clientId = clientId
  }

  /** Without a version: the newest. */
  async call<N extends ApiName>(
    api: N,
    request: ClientRequestOf<N>,
    version?: number,
  ): Promise<ClientResponseOf<N>> {
    const handler = this.#handlers.get(api) as Handler<N> | undefined // by its name
    if (handler === undefined) throw new Error(`nobody handles ${api}`)
    const apiVersion = version ?? handler.maxVersion
    const asked = Buffer.concat(encodeRequest(api, apiVersion, request).chunks())
    const context: RequestContext = {
      connection: {
        id: 1,
        clientHost: '127.0.0.1',
        localHost: '127.0.0.1',
        localPort: 9092,
        closed: new AbortController().signal,
      },
      clientId: this.clientId,
      apiVersion,
    }
    const answer = await handler.handle(decodeRequest(api, apiVersion, new Reader(asked)), context)
    if (answer === null) throw new Error(`${api} had no answer`)
    const answered = Buffer.concat(encodeResponse(api, apiVersion, answer).chunks())
    return decodeResponse(api, apiVersion, new Reader(answered))
  }
}
