import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { queryRows } from '../../src/core/duckdb.ts'
import type { Narrowing } from '../../src/lake/pruning.ts'
import { readNarrowing } from '../../src/sql/narrow.ts'
import { ask, openBench, planSelect, type Bench } from './support.ts'

let bench: Bench
beforeAll(async () => {
  bench = await openBench()
})
afterAll(() => bench.close())

async function read(sql: string) {
  const { tree, source } = await planSelect(bench, sql)
  return readNarrowing(tree, source.sql, Date.parse('2026-03-31T12:00:00Z'))
}

const [low, high] = [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY]

test.each<[string, readonly string[], Narrowing['ranges']]>([
  ['where _offset = 12345', ['damage', '_offset'], [{ column: '_offset', min: 12345, max: 12345 }]],
  [
    `s where "Damage" > 3 and (s._offset <= 9 and color = '7')`,
    ['damage', 's', '_offset', 'color'],
    [{ column: 'damage', min: 3, max: high }],
  ],
  [
    'where damage between 10 and 20 and _offset < 5 limit 3',
    ['damage', '_offset'],
    [
      { column: 'damage', min: 10, max: 20 },
      { column: '_offset', min: low, max: 5 },
    ],
  ],
  ['where damage = 3 or _offset = 4', ['damage', '_offset'], []],
  ['where not damage = 3', ['damage'], []],
  ['where damage = -3 and damage = 1.5 and damage = 1e3 and damage = $$4$$', ['damage'], []],
  ['where damage between 1 + 1 and 9', ['damage'], [{ column: 'damage', min: low, max: 9 }]],
  ['where damage = 9999999999999999', ['damage'], []],
  [
    `where color = 'é𝄞' and damage = 3`,
    ['color', 'damage'],
    [{ column: 'damage', min: 3, max: 3 }],
  ],
  [
    `where damage = 3 and color = 'é𝄞' and _offset between 4 and 5 and color <> 'ü' and damage < 7`,
    ['damage', 'color', '_offset'],
    [
      { column: 'damage', min: 3, max: 3 },
      { column: '_offset', min: 4, max: 5 },
      { column: 'damage', min: low, max: 7 },
    ],
  ],
  ['where color.damage = 3', ['color', 'damage'], []],
  [
    'group by color having max(size) > 3 order by weight limit 2',
    ['damage', 'color', 'size', 'weight'],
    [],
  ],
])(
  'of `select damage from swords %s` the columns and the numbers are known',
  async (rest, columns, ranges) => {
    const table = await read(`select damage from swords ${rest}`)
    expect(table?.name).toBe('swords')
    expect(new Set(table?.wanted.columns)).toEqual(new Set(columns))
    expect(table?.wanted.ranges).toEqual(ranges)
  },
)

test.each([
  'select * from swords where damage = 3',
  'select swords.* from swords',
  "select columns('d.*') from swords",
  'select #1 from swords',
  'select swords from swords',
  'select to_json(s) from swords as s',
  'from swords',
  'select a from swords as s(a)',
  'select damage from "default".swords',
  'select damage from swords, shields',
  'select damage from swords where damage = (select max(damage) from swords)',
  'select row_number() over (order by damage) from swords',
  'with swords as (select 1 as damage) select damage from swords',
  'select damage from swords union all select damage from swords',
  'select damage from swords using sample 3',
  'select damage from (select * from swords)',
  'select 1',
])('`%s` may ask for all there is', async (sql) => {
  expect(await read(sql)).toBeUndefined()
})

const us = (time: string) => Date.parse(time) * 1000
const days = (count: number) => count * 86_400_000_000

