import { QuestlogError } from '../core/errors.ts'

/** How far a table has read its topic: the next offset of each partition, by topic id. The JSON form is `{topicId:{partition:"decimal string"}}`. */
export type TableOffsets = ReadonlyMap<string, ReadonlyMap<number, number>>

/** The table property (and the entry of a snapshot's summary) that holds the offsets. */
export const offsetsProperty = 'questlog.offsets'

/** The property's text. Topics and partitions are in a fixed order, so that equal offsets give equal text. */
export function formatOffsets(offsets: TableOffsets): string {
  const topics = [...offsets].sort(([a], [b]) => (a < b ? -1 : 1))
  return JSON.stringify(
    Object.fromEntries(
      topics.map(([topicId, partitions]) => [
        topicId,
        Object.fromEntries(
          [...partitions].map(([partition, offset]) => [String(partition), String(offset)]),
        ),
      ]),
    ),
  )
}

/** Reads the property; no text means no offsets. Throws TABLE_DAMAGED for anything that `formatOffsets` does not write. */
export function parseOffsets(text: string | undefined): TableOffsets {
  if (text === undefined) return new Map()
  return new Map(
    entries(parseJson(text), text).map(([topicId, partitions]) => [
      topicId,
      new Map(
        entries(partitions, text).map(([partition, offset]) => [
          decimal(partition, text),
          decimal(offset, text),
        ]),
      ),
    ]),
  )
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw damaged(text, error)
  }
}

function entries(value: unknown, text: string): [string, unknown][] {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw damaged(text)
  return Object.entries(value)
}

function decimal(value: unknown, text: string): number {
  const number = typeof value === 'string' && /^\d+$/.test(value) ? Number(value) : Number.NaN
  if (!Number.isSafeInteger(number)) throw damaged(text)
  return number
}

function damaged(text: string, cause?: unknown): QuestlogError {
  return new QuestlogError(
    'TABLE_DAMAGED',
    `the table property ${offsetsProperty} can't be read: ${text.slice(0, 200)}`,
    { property: offsetsProperty },
    { cause },
  )
}
