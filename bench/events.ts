import { writeFileSync } from 'node:fs'
import { seededRandom } from './statistics.ts'

/** Bytes of an event as NDJSON, its line feed included. */
export const eventBytes = 200
export const eventsPerBatch = 1_000
const batches = 400

/** The fields of an event with the types that the benchmark's definition and DuckDB's own conversion give them. */
export const eventFields = {
  event_type: 'VARCHAR',
  player: 'VARCHAR',
  session: 'VARCHAR',
  item: 'VARCHAR',
  color: 'VARCHAR',
  amount: 'BIGINT',
  price: 'DOUBLE',
  level: 'BIGINT',
  note: 'VARCHAR',
} as const

const items = ['sword', 'knife', 'bow', 'shield', 'potion', 'guild_badge', 'horse', 'map']
const words =
  'the a of dragon and castle to in gold quest wins with river from old tower night'.split(' ')
const colors = ['red', 'green', 'blue', 'black', 'white']

/**
 * Writes distinct events as NDJSON, `eventBytes` each; the same in every run. There are more of them than rows in a row group of
 * Parquet, so that sending them again makes no file smaller. Resolves to their number.
 */
export function writeEvents(path: string): number {
  const random = seededRandom(7)
  const whole = (below: number) => Math.floor(random() * below)
  const letters = () =>
    Math.floor(random() * 36 ** 6)
      .toString(36)
      .padStart(6, '0')
  const count = batches * eventsPerBatch
  const bytes = Buffer.alloc(count * eventBytes)
  for (let number = 0; number < count; number++) {
    const start =
      `{"event_type":"purchase","player":"p${String(whole(100_000)).padStart(6, '0')}","session":"${letters()}${letters()}",` +
      `"item":"${items[whole(items.length)]}","color":"${colors[whole(colors.length)]}","amount":${whole(1_000_000)},` +
      `"price":${(whole(10_000) / 100).toFixed(2)},"level":${whole(100)},"note":"`
    let note = ''
    while (start.length + note.length < eventBytes - 3) note += `${words[whole(words.length)]} `
    const line = `${start}${note.slice(0, eventBytes - 3 - start.length)}"}\n`
    bytes.write(line, number * eventBytes, 'latin1')
  }
  writeFileSync(path, bytes)
  return count
}
