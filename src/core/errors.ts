/** What an error means to each kind of caller. The row is the whole truth: answers over HTTP and Kafka, and the CLI's exit code, come from it. */
export interface ErrorRow {
  /** HTTP status of the answer. */
  readonly http: number
  /** Kafka protocol error code (public protocol guide, "Error Codes"). */
  readonly kafka: number
  /** Whether the same request may succeed later without being changed. */
  readonly retriable: boolean
  /** What to do, in one line. */
  readonly hint: string
}

/** Every error that questlog reports. The code is API, the message is not. docs/reference/errors.md lists the same rows. */
export const errorCatalog = {
  // An event, as it comes in.
  EVENT_MALFORMED: {
    http: 400,
    kafka: 87,
    retriable: false,
    hint: 'send one valid UTF-8 JSON object for each event',
  },
  EVENT_INVALID: {
    http: 400,
    kafka: 87,
    retriable: false,
    hint: 'compare the event with its declaration in questlog.config.ts',
  },
  EVENT_TYPE_UNKNOWN: {
    http: 422,
    kafka: 87,
    retriable: false,
    hint: 'add the event to questlog.config.ts, or correct its event_type',
  },
  EVENT_TOO_LARGE: {
    http: 413,
    kafka: 10,
    retriable: false,
    hint: 'send a smaller event, or raise max.message.bytes of the topic',
  },
  // A record batch of a Kafka client.
  RECORD_BATCH_MALFORMED: {
    http: 400,
    kafka: 87,
    retriable: false,
    hint: 'send record batches as the Kafka documentation describes them ("Record Batch"); the message says which field is wrong',
  },
  RECORD_BATCH_CORRUPT: {
    http: 400,
    kafka: 2,
    retriable: true,
    hint: 'send the batch again: its CRC does not fit its bytes',
  },
  MESSAGE_FORMAT_OLD: {
    http: 400,
    kafka: 43,
    retriable: false,
    hint: 'use a client of Kafka 0.11 or newer: older message formats are not kept',
  },
  TIMESTAMP_INVALID: {
    http: 400,
    kafka: 32,
    retriable: false,
    hint: "set the producer's clock right, or give the topic message.timestamp.type=LogAppendTime",
  },
  SEQUENCE_OUT_OF_ORDER: {
    http: 409,
    kafka: 45,
    retriable: false,
    hint: 'a batch before this one is missing; the producer must start anew',
  },
  PRODUCER_EPOCH_OLD: {
    http: 409,
    kafka: 47,
    retriable: false,
    hint: 'another producer has taken over this producer id; stop this one',
  },
  TRANSACTION_STATE_INVALID: {
    http: 409,
    kafka: 48,
    retriable: false,
    hint: 'abort the transaction and begin anew',
  },
  // A request.
  REQUEST_MALFORMED: { http: 400, kafka: 42, retriable: false, hint: 'correct the request' },
  REQUEST_TOO_LARGE: {
    http: 413,
    kafka: 10,
    retriable: false,
    hint: 'split the request, or raise the limit that the message names',
  },
  REQUEST_TIMEOUT: { http: 408, kafka: 7, retriable: true, hint: 'send the request faster' },
  ROUTE_UNKNOWN: {
    http: 404,
    kafka: 42,
    retriable: false,
    hint: 'add the route to questlog.config.ts',
  },
  METHOD_NOT_ALLOWED: {
    http: 405,
    kafka: 42,
    retriable: false,
    hint: 'use a method that the Allow header names',
  },
  MEDIA_TYPE_UNSUPPORTED: {
    http: 415,
    kafka: 42,
    retriable: false,
    hint: 'send application/json, application/x-ndjson, a form or text/plain',
  },
  UNAUTHORIZED: {
    http: 401,
    kafka: 29,
    retriable: false,
    hint: 'send the write key as "Authorization: Bearer KEY" or ?write_key=KEY',
  },
  FORBIDDEN: {
    http: 403,
    kafka: 29,
    retriable: false,
    hint: 'call the address that `questlog ps` shows, from the same machine',
  },
  // The system's state.
  OVERLOADED: {
    http: 503,
    kafka: 7,
    retriable: true,
    hint: 'send again after Retry-After seconds',
  },
  BEHIND: {
    http: 429,
    kafka: 7,
    retriable: true,
    hint: 'send again after Retry-After seconds; the tables are catching up',
  },
  OUTCOME_UNKNOWN: {
    http: 503,
    kafka: 7,
    retriable: true,
    hint: 'the event may or may not have been kept; `questlog where` tells',
  },
  PARTITION_OFFLINE: {
    http: 503,
    kafka: 56,
    retriable: false,
    hint: 'see `questlog ps`; free or replace the disk, then start again',
  },
  SHUTTING_DOWN: {
    http: 503,
    kafka: 7,
    retriable: true,
    hint: 'send again; questlog is stopping or restarting',
  },
  // The log.
  TOPIC_UNKNOWN: {
    http: 404,
    kafka: 3,
    retriable: false,
    hint: 'see `questlog topics list`, or run `questlog topics create NAME`',
  },
  TOPIC_EXISTS: {
    http: 409,
    kafka: 36,
    retriable: false,
    hint: 'pass --if-not-exists to accept the topic as it is',
  },
  TOPIC_INVALID: {
    http: 400,
    kafka: 17,
    retriable: false,
    hint: 'use 1 to 249 characters of a-z, A-Z, 0-9, ".", "_" and "-"',
  },
  TOPIC_CONFIG_INVALID: {
    http: 400,
    kafka: 40,
    retriable: false,
    hint: 'see `questlog topics create --help` for the configs',
  },
  TOPIC_IN_USE: {
    http: 409,
    kafka: 73,
    retriable: false,
    hint: 'take the tables out of questlog.config.ts first, or delete it with `questlog topics delete NAME --force`: the tables keep their rows',
  },
  REPLICATION_INVALID: {
    http: 400,
    kafka: 38,
    retriable: false,
    hint: 'use replication factor 1: questlog is one node',
  },
  OFFSET_OUT_OF_RANGE: {
    http: 416,
    kafka: 1,
    retriable: false,
    hint: 'read from `-o beginning` or from an offset that exists',
  },
  LOG_DAMAGED: {
    http: 500,
    kafka: 2,
    retriable: false,
    hint: 'start once with --repair: it sets the damaged bytes aside and keeps the rest',
  },
  FORMAT_UNKNOWN: {
    http: 500,
    kafka: 35,
    retriable: false,
    hint: 'the file was written by a newer questlog; upgrade',
  },
  // The tables.
  PATH_UNKNOWN: {
    http: 404,
    kafka: -1,
    retriable: false,
    hint: 'see `questlog fs -ls /`; `questlog export TABLE PATH` makes one',
  },
  EXPORT_EXISTS: {
    http: 409,
    kafka: 42,
    retriable: false,
    hint: 'pass --mode overwrite to replace it, or --mode append to add to it',
  },
  TABLE_UNKNOWN: { http: 404, kafka: 3, retriable: false, hint: 'ask `show tables`' },
  SNAPSHOT_UNKNOWN: {
    http: 404,
    kafka: -1,
    retriable: false,
    hint: 'see `questlog tables snapshots TABLE`; snapshotAgeMsMin and snapshotCountMin say how long they stay',
  },
  TABLE_EXISTS: {
    http: 409,
    kafka: 42,
    retriable: false,
    hint: 'choose another name, or drop the table first',
  },
  TABLE_OWNED: {
    http: 403,
    kafka: 29,
    retriable: false,
    hint: 'change the table through questlog.config.ts; other engines may read and compact it',
  },
  NAMESPACE_UNKNOWN: { http: 404, kafka: 3, retriable: false, hint: 'create the namespace first' },
  NAMESPACE_EXISTS: { http: 409, kafka: 42, retriable: false, hint: 'choose another name' },
  NAMESPACE_IN_USE: { http: 409, kafka: 42, retriable: false, hint: 'drop its tables first' },
  TABLE_DAMAGED: {
    http: 500,
    kafka: 2,
    retriable: false,
    hint: 'run `questlog audit` to see what is missing',
  },
  COMMIT_CONFLICT: {
    http: 409,
    kafka: 7,
    retriable: true,
    hint: 'another writer committed to the table; it is tried again',
  },
  EVOLUTION_REFUSED: {
    http: 409,
    kafka: 42,
    retriable: false,
    hint: 'keep the column as it is and add a new one, or start a new table',
  },
  // SQL.
  SQL_INVALID: { http: 400, kafka: 42, retriable: false, hint: 'correct the statement' },
  SQL_REFUSED: {
    http: 403,
    kafka: 29,
    retriable: false,
    hint: 'only statements that read are served; the tables are written by the stream',
  },
  SQL_TOO_MANY: {
    http: 429,
    kafka: 7,
    retriable: true,
    hint: 'wait for a running statement to end, or raise queryConcurrencyMax',
  },
  SQL_CANCELLED: { http: 499, kafka: 7, retriable: true, hint: 'the statement was cancelled' },
  CATCHING_UP: {
    http: 503,
    kafka: 7,
    retriable: true,
    hint: 'ask again in a moment, or allow stale answers with --stale',
  },
  // The definition and the machine.
  DEFINITION_INVALID: {
    http: 422,
    kafka: 42,
    retriable: false,
    hint: 'correct questlog.config.ts; `questlog check` shows the place',
  },
  SETTING_INVALID: {
    http: 400,
    kafka: 42,
    retriable: false,
    hint: 'see docs/reference/settings.md',
  },
  DATA_UNUSABLE: {
    http: 500,
    kafka: 56,
    retriable: false,
    hint: 'choose another folder with --data, or give this user the right to write there',
  },
  BACKUP_UNUSABLE: {
    http: 422,
    kafka: 2,
    retriable: false,
    hint: 'use another backup; `questlog backup DIR` makes a new one',
  },
  ALREADY_RUNNING: {
    http: 409,
    kafka: 56,
    retriable: false,
    hint: 'run `questlog ps`, or stop it with `questlog down`',
  },
  NOT_RUNNING: { http: 503, kafka: 5, retriable: true, hint: 'start it with `questlog up -d`' },
  PORT_BUSY: {
    http: 500,
    kafka: 5,
    retriable: false,
    hint: 'stop the other program, or choose another port',
  },
  HOST_REFUSED: {
    http: 400,
    kafka: 42,
    retriable: false,
    hint: 'use 127.0.0.1, or pass --insecure if the network may reach it',
  },
  GROUP_UNKNOWN: {
    http: 404,
    kafka: 69,
    retriable: false,
    hint: 'see `questlog groups list`',
  },
  BROKER_REFUSED: {
    http: 502,
    kafka: -1,
    retriable: false,
    hint: 'look up the code among the error codes of the Kafka protocol',
  },
  PACKAGE_MISSING: {
    http: 500,
    kafka: -1,
    retriable: false,
    hint: 'install the package that the message names',
  },
  USAGE: { http: 400, kafka: 42, retriable: false, hint: 'see --help' },
  INTERNAL: {
    http: 500,
    kafka: -1,
    retriable: false,
    hint: 'a bug in questlog; `questlog logs` has the details',
  },
} as const satisfies Record<string, ErrorRow>

