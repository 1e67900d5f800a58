import type { Settings } from '../core/settings.ts'

/** `GET /path` or `POST /path`. The path is exact. */
export type RouteText = `GET /${string}` | `POST /${string}`

/** A JSON Schema (2020-12) as plain data. */
export interface JsonSchema {
  readonly [keyword: string]: unknown
}

/** What describes the parameters of an event: a validator with a JSON Schema form (Standard JSON Schema, such as zod 4), or a JSON Schema. */
export type ParamsSchema =
  | {
      readonly '~standard': {
        readonly jsonSchema: {
          readonly input: (options: { readonly target: 'draft-2020-12' }) => JsonSchema
        }
      }
    }
  | { readonly toJSONSchema: () => object }
  | JsonSchema

export interface TopicConfig {
  /** Number of partitions, 1 to 1000. Default 1. */
  readonly partitions?: number
  /** Largest record batch, bytes. Default: the setting messageBytesMax. */
  readonly maxMessageBytes?: number
  /** How long the log keeps events that every table has: `90s`, `12h`, `7d`; rows of tables stay. Default: for ever. */
  readonly retention?: `${number}s` | `${number}m` | `${number}h` | `${number}d`
  /** How many bytes of each partition the log keeps at least, once every table has them. Default: all. */
  readonly retentionBytes?: number
}

export interface EventConfig {
  /** The topic that keeps the events. Default `events`. */
  readonly topic?: string
  /** The route, several routes, or routes with a reply each: `{ 'GET /a': 'A\n', 'GET /b': 'B\n' }`. Without a route the event comes by `POST /events` or Kafka only. */
  readonly route?: RouteText | readonly RouteText[] | { readonly [route: RouteText]: string }
  /** Body of the answer on every route that has none of its own. Default: empty. */
  readonly reply?: string
  /** Fields that the server adds. They win over headers and parameters. */
  readonly fixed?: Readonly<Record<string, string | number | boolean>>
  /** The declared parameters: an object schema. Each becomes a column; other fields stay in `raw_event`. */
  readonly params?: ParamsSchema
  /** Whether the request headers become fields of the event. Default true. */
  readonly headers?: boolean
  /** The field whose value chooses the partition. Default: none. */
  readonly key?: string
  /** An event whose declared parameters do not fit: kept and set aside, or refused with 400. Default `set-aside`. */
  readonly onInvalid?: 'set-aside' | 'reject'
}

export interface TableConfig<EventName extends string = string> {
  /** The events that the table takes; `*` = every declared event of the topic. */
  readonly from: EventName | readonly EventName[] | '*'
  /** The topic, for `from: '*'` in a definition with several. */
  readonly topic?: string
  /** SQL condition over the table's columns. A row for which it is not true is filtered. */
  readonly where?: string
  /** SQL expressions that replace the value of a column, by column name. */
  readonly set?: Readonly<Record<string, string>>
  /** How often fresh rows are committed: `500ms`, `10s`, `1m`, `1h`; at least 100ms. Default `10s`. */
  readonly trigger?: `${number}ms` | `${number}s` | `${number}m` | `${number}h`
  /** Whether a new table begins with the oldest event of the log or with the next one. Default `earliest`. */
  readonly startAt?: 'earliest' | 'latest'
  /** Which declared and fixed fields become columns, in this order. Default: all of the table's events. */
  readonly columns?: readonly string[]
  /** Columns that were called otherwise before, old name by new name: `{ damage: 'strength' }`. Their values stay. */
  readonly renamed?: Readonly<Record<string, string>>
  /** Former columns that the table is to lose. A column that is only no longer declared stays, without new values. */
  readonly dropped?: readonly string[]
  /** `hive`: after each commit the table is also a folder of Parquet files, `exports/<table>` of the data folder, for programs that read folders. Default `iceberg`. */
  readonly format?: 'iceberg' | 'hive'
}

export interface Config<EventName extends string = string> {
  /** Namespace (SQL schema) of the tables. Default `default`. */
  readonly namespace?: string
  readonly topics?: Readonly<Record<string, TopicConfig>>
  /** The events by their `event_type`. */
  readonly events: Readonly<Record<EventName, EventConfig>>
  readonly tables?: Readonly<Record<string, TableConfig<NoInfer<EventName>>>>
  /** Settings of docs/reference/settings.md. The environment wins over them. */
  readonly settings?: Partial<Settings>
}

/** The whole definition: `export default defineConfig({ events, tables, … })`. Tables may name only events that are declared. Checked when the file is loaded. */
export function defineConfig<const EventName extends string>(
  config: Config<EventName>,
): Config<EventName> {
  return config
}

/** One event: where it comes in, what is answered, which parameters it has. */
export function event(config: EventConfig): EventConfig {
  return config
}

/** One table: which events it takes and when it commits. */
export function table<const EventName extends string>(
  config: TableConfig<EventName>,
): TableConfig<Exclude<EventName, '*'>> {
  return config as TableConfig<Exclude<EventName, '*'>> // `*` is allowed in every definition
}
