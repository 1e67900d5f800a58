import type { OffsetRange } from './ledger.ts'
import type { StreamTable } from './stream-table.ts'

/** Table property of `questlog.dead_letters`: `{table:{topicId:{partition:"next offset"}}}`; records that fit no table stand under "". */
export const setAsideProperty = 'questlog.set-aside-offsets'

type Stored = Record<string, Record<string, Record<string, string>>>

/** Up to where the committed dead letters reach, of every table and topic. */
export function parseSetAside(text: string | undefined): Stored {
  return text === undefined ? {} : (JSON.parse(text) as Stored) // written by formatSetAside
}

/**
 * Which records of one topic were set aside already. A table's rows and dead letters advance together, so a table's own next offset counts;
 * after a crash between the commit of the dead letters and the table's, the dead letters are ahead.
 */
export class SetAsideOffsets {
  readonly topicId: string
  readonly #committed: ReadonlyMap<string, ReadonlyMap<number, number>>
  readonly #undeclared: Map<number, number>

  constructor(topicId: string, stored: Stored) {
    this.topicId = topicId
    const offsets = (table: string) =>
      new Map(
        Object.entries(stored[table]?.[topicId] ?? {}).map(([partition, offset]) => [
          Number(partition),
          Number(offset),
        ]),
      )
    this.#committed = new Map(Object.keys(stored).map((table) => [table, offsets(table)]))
    this.#undeclared = offsets('')
  }

  /** Next offset to set aside by partition, for a table, or for records that fit no table. */
  from(table: StreamTable | null): ReadonlyMap<number, number> {
    if (table === null) return this.#undeclared
    const committed = this.#committed.get(table.definition.name)
    if (committed === undefined) return table.next
    const partitions = new Set([...committed.keys(), ...table.next.keys()])
    return new Map(
      [...partitions].map((partition) => [
        partition,
        Math.max(committed.get(partition) ?? 0, table.next.get(partition) ?? 0),
      ]),
    )
  }

  /** Marks the records of these ranges that fit no table as set aside. */
  advance(ranges: ReadonlyMap<number, OffsetRange>): void {
    for (const [partition, { to }] of ranges)
      this.#undeclared.set(partition, Math.max(this.#undeclared.get(partition) ?? 0, to))
  }

  /** Adds this topic's offsets to what a commit of the dead letters stores. */
  store(stored: Stored, tables: readonly StreamTable[]): void {
    const add = (table: string, offsets: ReadonlyMap<number, number>) => {
      const topics = (stored[table] ??= {})
      topics[this.topicId] = Object.fromEntries(
        [...offsets].map(([partition, offset]) => [String(partition), String(offset)]),
      )
    }
    add('', this.#undeclared)
    for (const table of tables) add(table.definition.name, this.from(table))
  }
}

export function formatSetAside(stored: Stored): string {
  return JSON.stringify(stored)
}
