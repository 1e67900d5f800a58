import { expect, test } from 'vitest'
import { z } from 'zod'
import { compileDefinition } from '../../src/plan/compile.ts'
import type { Definition } from '../../src/plan/definition.ts'
import { describeChange, durationText } from '../../src/plan/diff.ts'

function compiled(config: unknown): Definition {
  const { definition, problems } = compileDefinition(config)
  if (definition === undefined) throw new Error(JSON.stringify(problems))
  return definition
}

const sword = { route: 'GET /purchase_a_sword', reply: 'Sword\n' }
const base = { events: { purchase_sword: sword }, tables: { swords: { from: 'purchase_sword' } } }

test('the first definition is all new', () => {
  expect(describeChange(undefined, compiled(base))).toEqual([
    'topic events added: 1 partition',
    'route GET /purchase_a_sword added: purchase_sword',
    'table swords added: fills itself from the beginning',
  ])
})

test('nothing changed, no line', () => {
  expect(describeChange(compiled(base), compiled({ ...base }))).toEqual([])
})

test('a knife appears: its route, then its tables', () => {
  const after = compiled({
    events: { ...base.events, purchase_knife: { route: 'GET /purchase_a_knife' }, hint: {} },
    tables: {
      ...base.tables,
      knives: { from: 'purchase_knife' },
      later: { from: '*', startAt: 'latest' },
    },
  })
  expect(describeChange(compiled(base), after)).toEqual([
    'route GET /purchase_a_knife added: purchase_knife',
    'event hint added: no route',
    'table knives added: fills itself from the beginning',
    'table later added: starts with the next event',
  ])
  expect(describeChange(after, compiled(base))).toEqual([
    'route GET /purchase_a_knife removed',
    'event purchase_knife is no longer declared: what came stays',
    'event hint is no longer declared: what came stays',
    'table knives is no longer declared: its files stay',
    'table later is no longer declared: its files stay',
  ])
})

test('columns, conditions, replies, topics and settings are told apart', () => {
  const before = compiled({
    topics: { events: {}, other: { maxMessageBytes: 2048 } },
    events: { a: { ...sword, params: z.object({ n: z.int32(), gone: z.string() }) }, b: {} },
    tables: { t: { from: 'a' } },
    settings: { bodyBytesMax: 5, jsonDepthMax: 9 },
  })
  const after = compiled({
    namespace: 'game',
    topics: { events: { partitions: 3 }, other: {} },
    events: {
      a: { onInvalid: 'reject', params: z.object({ n: z.int(), damage: z.int32() }) },
      b: { ...sword, reply: 'No\n' },
    },
    tables: {
      t: { from: ['a', 'b'], where: 'n > 1', trigger: '1m', set: { damage: 'n' } },
    },
    settings: { bodyBytesMax: 6 },
  })
  expect(describeChange(before, after)).toEqual([
    'topic events: 1 → 3 partitions',
    'topic other: configs removed',
    'route GET /purchase_a_sword is b instead of a',
    'route GET /purchase_a_sword answers "No\\n"',
    'event a changed: params, required, onInvalid',
    'column damage (int) added to t',
    'column gone of t is no longer filled',
    'column n of t: int → long',
    'table t: takes a, b; where n > 1; set changed; commits every 1 min',
    'setting bodyBytesMax is 6',
    'setting jsonDepthMax is its default again',
    'namespace is game instead of default: its tables start anew',
  ])
})

test('a column that is renamed or dropped is told once', () => {
  const at = (params: z.ZodRawShape, table: object = {}) =>
    compiled({
      events: { a: { params: z.object(params) } },
      tables: { t: { from: 'a', ...table } },
    })
  const before = at({ strength: z.int(), color: z.string() })
  const table = { renamed: { damage: 'strength' }, dropped: ['color'] }
  const after = at({ damage: z.int() }, table)
  expect(describeChange(before, after)).toEqual([
    'event a changed: params, required',
    'column strength of t is called damage now',
    'column color of t dropped: it is no longer shown',
  ])
  expect(describeChange(after, at({ damage: z.int(), more: z.int() }, table))).toEqual([
    'event a changed: params, required',
    'column more (long) added to t',
  ])
})

test.each([
  [100, '100 ms'],
  [1500, '1500 ms'],
  [10_000, '10 s'],
  [120_000, '2 min'],
  [3_600_000, '1 h'],
])('%i ms is %s', (durationMs, expected) => {
  expect(durationText(durationMs)).toBe(expected)
})

test('a table that begins or ceases to be published says what becomes of its folder', () => {
  const hive = compiled({
    events: base.events,
    tables: { swords: { from: 'purchase_sword', format: 'hive' } },
  })
  expect(describeChange(undefined, hive)).toContain(
    'table swords is also published as a folder, exports/swords',
  )
  const plain = compiled(base)
  expect(describeChange(plain, hive)).toEqual([
    'table swords: is also published as a folder, exports/swords',
  ])
  expect(describeChange(hive, plain)).toEqual([
    'table swords: exports/swords stays as it is and no longer follows the table',
  ])
  expect(describeChange(hive, compiled({ events: base.events }))).toEqual([
    'table swords is no longer declared: its files stay, and so does exports/swords',
  ])
  const explicit = { swords: { from: 'purchase_sword', format: 'iceberg' } }
  expect(describeChange(plain, compiled({ events: base.events, tables: explicit }))).toEqual([])
})
