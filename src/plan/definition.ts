import type { Column } from './columns.ts'

/**
 * The definition as it is stored in `definitions/<n>.json`: plain data, made from questlog.config.ts by plan/authoring, complete (every default filled in).
 * Processes read this form only; the user's code runs in a short-lived child of the supervisor.
 */
export interface Definition {
  readonly formatVersion: 1
  /** Namespace (schema) of the tables; `default` unless the file says otherwise. */
  readonly namespace: string
  readonly topics: readonly TopicDefinition[]
  readonly events: readonly EventDefinition[]
  readonly tables: readonly TableDefinition[]
  /** Settings that the file overrides, by name; checked with `resolveSettings`. */
  readonly settings: Readonly<Record<string, unknown>>
}

export interface TopicDefinition {
  readonly name: string
  readonly partitions: number
  /** Kafka topic configs, such as `max.message.bytes`, as decimal text. */
  readonly configs: Readonly<Record<string, string>>
}

export interface Route {
  readonly method: 'GET' | 'POST'
  /** Exact path, starting with a slash. */
  readonly path: string
  /** Body of the answer. Two routes of one event may answer differently. */
  readonly reply: string
}

export interface EventDefinition {
  /** The `event_type` of its events. */
  readonly type: string
  readonly topic: string
  readonly routes: readonly Route[]
  /** Fields that the server adds; they win over headers and parameters. */
  readonly fixed: Readonly<Record<string, string | number | boolean>>
  /** Declared parameters as columns. Undeclared ones stay in raw_event. */
  readonly params: readonly Column[]
  /** Names among `params` that an event must have. */
  readonly required: readonly string[]
  /** The JSON Schema (2020-12) that `params` came from; null when none was declared. */
  readonly schema: Readonly<Record<string, unknown>> | null
  /** Whether the request headers of a single-event request are merged into the event. */
  readonly headers: boolean
  /** The field whose value chooses the log partition; null = sticky. */
  readonly key: string | null
  /** What HTTP does with an event whose declared parameters do not fit. */
  readonly onInvalid: 'set-aside' | 'reject'
}

export interface TableDefinition {
  readonly name: string
  readonly topic: string
  /** Event types that the table takes; null = every declared type of the topic. */
  readonly events: readonly string[] | null
  /** SQL condition over the table's columns; a row for which it is not true is filtered. */
  readonly where: string | null
  /** SQL expressions that replace the value of a column, by column name. */
  readonly set: Readonly<Record<string, string>>
  /** All columns in order: the leading ones, the declared ones, questlog's own. */
  readonly columns: readonly Column[]
  /** Columns that were called otherwise before: old name by new name. Absent = none. */
  readonly renamed?: Readonly<Record<string, string>>
  /** Former columns that the table is to lose. Absent = none: a column that is no longer declared stays. */
  readonly dropped?: readonly string[]
  /** `hive`: its snapshot is also published as a plain folder of Parquet files. Absent = it is not. */
  readonly format?: 'hive'
  /** Fresh rows are committed at this interval. */
  readonly triggerMs: number
  readonly from: 'earliest' | 'latest'
}

/** The types that a table takes, in the order of the definition. */
export function tableEventTypes(definition: Definition, table: TableDefinition): readonly string[] {
  return (
    table.events ??
    definition.events.filter((event) => event.topic === table.topic).map((event) => event.type)
  )
}
