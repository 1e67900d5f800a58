import type { Random } from '../support/random.ts'

/** The topics of the load; `arena` has two partitions. */
export type TopicName = 'arena' | 'market'

/** One event, as it is sent: what becomes of it follows from these fields alone. */
export interface SentEvent {
  /** Its number, sent once. */
  readonly n: number
  readonly type: string
  readonly topic: TopicName
  readonly fields: Readonly<Record<string, string>>
}

/** An event that every definition of the run knows, or one of the types that reloads have added. */
export function makeEvent(n: number, added: readonly string[], random: Random): SentEvent {
  const kind = random.pick(['strike', 'strike', 'join', 'trade', 'trade', 'chat', 'added'])
  const type = random.below(Math.max(1, added.length))
  switch (kind) {
    case 'strike':
      return {
        n,
        type: 'strike',
        topic: 'arena',
        fields: {
          damage: random.chance(0.15) ? 'a lot' : String(random.below(100)),
          color: random.pick(['red', 'blue']),
        },
      }
    case 'trade':
      return {
        n,
        type: 'trade',
        topic: 'market',
        fields: { price: random.chance(0.1) ? 'free' : String(random.below(20)) },
      }
    case 'chat':
      return { n, type: 'chat', topic: 'market', fields: {} }
    case 'added':
      return { n, type: added[type] ?? 'join', topic: 'arena', fields: {} }
    default:
      return { n, type: 'join', topic: 'arena', fields: { guild: `guild ${random.below(9)}` } }
  }
}

/** What must become of an event in a table: a row, a dead letter, or nothing. */
export type Fate = 'row' | 'set aside' | 'nothing'

/** The rules of the definition, written a second time. Tables that reloads add take every event of `arena`. */
export function fateIn(table: string, { type, topic, fields }: SentEvent): Fate {
  const whole = (text: string | undefined) => /^\d+$/.test(text ?? '')
  switch (table) {
    case 'strikes':
      if (type !== 'strike') return 'nothing'
      return whole(fields['damage']) ? 'row' : 'set aside'
    case 'red_strikes':
      if (type !== 'strike') return 'nothing'
      if (!whole(fields['damage'])) return 'set aside'
      return fields['color'] === 'red' ? 'row' : 'nothing'
    case 'trades':
      if (type !== 'trade') return 'nothing'
      if (!whole(fields['price'])) return 'set aside'
      return Number(fields['price']) > 10 ? 'row' : 'nothing'
    default:
      return topic === 'arena' ? 'row' : 'nothing'
  }
}
