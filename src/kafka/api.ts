import type { Type } from './schema.ts'

/** One request of the protocol and its response, in all versions that are read and written here. */
export interface Api<Request = Type<unknown>, Response = Type<unknown>> {
  readonly key: number
  readonly minVersion: number
  readonly maxVersion: number
  /** First version with compact lengths and tagged fields (KIP-482); Infinity if none. */
  readonly flexibleFrom: number
  /** What it does here, in a sentence or two, for docs/reference/kafka-apis.md. */
  readonly doc: string
  /** Kafka improvement proposals whose fields or behaviour the versions hold. */
  readonly kips: readonly number[]
  readonly request: Request
  readonly response: Response
}

export function api<Request, Response>(parts: Api<Request, Response>): Api<Request, Response> {
  return parts
}