test.each<[string, number, number]>([
  [`>= timestamptz '2026-01-15 23:58:59.999'`, us('2026-01-15T23:58:59.999Z'), high],
  [`= '2026-01-15T10:00:00.123456Z'`, ...twice(us('2026-01-15T10:00:00.123Z') + 456)],
  [`< '2026-01-15 10:00+00'`, low, us('2026-01-15T10:00:00Z')],
  [
    `between date '2026-01-15' and '2026-01-16 12:00'::timestamp`,
    us('2026-01-15T00:00:00Z'),
    us('2026-01-16T12:00:00Z'),
  ],
  [`between now() and lower(color)::date`, us('2026-03-30T12:00:00Z'), high],
  [`> now() - interval '3 hours'`, us('2026-03-30T09:00:00Z'), high],
  [`> now() - interval 12 hour`, us('2026-03-30T00:00:00Z'), high],
  [`<= now() - interval '1' day`, low, us('2026-03-31T12:00:00Z')],
  [`> now() - interval '1 month'`, us('2026-03-30T12:00:00Z') - days(31), high],
  [`< now() - interval '1 month'`, low, us('2026-04-01T12:00:00Z') - days(28)],
])('of `_timestamp %s` the moments are known', async (condition, min, max) => {
  const table = await read(`select 1 from swords where _timestamp ${condition}`)
  expect(table?.wanted.ranges).toEqual([{ column: '_timestamp', min, max, microseconds: true }])
})

function twice(value: number): [number, number] {
  return [value, value]
}

test.each([
  `> '2026-01-15 10:00+02'`,
  `> '2026-01-15 10'`,
  `> '15.1.2026'`,
  `> 'infinity'`,
  `> '2026-01-15 10:00:00.1234567'`,
  `> date '2026-01-15 10:00'`,
  `> '2026-01-15'::timestamp_s`,
  `> $$now()$$`,
  `> now() + interval '3 hours'`,
  `> now() - interval '3 hours 2 minutes'`,
  `> now() - interval '-3 hours'`,
  `> now() - interval (damage) hour`,
  `< now() - interval (trunc(36, -1)) hour`,
  `< now() - to_days(9::boolean::int)`,
  `> other.now() - interval '3 hours'`,
  `> localtimestamp - interval '3 hours'`,
  `between 3 and '2026-01-15'`,
])('`_timestamp %s` may mean any moment', async (condition) => {
  const table = await read(`select 1 from swords where _timestamp ${condition}`)
  expect(table?.wanted.ranges).toEqual([])
})

test('moments are those that DuckDB reads', async () => {
  const { writer } = bench
  await writer.run("SET TimeZone = 'UTC'")
  const part = (max: number) => fc.integer({ min: 0, max }).map((n) => String(n).padStart(2, '0'))
  const text = fc
    .tuple(
      fc.integer({ min: 1, max: 9999 }).map((year) => String(year).padStart(4, '0')),
      part(13),
      part(32),
      fc.constantFrom(' ', 'T'),
      part(25),
      part(60),
      fc.option(
        fc.tuple(part(60), fc.constantFrom('', '.', '.5', '.25', '.001', '.123456', '.000009')),
      ),
      fc.constantFrom('', 'Z', '+00', '+00:00', '+01'),
    )
    .map(([year, month, day, between, hour, minute, second, zone]) => {
      const seconds = second === null ? '' : `:${second.join('')}`
      return `${year}-${month}-${day}${between}${hour}:${minute}${seconds}${zone}`
    })
  await fc.assert(
    fc.asyncProperty(text, async (time) => {
      const range = (await read(`select 1 from swords where _timestamp > '${time}'`))?.wanted
        .ranges[0]
      const [row] = await queryRows(
        writer,
        `SELECT epoch_us(TRY_CAST('${time}' AS TIMESTAMPTZ)) AS aware, epoch_us(TRY_CAST('${time}' AS TIMESTAMP)) AS plain`,
      )
      if (range === undefined || row?.['aware'] === null) return
      expect([range.min, range.min]).toEqual([Number(row?.['aware']), Number(row?.['plain'])])
    }),
    { numRuns: 100 },
  )
})

/** What is asked of the table, and answered with a part of it. */
function answerWith(scan: string): Narrowing[] {
  const asked: Narrowing[] = []
  bench.source.narrowedScan = (name, wanted) => {
    if (name !== 'sword_purchases') return undefined
    asked.push(wanted)
    return scan
  }
  return asked
}

