import { asQuestlogError, type QuestlogError } from '../core/errors.ts'
import type { Component } from './component.ts'
import type {
  ComponentStatus,
  Endpoints,
  IngestStatus,
  InstanceStatus,
  LakeStatus,
} from './roles.ts'
import { formatAddress, formatCount, formatDuration, formatMany } from './words.ts'

/** A process that does not answer in this time is shown without its figures. */
const statusTimeoutMs = 3_000
const unknownPathsShown = 10

const commands = {
  supervisor: 'questlog up',
  ingest: 'collector, log, broker',
  lake: 'stream, tables, sql',
}

export interface StatusParts {
  readonly data: string
  readonly config: string
  readonly host: string
  /** The definition file as a person would type it. */
  readonly configName: string
  readonly definitionVersion: number
  readonly endpoints: Endpoints
  readonly components: readonly Component[]
  readonly refused: QuestlogError | undefined
  readonly uptimeMs: number
  readonly stopping: boolean
}

/** Asks both processes and puts their answers together; one that is away shows as such. */
export async function composeStatus(parts: StatusParts): Promise<InstanceStatus> {
  const find = (role: Component['name']) =>
    parts.components.find((component) => component.name === role)
  const [ingest, lake] = await Promise.all([
    ask(find('ingest')) as Promise<IngestStatus | QuestlogError | undefined>, // ingest answers with its own
    ask(find('lake')) as Promise<LakeStatus | QuestlogError | undefined>, // lake answers with its own
  ])
  const ingestStatus = ingest instanceof Error ? undefined : ingest
  const lakeStatus = lake instanceof Error ? undefined : lake
  return {
    data: parts.data,
    config: parts.config,
    definitionVersion: parts.definitionVersion,
    endpoints: parts.endpoints,
    components: [
      supervisorStatus(parts),
      ...parts.components
        .toReversed()
        .map((component) =>
          componentStatus(
            component,
            parts.host,
            (component.name === 'ingest' ? ingestStatus : lakeStatus)?.memoryBytes ?? 0,
          ),
        ),
    ],
    topics: lakeStatus?.topics ?? [],
    tables: lakeStatus?.tables ?? [],
    attention: [
      ...definitionLines(parts),
      ...parts.components.flatMap((component) => problemLines(component)),
      ...(lake instanceof Error ? [unansweredLine('lake', lake, ingestStatus)] : []),
      ...(ingest instanceof Error ? [unansweredLine('ingest', ingest, undefined)] : []),
      ...(ingestStatus?.attention ?? []),
      ...unknownPathLines(ingestStatus, parts.configName),
      ...(lakeStatus?.attention ?? []),
    ],
  }
}

async function ask(
  component: Component | undefined,
): Promise<IngestStatus | LakeStatus | QuestlogError | undefined> {
  try {
    return await component?.request('status', {}, statusTimeoutMs)
  } catch (error) {
    return asQuestlogError(error)
  }
}

function supervisorStatus(parts: StatusParts): ComponentStatus {
  return {
    name: 'supervisor',
    command: commands.supervisor,
    state: parts.stopping ? 'stopping' : 'running',
    pid: process.pid,
    ports: '',
    uptimeMs: Math.round(parts.uptimeMs),
    memoryBytes: process.memoryUsage.rss(),
    restarts: 0,
  }
}

function componentStatus(component: Component, host: string, memoryBytes: number): ComponentStatus {
  const { name, state, pid, port, brokerPort, uptimeMs, restarts } = component
  const ports = brokerPort === null ? [port] : [port, brokerPort]
  return {
    name,
    command: commands[name],
    state,
    pid,
    ports: state === 'running' ? ports.map((at) => formatAddress(host, at)).join(', ') : '',
    uptimeMs: Math.round(uptimeMs),
    memoryBytes,
    restarts,
  }
}

function definitionLines({ refused, configName, definitionVersion }: StatusParts): string[] {
  if (refused === undefined) return []
  return [
    `${configName} was saved but not taken, version ${definitionVersion} stays live: ${refused.message}`,
  ]
}

function problemLines({ name, problem, restarts, lastEnd }: Component): string[] {
  if (problem !== undefined) return [`${name} can not start: ${problem.message} (${problem.hint})`]
  if (lastEnd === undefined) return []
  const last = `last ${formatDuration(lastEnd.agoMs)} ago: it ${lastEnd.cause}`
  return [`${name} was started again ${formatMany(restarts, 'time')}, ${last}`]
}

function unansweredLine(
  role: Component['name'],
  error: QuestlogError,
  ingest: IngestStatus | undefined,
): string {
  const kept = (ingest?.topics ?? []).reduce((sum, topic) => sum + topic.kept, 0)
  const events = ingest === undefined ? '' : `; ${formatMany(kept, 'event')} are on the log`
  return `${role} gives no figures now (${error.message})${events}`
}

function unknownPathLines(ingest: IngestStatus | undefined, configName: string): string[] {
  const paths = ingest?.unknownPaths ?? []
  const most = paths.toSorted((one, other) => other.count - one.count)
  const lines = most
    .slice(0, unknownPathsShown)
    .map(
      ({ path, count }) =>
        `unknown path ${path} was called ${formatMany(count, 'time')}: add its route to ${configName}`,
    )
  const rest = paths.length - unknownPathsShown
  return rest > 0 ? [...lines, `${formatCount(rest)} more unknown paths were called`] : lines
}
