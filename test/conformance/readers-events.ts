import { stringify } from 'lossless-json'
import { seededRandom } from '../support/random.ts'

/** A column of the tables under test. */
export interface Field {
  readonly name: string
  readonly type:
    | 'string'
    | 'boolean'
    | 'int'
    | 'long'
    | 'double'
    | 'date'
    | 'timestamptz'
    | 'binary'
    | 'nested'
}

const texts = (...names: string[]): Field[] => names.map((name) => ({ name, type: 'string' }))

const leading = texts('raw_event', 'timestamp', 'Accept', 'Host', 'User-Agent', 'event_type')
const system: readonly Field[] = [
  { name: 'event_id', type: 'string' },
  { name: '_log_partition', type: 'int' },
  { name: '_offset', type: 'long' },
  { name: '_timestamp', type: 'timestamptz' },
]

/** The columns that come from the definition, after its change. */
const heroes: readonly Field[] = [
  { name: 'name', type: 'string' },
  { name: 'clan', type: 'string' },
  { name: 'brave', type: 'boolean' },
  { name: 'level', type: 'long' },
  { name: 'might', type: 'int' },
  { name: 'gold', type: 'long' },
  { name: 'weight', type: 'double' },
  { name: 'born', type: 'date' },
  { name: 'seen', type: 'timestamptz' },
  { name: 'ident', type: 'string' },
  { name: 'badge', type: 'binary' },
  { name: 'tags', type: 'nested' },
  { name: 'scores', type: 'nested' },
  { name: 'home', type: 'nested' },
  { name: 'bag', type: 'nested' },
  { name: 'title', type: 'string' },
]

/** The tables under test, with the columns of now. */
export const tables: Readonly<Record<string, readonly Field[]>> = {
  heroes: [...leading, ...heroes, ...system],
  sword_purchases: [
    ...leading,
    { name: 'color', type: 'string' },
    { name: 'damage', type: 'int' },
    ...system,
  ],
}

/** The definition before its change, or after: a column added, one widened, one renamed. */
export function definition(changed: boolean): string {
  return `import { defineConfig, event, table } from 'questlog'
import { z } from 'zod'

export default defineConfig({
  topics: { events: { partitions: 2 } },
  events: {
    hero: event({
      headers: false,
      params: z.object({
        name: z.string(),
        clan: z.string(),
        brave: z.boolean(),
        level: ${changed ? 'z.int()' : 'z.int32()'},
        ${changed ? 'might' : 'strength'}: z.int32(),
        gold: z.int(),
        weight: z.number(),
        born: z.iso.date(),
        seen: z.iso.datetime(),
        ident: z.uuid(),
        badge: z.base64(),
        tags: z.array(z.string()),
        scores: z.record(z.string(), z.int()),
        home: z.object({ town: z.string(), at: z.object({ x: z.number(), y: z.number() }) }),
        bag: z.array(
          z.object({ item: z.string(), found: z.iso.datetime(), runes: z.record(z.string(), z.array(z.int32())) }),
        ),${changed ? '\n        title: z.string(),' : ''}
      }).partial(),
    }),
    purchase_sword: event({
      route: 'GET /purchase_a_sword',
      reply: 'Sword Purchased!\\n',
      params: z.object({ color: z.string().optional(), damage: z.int32().optional() }),
    }),
  },
  tables: {
    heroes: table({
      from: 'hero',
      trigger: '500ms',${changed ? "\n      renamed: { might: 'strength' }," : ''}
    }),
    sword_purchases: table({ from: 'purchase_sword', trigger: '500ms' }),
  },
})
`
}

const names = [
  'Ada',
  'O\'Brien "the bold"',
  'Zoë',
  '龍 🐉',
  'back\\slash',
  'two\nlines',
  '',
  'NULL',
]
const clans = ['red', 'a=b/c', 'Ünïted 100%', '[two] words, 龍', '7']

/** Events as lines of JSON: each column is null in some of them. Whole weights in quarters have sums without rounding in any order. */
export function heroEvents(count: number, from: number, changed: boolean): string {
  const random = seededRandom(from + 1)
  const hosts = ['user1.comcast.com', 'user2.att.com']
  return Array.from({ length: count }, (_, index) => {
    const n = from + index
    const big = 2n ** 53n + BigInt(n) * 2n + 1n
    const seconds = String(n % 60).padStart(2, '0')
    const year = n % 5 === 0 ? 1871 : 2026
    const all: Record<string, unknown> = {
      name: names[n % names.length],
      clan: clans[n % clans.length],
      brave: n % 3 === 0,
      level: changed ? 5_000_000_000 + n : n - 40,
      [changed ? 'might' : 'strength']: random.below(2000) - 1000,
      gold: n % 2 === 0 ? big : -big,
      weight: (random.below(4000) - 2000) / 4,
      born: `${year}-0${1 + (n % 9)}-1${n % 9}`,
      seen: `${year}-11-21T10:11:${seconds}.${String(n * 977).padStart(6, '0')}Z`,
      ident: `00000000-0000-4000-8000-${n.toString(16).padStart(12, '0')}`,
      badge: Buffer.from([n % 256, 255, 0, 10]).toString('base64'),
      tags: [names[n % 4], null, 'x'].slice(0, n % 4),
      scores: n % 6 === 0 ? {} : { [`día ${n % 3}`]: big, low: -n },
      home: { town: names[(n + 1) % names.length], at: { x: n / 2, y: null } },
      bag: [{ item: 'Schwert', found: `${year}-01-02T03:04:${seconds}Z`, runes: { a: [n, -n] } }],
      ...(changed ? { title: `Sir ${names[(n + 3) % 4] ?? ''}` } : {}),
    }
    const kept = Object.entries(all).filter(() => random.below(10) > 0)
    const event = { event_type: 'hero', Host: hosts[n % 2], ...Object.fromEntries(kept) }
    return stringify(event) ?? ''
  }).join('\n')
}
