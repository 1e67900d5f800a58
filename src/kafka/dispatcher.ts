import type { Clock } from '../core/clock.ts'
import { QuestlogError } from '../core/errors.ts'
import { listApiKeys } from './api-versions.ts'
import { decodeRequest, type ApiName } from './apis.ts'
import type { BrokerCounters } from './broker-counters.ts'
import { kafkaErrors } from './error-codes.ts'
import { encodeResponseFrame, readRequestHead, type RequestHead } from './frames.ts'
import type { AnyHandler, ClientConnection, Handler } from './handler.ts'
import { Reader } from './wire.ts'

/** Most elements of all arrays of a request: enough for every partition that a log can hold, and little enough to answer without a pause that others notice. */
const requestElementsMax = 10_000

interface DispatcherOptions {
  readonly handlers: readonly AnyHandler[]
  readonly clock: Clock
  readonly counters: BrokerCounters
}

/** Decodes requests, hands them to their handlers, encodes the answers. */
export class Dispatcher {
  readonly #options: DispatcherOptions
  readonly #handlers: ReadonlyMap<ApiName, Handler>

  constructor(options: DispatcherOptions) {
    this.#options = options
    this.#handlers = new Map(
      options.handlers.map((handler) => [handler.api, handler as unknown as Handler]), // found by its own name only
    )
  }

  /**
   * Answers one request: the chunks of the whole response, its size included; null = none. The handler is called before this returns.
   * Rejects when the connection can't go on: REQUEST_MALFORMED, or what the handler rejects with.
   */
  async dispatch(
    frame: Buffer,
    connection: ClientConnection,
    onSent: (listener: () => void) => void,
  ): Promise<readonly Buffer[] | null> {
    const { counters, clock, handlers } = this.#options
    const reader = new Reader(frame, 0, frame.length, requestElementsMax)
    const head = readRequestHead(reader)
    const { api, apiVersion, correlationId, clientId } = head
    const handler = api === undefined ? undefined : this.#handlers.get(api)
    if (api === undefined || handler === undefined) throw notServed(head, undefined)
    if (apiVersion < handler.minVersion || apiVersion > handler.maxVersion) {
      if (api !== 'apiVersions') throw notServed(head, handler)
      // A form that the client of any version can read (KIP-511).
      const served = { errorCode: kafkaErrors.unsupportedVersion, apiKeys: listApiKeys(handlers) }
      return encodeResponseFrame(api, 0, correlationId, served)
    }
    const request = decodeRequest(api, apiVersion, reader)
    const startMs = clock.monotonicMs()
    const response = await handler.handle(request, { connection, clientId, apiVersion, onSent })
    counters.request(api, clock.monotonicMs() - startMs)
    if (response === null) return null
    return encodeResponseFrame(api, apiVersion, correlationId, response)
  }
}

function notServed(head: RequestHead, handler: Handler | undefined): QuestlogError {
  const { apiKey, apiVersion, api } = head
  const name = api === undefined ? `API ${apiKey}` : `${api} (API ${apiKey})`
  const served =
    handler === undefined ? '' : `, only ${handler.minVersion} to ${handler.maxVersion}`
  return new QuestlogError(
    'REQUEST_MALFORMED',
    `${name} version ${apiVersion} is not served${served}`,
    { apiKey, apiVersion },
    { hint: 'use a client that asks which versions are served: docs/reference/kafka-apis.md' },
  )
}
