import type { QuestlogError } from '../core/errors.ts'
import type { Appended, NewRecord, Topic } from '../log/record.ts'
import type { EventResult } from './answers.ts'
import type { Outcome } from './body-events.ts'
import type { PreparedEvent } from './prepared.ts'

/** The part of the event log that the collector writes to. */
export interface EventSink {
  topic(name: string): Topic | undefined
  /**
   * All records of one call go to one partition, in order. Resolves when they are acknowledged.
   * @throws OVERLOADED, PARTITION_OFFLINE, OUTCOME_UNKNOWN, EVENT_TOO_LARGE, TOPIC_UNKNOWN, SHUTTING_DOWN
   */
  append(topic: string, key: Uint8Array | null, records: readonly NewRecord[]): Promise<Appended>
}

/** `<topic>/<partition>/<offset>`: where the event with this index in its append lies. */
export function formatReceipt(appended: Appended, index: number): string {
  return `${appended.topic}/${appended.partition}/${appended.baseOffset + index}`
}

interface Group {
  readonly topic: string
  readonly key: Uint8Array | null
  readonly records: NewRecord[]
  /** Position of each record among the outcomes. */
  readonly positions: number[]
}

/** Appends the events of one request, one append for each topic and key, and returns a result for every outcome, in their order. */
export async function appendAll(
  log: EventSink,
  outcomes: readonly Outcome[],
  toError: (error: unknown) => QuestlogError,
): Promise<EventResult[]> {
  const results: EventResult[] = Array.from({ length: outcomes.length })
  const groups = new Map<string, Group>()
  for (const [position, outcome] of outcomes.entries()) {
    if (outcome instanceof Error) {
      results[position] = { error: outcome }
      continue
    }
    const group = groupOf(groups, outcome)
    group.records.push(outcome.records[0])
    group.positions.push(position)
  }
  const appends = [...groups.values()].map(async ({ topic, key, records, positions }) => {
    try {
      const appended = await log.append(topic, key, records)
      for (const [index, position] of positions.entries())
        results[position] = { receipt: formatReceipt(appended, index) }
    } catch (error) {
      const refused = { error: toError(error) }
      for (const position of positions) results[position] = refused
    }
  })
  await Promise.all(appends)
  return results
}

function groupOf(groups: Map<string, Group>, { topic, key }: PreparedEvent): Group {
  const name = key === null ? topic : `${topic}\n${Buffer.from(key).toString('latin1')}`
  let group = groups.get(name)
  if (group === undefined) {
    group = { topic, key, records: [], positions: [] }
    groups.set(name, group)
  }
  return group
}
