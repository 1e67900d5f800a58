import * as fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { encodeRows } from '../../src/sql/values.ts'
import { ask, openBench, type Bench } from './support.ts'

let bench: Bench
beforeAll(async () => {
  bench = await openBench()
})
afterAll(() => bench.close())

/** The one value of a SELECT as the JSON text that is sent, and its type. */
async function valueOf(expression: string): Promise<{ json: string; type: string }> {
  const request = {
    sql: `select ${expression} as v`,
    stale: true,
    signal: new AbortController().signal,
  }
  let found: { json: string; type: string } | undefined
  for await (const event of bench.engine.run(request)) {
    if (event.kind === 'rows')
      found = {
        json: encodeRows(event.chunk, event.columns).slice(2, -2),
        type: event.columns[0]?.type ?? '',
      }
  }
  if (found === undefined) throw new Error('no row')
  return found
}

const cases: [string, string, string][] = [
  ['true', 'true', 'boolean'],
  ['null', 'null', 'integer'],
  [
    '\'text with "quotes", \u00e9 and \' || chr(10)',
    JSON.stringify('text with "quotes", \u00e9 and \n'),
    'varchar',
  ],
  ['1::tinyint', '1', 'tinyint'],
  ['1::smallint', '1', 'smallint'],
  ['200::utinyint', '200', 'smallint'],
  ['-5', '-5', 'integer'],
  ['9007199254740993::bigint', '9007199254740993', 'bigint'],
  ['9223372036854775807', '9223372036854775807', 'bigint'],
  ['18446744073709551615::ubigint', '18446744073709551615', 'decimal(20,0)'],
  [
    '170141183460469231731687303715884105727::hugeint',
    '170141183460469231731687303715884105727',
    'decimal(38,0)',
  ],
  ['(select sum(i) from range(3) t(i))', '3', 'decimal(38,0)'],
  ['1.5::double', '1.5', 'double'],
  ['0.1::float', '0.1', 'real'],
  ['16777217::float', '16777216', 'real'],
  ["'nan'::double", '"NaN"', 'double'],
  ["'inf'::double", '"Infinity"', 'double'],
  ["'-inf'::float", '"-Infinity"', 'real'],
  ['1e300::double', '1e+300', 'double'],
  ['1.50::decimal(10,2)', '"1.50"', 'decimal(10,2)'],
  ['-0.05::decimal(38,10)', '"-0.0500000000"', 'decimal(38,10)'],
  ["date '2026-11-21'", '"2026-11-21"', 'date'],
  ["'infinity'::date", '"infinity"', 'date'],
  ["time '10:00:00.5'", '"10:00:00.5"', 'time(6)'],
  ["timestamp '2026-11-21 17:53:16.123'", '"2026-11-21 17:53:16.123"', 'timestamp(6)'],
  ["timestamp '2026-11-21 17:53:16'", '"2026-11-21 17:53:16.000"', 'timestamp(6)'],
  ["timestamp '2026-11-21 17:53:16.123456'", '"2026-11-21 17:53:16.123456"', 'timestamp(6)'],
  ["timestamp '1969-12-31 23:59:59.999'", '"1969-12-31 23:59:59.999"', 'timestamp(6)'],
  [
    "timestamptz '2026-11-21 17:53:16.123+02'",
    '"2026-11-21 15:53:16.123 UTC"',
    'timestamp(6) with time zone',
  ],
  ["'infinity'::timestamptz", '"infinity"', 'timestamp(6) with time zone'],
  [
    "'2026-11-21 17:53:16.123456789'::timestamp_ns",
    '"2026-11-21 17:53:16.123456789"',
    'timestamp(9)',
  ],
  ["'2026-11-21 17:53:16'::timestamp_s", '"2026-11-21 17:53:16.000"', 'timestamp(0)'],
  ["'2026-11-21 17:53:16.5'::timestamp_ms", '"2026-11-21 17:53:16.500"', 'timestamp(3)'],
  ['interval 1 day', '"1 day"', 'interval'],
  ["uuid '123e4567-e89b-12d3-a456-426614174000'", '"123e4567-e89b-12d3-a456-426614174000"', 'uuid'],
  ['\'{"a":1}\'::blob', '"{\\"a\\":1}"', 'varbinary'],
  ["'\\xFF\\x41'::blob", '"\\\\xFFA"', 'varbinary'],
  ['\'{"a": 1}\'::json', '"{\\"a\\": 1}"', 'json'],
  ["'101'::bit", '"101"', 'varchar'],
  ["'b'::enum('a', 'b')", '"b"', 'varchar'],
  ['[1, null, 3]', '[1,null,3]', 'array(integer)'],
  ['[1, 2]::integer[2]', '[1,2]', 'array(integer)'],
  ['{a: 1, "B c": [\'x\']}', '{"a":1,"B c":["x"]}', 'row(a integer, "b c" array(varchar))'],
  ["map {'x': 9007199254740993}", '{"x":9007199254740993}', 'map(varchar, bigint)'],
  ["map {1: date '2026-11-21'}", '{"1":"2026-11-21"}', 'map(integer, date)'],
  [
    "[timestamptz '2026-11-21 00:00:00+00']",
    '["2026-11-21 00:00:00.000 UTC"]',
    'array(timestamp(6) with time zone)',
  ],
]

test.each(cases)('%s is sent as %s', async (expression, json, type) => {
  expect(await valueOf(expression)).toEqual({ json, type })
})

test('a type is described in the same words', async () => {
  await bench.writer.run(
    'CREATE VIEW "default".typed AS SELECT 1 AS "A", {x: [1.5::DECIMAL(4,1)]} AS nested, now() AS at',
  )
  const { rows } = await ask(bench.engine, 'describe typed')
  expect(rows).toEqual([
    ['a', 'integer', ''],
    ['nested', 'row(x array(decimal(4,1)))', ''],
    ['at', 'timestamp(6) with time zone', ''],
  ])
  await bench.writer.run('DROP VIEW "default".typed')
})

test('every integer and every text arrives as it was', async () => {
  const integer = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })
  const text = fc.string({ unit: 'grapheme' }).filter((value) => !value.includes('\0'))
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(integer, text), { minLength: 1 }), async (rows) => {
      const values = rows.map(
        ([number, word]) => `((${number})::bigint, '${word.replaceAll("'", "''")}')`,
      )
      const request = {
        sql: `values ${values.join(', ')}`,
        stale: true,
        signal: new AbortController().signal,
      }
      let json = ''
      for await (const event of bench.engine.run(request))
        if (event.kind === 'rows') json = encodeRows(event.chunk, event.columns)
      expect(json).toBe(
        `[${rows.map(([number, word]) => `[${number},${JSON.stringify(word)}]`).join(',')}]`,
      )
    }),
    { numRuns: 50 },
  )
})
