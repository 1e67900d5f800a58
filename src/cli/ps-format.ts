import type {
  ComponentState,
  ComponentStatus,
  Endpoints,
  InstanceStatus,
  TopicStatus,
} from '../app/roles.ts'
import { formatBytes, formatCount, formatDuration } from '../app/words.ts'

/** `questlog ps --json`: a contract, described in docs/reference/cli.md. */
export interface PsJson {
  readonly endpoints: Endpoints
  readonly components: readonly {
    readonly name: string
    readonly state: ComponentState
    readonly pid: number | null
    readonly uptimeMs: number
  }[]
  readonly topics: readonly {
    readonly name: string
    readonly kept: number
    readonly inTables: number
    readonly filtered: number
    readonly deadLetters: number
    readonly unrouted: number
    readonly inFlight: number
    readonly removed: number
  }[]
}

export function psJson(endpoints: Endpoints, statuses: readonly InstanceStatus[]): PsJson {
  const { collector, broker, sql } = endpoints
  return {
    endpoints: { collector, broker, sql },
    components: statuses
      .flatMap(({ components }) => components)
      .map(({ name, state, pid, uptimeMs }) => ({ name, state, pid, uptimeMs })),
    topics: statuses
      .flatMap(({ topics }) => topics)
      .map(({ name, kept, inTables, filtered, deadLetters, unrouted, inFlight, removed }) => ({
        name,
        kept,
        inTables,
        filtered,
        deadLetters,
        unrouted,
        inFlight,
        removed,
      })),
  }
}

const header = ['Name', 'Command', 'State', 'Ports', 'Pid', 'Up', 'Memory']

/** The processes, a line a topic that says where its events are, a line for each thing that needs a look. Only the header when nothing runs. */
export function psLines(statuses: readonly InstanceStatus[]): string[] {
  const components = statuses.flatMap((status) => status.components)
  const topics = statuses.flatMap((status) => status.topics)
  const attention = statuses.flatMap((status) => status.attention)
  return [
    ...alignColumns([header, ...components.map(componentCells)]),
    ...(topics.length === 0 ? [] : ['', ...topics.map(topicLine)]),
    ...(attention.length === 0 ? [] : ['', ...attention.map((line) => `! ${line}`)]),
  ]
}

function componentCells(component: ComponentStatus): string[] {
  const { name, command, state, ports, pid, uptimeMs, memoryBytes } = component
  return [
    name,
    command,
    state,
    ports,
    pid === null ? '' : String(pid),
    pid === null ? '' : formatDuration(uptimeMs),
    memoryBytes === 0 ? '' : formatBytes(memoryBytes),
  ]
}

/** `events: answered 4,891 = in tables 4,800 + filtered 0 + set aside 91 + in no table 0 + on the way 0 — adds up` */
function topicLine(topic: TopicStatus): string {
  const parts = [
    `in tables ${formatCount(topic.inTables)}`,
    `filtered ${formatCount(topic.filtered)}`,
    `set aside ${formatCount(topic.deadLetters)}`,
    `in no table ${formatCount(topic.unrouted)}`,
    `on the way ${formatCount(topic.inFlight)}`,
  ]
  const verdict = topic.addsUp ? 'adds up' : 'DOES NOT ADD UP: run `questlog audit`'
  const removed =
    topic.removed === 0
      ? ''
      : `; ${formatCount(topic.removed)} of them retention has removed from the log`
  return `${topic.name}: answered ${formatCount(topic.kept)} = ${parts.join(' + ')} — ${verdict}${removed}`
}

/** Cells padded to the widest of their column, three spaces between, none at the end. */
function alignColumns(rows: readonly (readonly string[])[]): string[] {
  const widths = header.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  return rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('   ')
      .trimEnd(),
  )
}
