import type { ApiName, RequestOf, ResponseOf } from './apis.ts'

/** What a handler may know about the client's connection. */
export interface ClientConnection {
  /** Unique in this process. */
  readonly id: number
  /** The client's address. */
  readonly clientHost: string
  /** Address and port of this side: what Metadata advertises when nothing else is set. */
  readonly localHost: string
  readonly localPort: number
  /** Aborted when the connection has ended, or the broker stops. */
  readonly closed: AbortSignal
}

export interface RequestContext {
  readonly connection: ClientConnection
  readonly clientId: string | null
  readonly apiVersion: number
  /**
   * For handlers that account for the memory of their answers: the listener is called once the answer has left, or never will.
   * Without a listener the connection accounts for it.
   */
  readonly onSent?: (listener: () => void) => void
}

/** Serves one API. Its registration is what ApiVersions answers. */
export interface Handler<Name extends ApiName = ApiName> {
  readonly api: Name
  /** The versions that are served, both included. */
  readonly minVersion: number
  readonly maxVersion: number
  /** What ApiVersions says instead of `minVersion`; a request below `minVersion` closes the connection. */
  readonly advertisedMinVersion?: number
  /**
   * Answers one request; null = no reply. Called in the order in which a connection's requests came, without waiting for earlier answers:
   * what must happen in request order happens before the first await. A rejection closes the connection.
   */
  handle(request: RequestOf<Name>, context: RequestContext): Promise<ResponseOf<Name> | null>
}

/** A handler of any one API. */
export type AnyHandler = { readonly [Name in ApiName]: Handler<Name> }[ApiName]