test('a statement gets the part of its table that it names, with the numbers of its own text', async () => {
  const asked = answerWith('SELECT damage FROM _fresh.sword_purchases_1 WHERE damage IN (2, 3)')
  for (const damage of [2, 3]) {
    const { rows } = await ask(
      bench.engine,
      `select damage from SWORD_PURCHASES where damage = ${damage}`,
    )
    expect(rows).toEqual([[damage]])
    expect(asked.pop()?.ranges).toEqual([{ column: 'damage', min: damage, max: damage }])
  }
  for (const sql of [
    'select s.damage + 1 as more from sword_purchases s',
    `select damage + length('é𝄞') - 1 from "sword_purchases"`,
    '/* from sword_purchases */ from "Sword_Purchases" as "select" select "select".damage + 1',
    'select sword_purchases.damage + 1 from sword_purchases -- limit 1',
  ]) {
    expect((await ask(bench.engine, sql)).rows).toEqual([[3], [4]])
    expect(asked.pop()?.columns).toContain('damage')
  }
})

test('a part that is gone is no failure: the statement reads the whole table', async () => {
  const asked = answerWith('SELECT damage FROM _fresh.gone')
  const { rows } = await ask(bench.engine, 'select damage from sword_purchases where damage = 7')
  expect(rows).toEqual([[7]])
  expect(asked).toHaveLength(1)
})

test('a statement that is streamed gets a part of its table when files may be left out', async () => {
  const asked = answerWith(
    'SELECT damage, _timestamp FROM _fresh.sword_purchases_1 WHERE damage = 4',
  )
  const group = (where: string) =>
    ask(bench.engine, `select damage, count(*) from sword_purchases ${where} group by damage`)
  const { rows } = await group(`where _timestamp >= timestamptz '2020-01-01'`)
  expect(rows).toEqual([[4, 1]])
  expect(asked.pop()?.ranges).toHaveLength(1)
  expect((await group(`where damage + 1 < 6`)).rows).toHaveLength(5)
  expect(asked).toEqual([])
  answerWith('SELECT damage FROM _fresh.gone')
  expect((await group(`where damage < 5`)).rows).toHaveLength(5)
})

test('a failure of the statement is told in its own words and places', async () => {
  const failure = async (sql: string) => {
    const error: unknown = await ask(bench.engine, sql).catch((reason: unknown) => reason)
    if (!(error instanceof Error)) throw new Error(`${sql} did not fail`)
    return error
  }
  for (const sql of [
    'select damge from sword_purchases where damage = 7',
    `select cast(damage || 'x' as integer) from sword_purchases where damage = 7`,
    `select cast(damage || 'x' as integer) from sword_purchases where damage = 7 order by 1`,
    `select damge, count(*) from sword_purchases where damage = 7 group by 1`,
  ]) {
    const asked = answerWith('SELECT damage FROM _fresh.sword_purchases_1')
    const narrowed = await failure(sql)
    expect(asked).toHaveLength(1)
    bench.source.narrowedScan = () => undefined
    expect(await failure(sql)).toEqual(narrowed)
  }
})

test.each([
  ['select damage from only sword_purchases where damage = 7'],
  ['select damage from sword_purchases* where damage = 7'],
])('`%s` has no room for a part of the table: it reads the whole', async (sql) => {
  const asked = answerWith('SELECT damage FROM _fresh.sword_purchases_1')
  expect((await ask(bench.engine, sql)).rows).toEqual([[7]])
  expect(asked).toHaveLength(1)
})

test.each(['\u00a0', '\u2003', '\u200b', '\u3000', '\ufeff'])(
  'places are not mistaken behind %j, which DuckDB counts as one byte',
  async (space) => {
    answerWith('SELECT damage FROM _fresh.sword_purchases_1 WHERE damage < 5')
    for (const count of [1, 4, 5, 8, 12]) {
      const sql = `select${space.repeat(count)} 'a a a a a a a a a a a a a', damage from sword_purchases where _offset < 1 + 1 and damage = 1`
      const { rows } = await ask(bench.engine, sql)
      expect(rows).toEqual([['a a a a a a a a a a a a a', 1]])
    }
  },
)
