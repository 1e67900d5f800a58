import { errorCatalog, QuestlogError, type ErrorCode } from '../core/errors.ts'

/** Errors of a broker that callers of a log know, by the protocol's code (public protocol guide, "Error Codes"). Several of ours share a code, so each is named here. */
const known: Readonly<Partial<Record<number, ErrorCode>>> = {
  1: 'OFFSET_OUT_OF_RANGE',
  2: 'RECORD_BATCH_CORRUPT',
  3: 'TOPIC_UNKNOWN',
  10: 'EVENT_TOO_LARGE',
  17: 'TOPIC_INVALID',
  18: 'EVENT_TOO_LARGE',
  32: 'TIMESTAMP_INVALID',
  36: 'TOPIC_EXISTS',
  37: 'TOPIC_INVALID',
  38: 'REPLICATION_INVALID',
  40: 'TOPIC_CONFIG_INVALID',
  87: 'RECORD_BATCH_MALFORMED',
}

/** The protocol's code that an error of @platformatic/kafka carries, itself or in one that it holds; undefined when the broker said nothing. */
export function brokerCodeOf(error: unknown): number | undefined {
  if (typeof error !== 'object' || error === null) return undefined
  if ('apiCode' in error && typeof error.apiCode === 'number') return error.apiCode
  const inner = 'errors' in error && Array.isArray(error.errors) ? error.errors : []
  for (const each of [...inner, 'cause' in error ? error.cause : undefined]) {
    const code = brokerCodeOf(each)
    if (code !== undefined) return code
  }
  return undefined
}

/** An error of the client as one of ours: what the broker said, or, when it said nothing, `otherwise`. `what` begins the message: "topic events can't be created". */
export function clusterError(
  error: unknown,
  what: string,
  otherwise: ErrorCode = 'NOT_RUNNING',
): QuestlogError {
  if (error instanceof QuestlogError) return error
  const code = brokerCodeOf(error)
  if (code !== undefined) return refusal(code, what, error)
  const why = error instanceof Error ? error.message : String(error)
  // The client answers this by itself, from the metadata, and gives it no code.
  if (why.startsWith('Unknown topic '))
    return new QuestlogError('TOPIC_UNKNOWN', `${what}: ${why}`, {}, { cause: error })
  const hint =
    otherwise === 'NOT_RUNNING'
      ? 'check the addresses of the brokers'
      : errorCatalog[otherwise].hint
  return new QuestlogError(
    otherwise,
    `${what}: no broker answered (${why})`,
    {},
    { cause: error, hint },
  )
}

/** What a broker said, as one of our errors. */
export function refusal(code: number, what: string, cause?: unknown): QuestlogError {
  return new QuestlogError(
    known[code] ?? 'BROKER_REFUSED',
    `${what}: the broker answered with error ${code}`,
    { code },
    { cause },
  )
}
