import type { Column } from '../plan/columns.ts'
import { quoteText } from '../plan/columns.ts'
import type { LogRecord } from '../log/record.ts'
import { eventTypeSql, type TopicConversion } from './conversion.ts'
import { hasBit } from './verdict.ts'

/** A record that a table, or every table (`table` null), could not take. */
export interface SetAside {
  readonly partition: number
  readonly record: LogRecord
  readonly table: string | null
  readonly path: string | null
  readonly reason: string
}

export const deadLetterNamespace = 'questlog'
export const deadLetterTable = 'dead_letters'

/** Columns of `questlog.dead_letters`. `table` is null when the record fits no table at all. */
export const deadLetterColumns: readonly Column[] = [
  { name: 'topic', type: { kind: 'string' } },
  { name: 'partition', type: { kind: 'int' } },
  { name: 'offset', type: { kind: 'long' } },
  { name: 'table', type: { kind: 'string' } },
  { name: 'reason', type: { kind: 'string' } },
  { name: 'path', type: { kind: 'string' }, doc: 'the field that does not fit' },
  { name: 'raw', type: { kind: 'binary' }, doc: 'the value of the record, byte for byte' },
  { name: '_timestamp', type: { kind: 'timestamptz' }, doc: 'record time' },
]

const place = (topic: string) => `${quoteText(topic)}, _log_partition, _offset`

/** Rows of dead letters for the records of `parsed` that match a table but do not fit it. */
export function misfitRows(
  topic: string,
  table: string,
  conversion: TopicConversion,
  condition: string,
): string {
  const sql = conversion.tables.get(table)
  if (sql === undefined) throw new TypeError(`table ${table} does not read topic ${topic}`)
  const index = [...conversion.tables.keys()].indexOf(table)
  return `SELECT ${place(topic)}, ${quoteText(table)}, ${sql.misfitReason}, ${sql.misfitPath}, encode(raw), make_timestamptz(_ms * 1000) FROM parsed WHERE ${hasBit('a', index)} AND ${condition}`
}

/** Rows of dead letters for the records of `parsed` that are no events of this topic. */
export function undeclaredRows(topic: string, condition: string): string {
  const reason = `CASE WHEN coalesce(TRY(json_type(raw)), 'OBJECT') <> 'OBJECT' THEN 'not a JSON object' WHEN ${eventTypeSql} IS NULL THEN 'event_type is missing' ELSE 'event_type is not declared: ' || left(${eventTypeSql}, 100) END`
  return `SELECT ${place(topic)}, NULL, ${reason}, 'event_type', encode(raw), make_timestamptz(_ms * 1000) FROM parsed WHERE NOT declared AND ${condition}`
}
