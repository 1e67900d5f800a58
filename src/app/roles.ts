import type { Clock } from '../core/clock.ts'
import type { ErrorCode, ErrorFacts } from '../core/errors.ts'
import type { Files } from '../core/files.ts'
import type { Logger } from '../core/logger.ts'
import type { Settings } from '../core/settings.ts'
import type { Topic } from '../log/record.ts'
import type { Definition } from '../plan/definition.ts'
import type { ExportRequest, ExportResult } from './export.ts'
import type { TableWork, TableWorkDone } from '../stream/maintenance.ts'
import type { TableSummary, TopicSummary } from '../stream/status.ts'

/** The two processes under the supervisor. */
export type RoleName = 'ingest' | 'lake'

export const roleNames: readonly RoleName[] = ['lake', 'ingest']

/** What the supervisor hands to a role's process, as JSON in the environment variable QUESTLOG_ROLE. */
export interface RoleArguments {
  readonly role: RoleName
  /** Data folder, absolute. */
  readonly data: string
  /** Address to listen on. */
  readonly host: string
  /** Port to listen on; 0 = a free one. */
  readonly port: number
  /** Where Kafka clients are served (ingest); null = they are not. */
  readonly broker: BrokerArguments | null
  /** The definition to start with, by its number; null = wait for the first `activate`. */
  readonly definitionVersion: number | null
  /** Whether access-log lines go to standard output (ingest). */
  readonly accessLog: boolean
  /** Set damaged bytes of the log aside instead of refusing to start (ingest). */
  readonly repair: boolean
}

export interface BrokerArguments {
  /** Port to listen on, at the same address; 0 = a free one. */
  readonly port: number
  /** What clients are told to connect to; null = the address that they have reached. */
  readonly advertised: Address | null
}

export interface Address {
  readonly host: string
  readonly port: number
}

/** What a role starts with, in its own process. The lock on what it writes is already held. */
export interface RoleOptions {
  /** Data folder, absolute: `log/`, `lake/`, `definitions/` and `run/` are in it. */
  readonly data: string
  readonly host: string
  /** Port to listen on; 0 = a free one. For lake the SQL port. */
  readonly port: number
  readonly broker: BrokerArguments | null
  readonly definitionVersion: number
  readonly definition: Definition
  readonly accessLog: boolean
  readonly repair: boolean
  readonly settings: Settings
  readonly files: Files
  readonly clock: Clock
  /** Writes to `run/<role>.log`. */
  readonly logger: Logger
  /** Shows one line on the screen of `questlog up`. */
  readonly event: (text: string) => void
  /** Reads a stored definition (`definitions/<n>.json`). */
  readonly loadDefinition: (version: number) => Promise<Definition>
}

/** The stream runner, the tables and SQL, as one running part. */
export interface LakeRole {
  readonly sqlPort: number
  /** Applies a stored definition: creates and evolves tables. On an error the one before stays in force. */
  activate(version: number): Promise<void>
  status(): Promise<LakeStatus>
  /** Merges the files of a table, or gives up its old snapshots, at once. */
  maintainTable(work: TableWork): Promise<TableWorkDone>
  /** Writes rows as a folder of Parquet files under `exports/`. */
  exportRows(request: ExportRequest): Promise<ExportResult>
  /** Flushes fresh rows into commits; answers with lines that say what is kept where. */
  stop(): Promise<readonly string[]>
}

/** The events of one topic, and one table, as the stream sums them up. */
export type TopicStatus = TopicSummary
export type TableStatus = TableSummary

export interface LakeStatus {
  readonly topics: readonly TopicStatus[]
  readonly tables: readonly TableStatus[]
  /** One line for each thing that needs a look. */
  readonly attention: readonly string[]
  readonly memoryBytes: number
}

export interface LogTopicStatus {
  readonly name: string
  readonly partitions: number
  /** Records on the log that were acknowledged. */
  readonly kept: number
  readonly bytes: number
}

export interface IngestStatus {
  readonly topics: readonly LogTopicStatus[]
  /** Bytes of log that no table has applied yet. */
  readonly backlogBytes: number
  readonly unknownPaths: readonly { readonly path: string; readonly count: number }[]
  readonly attention: readonly string[]
  readonly memoryBytes: number
}

/** The collector, the log and the Kafka broker, as one running part. */
export interface IngestRole {
  readonly collectorPort: number
  /** Null when Kafka clients are not served. */
  readonly brokerPort: number | null
  activate(version: number): Promise<void>
  status(): Promise<IngestStatus>
  createTopic(spec: TopicSpec): Promise<Topic>
  listTopics(): Promise<readonly Topic[]>
  alterTopic(change: TopicChange): Promise<Topic>
  deleteTopic(deletion: TopicDeletion): Promise<void>
  /** Lets answers finish and closes the log; answers with lines that say what is kept where. */
  stop(): Promise<readonly string[]>
}

export interface TopicSpec {
  readonly name: string
  readonly partitions: number
  readonly configs: Readonly<Record<string, string>>
}

/** What is to be different of a topic. */
export interface TopicChange {
  readonly name: string
  /** The new number of partitions; null = as it is. */
  readonly partitions: number | null
  /** New values of configs; null = back to the default. */
  readonly configs: Readonly<Record<string, string | null>>
}

export interface TopicDeletion {
  readonly name: string
  /** Also when tables read the topic. */
  readonly force: boolean
}

export type ComponentName = 'supervisor' | RoleName

export type ComponentState = 'starting' | 'running' | 'restarting' | 'stopping' | 'stopped'

export interface ComponentStatus {
  readonly name: ComponentName
  readonly command: string
  readonly state: ComponentState
  readonly pid: number | null
  /** `127.0.0.1:5000`, with what else it serves after a comma; or empty. */
  readonly ports: string
  readonly uptimeMs: number
  readonly memoryBytes: number
  /** How often it was started again. */
  readonly restarts: number
}

/** Addresses that clients use. Null = not served. */
export interface Endpoints {
  /** `http://127.0.0.1:5000` */
  readonly collector: string | null
  /** `127.0.0.1:9092` */
  readonly broker: string | null
  /** `http://127.0.0.1:8080` */
  readonly sql: string | null
}

/** What the supervisor answers to `ps`. */
export interface InstanceStatus {
  readonly data: string
  readonly config: string
  readonly definitionVersion: number
  readonly endpoints: Endpoints
  readonly components: readonly ComponentStatus[]
  readonly topics: readonly TopicStatus[]
  readonly tables: readonly TableStatus[]
  readonly attention: readonly string[]
}

/** An error as it crosses a process boundary. */
export interface PlainError {
  readonly code: ErrorCode
  readonly message: string
  readonly facts: ErrorFacts
  readonly hint: string
}