export type ErrorCode = keyof typeof errorCatalog

/** Values that say where it happened: names, offsets, paths, sizes. */
export type ErrorFacts = Readonly<Record<string, string | number | boolean | null | undefined>>

/** An error with a code of the catalog. The message says what and where; `hint` says what to do. */
export class QuestlogError extends Error {
  readonly code: ErrorCode
  readonly facts: ErrorFacts
  /** What to do; the catalog's hint unless a better one is known at the place. */
  readonly hint: string

  constructor(
    code: ErrorCode,
    message: string,
    facts: ErrorFacts = {},
    options: { cause?: unknown; hint?: string } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'QuestlogError'
    this.code = code
    this.facts = facts
    this.hint = options.hint ?? errorCatalog[code].hint
  }

  get row(): ErrorRow {
    return errorCatalog[this.code]
  }
}

/** The same error if it is one of ours, else an INTERNAL one that keeps it as its cause. */
export function asQuestlogError(error: unknown): QuestlogError {
  if (error instanceof QuestlogError) return error
  const message = error instanceof Error ? error.message : String(error)
  return new QuestlogError('INTERNAL', message, {}, { cause: error })
}

/** The `code` of a Node system error (`ENOSPC`, `EIO`, …), or undefined. */
export function systemErrorCode(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined
  return typeof error.code === 'string' ? error.code : undefined
}
