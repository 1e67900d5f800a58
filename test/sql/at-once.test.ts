import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { readAtOnce, rowsAtOnceMax } from '../../src/sql/at-once.ts'
import { SqlError } from '../../src/sql/sql-error.ts'
import { ask, openBench, planSelect, until, type Bench } from './support.ts'

const many = rowsAtOnceMax * 5

let bench: Bench
beforeAll(async () => {
  bench = await openBench()
  await bench.writer.run(
    `CREATE VIEW "default".many AS SELECT i AS n, 'row ' || i AS "Text", [i, NULL] AS list, i::DECIMAL(9,2) AS d FROM range(${many}) AS t(i)`,
  )
})
afterAll(() => bench.close())

/** Such a statement gives the same rows, but its LIMIT is not known before it runs. */
const streamed = (sql: string) => `${sql} offset 0`

const plan = (sql: string) => planSelect(bench, sql)

describe('which statements are read at once', () => {
  test.each([
    'select 1',
    'select n from many where n = 7',
    'from many',
    'select count(*), sum(n) from many',
    'select many.* from default.many -- all',
    'select unnest(list) from many',
    'select * from many order by n limit 10',
    'select n, count(*) from many group by n limit 1024',
    'select n from many union all select n from many limit 5 offset 3',
    'with a as (select n from many group by n) select a.n from a join many using (n) limit 3',
  ])('%s', async (sql) => {
    expect(readAtOnce(await plan(sql))).toMatchObject({ rowsMax: rowsAtOnceMax })
    expect(readAtOnce(await plan(streamed(sql.replace(/ (limit|offset|--) .*/, ''))))).toBe(
      undefined,
    )
  })

  test.each([
    'select * from many order by n',
    'select distinct n from many',
    'select n, count(*) from many group by n',
    'select n, count(*) from many group by all',
    'select row_number() over () from many',
    'select a.n from many a, many b',
    'select n from (select n from many)',
    'select n from many where n in (select max(n) from many)',
    'select n from many using sample 10',
    'select n from many tablesample 10%',
    'select * from range(10)',
    'select * from many limit 1025',
    'select * from many limit 10%',
    'select * from many limit 1e+1',
    'select * from many limit (select 5)',
    'select * from (select * from many limit 5)',
    'with a as (select 1 limit 1) select * from a',
    'values (1)',
    'summarize many',
  ])('not %s', async (sql) => {
    expect(readAtOnce(await plan(sql))).toBe(undefined)
  })
})

describe('answers do not tell how they were read', () => {
  test.each([
    'select 1 as A, null, 1.50, [1, 2] as l, {"a": 1} as s',
    'select * from many where n = 7 and "Text" = \'row 7\'',
    'select n from many where n < 0',
    ...[1, rowsAtOnceMax - 1, rowsAtOnceMax, rowsAtOnceMax + 1, many].map(
      (rows) => `select * from many where n < ${rows}`,
    ),
    'select n as a, n as a, many.* from many where n < 3',
    'select count(*), max(d), list(n) from many',
    'select unnest(list) from many',
    "select timestamp, _timestamp from sword_purchases where host = 'user1.com'",
  ])('%s', async (sql) => {
    const [atOnce, inParts] = [await ask(bench.engine, sql), await ask(bench.engine, streamed(sql))]
    expect({ ...atOnce, stats: atOnce.stats.rows }).toEqual({
      ...inParts,
      stats: inParts.stats.rows,
    })
  })

  test.each([
    "select error('it')",
    'select cast("Text" as int) from many',
    'select nope from many',
    'select\n  n + list\nfrom many',
    'select nofunction(n) from many',
    "select cast('x' || n as int) from many where n > 10",
  ])('nor do errors: %s', async (sql) => {
    const [atOnce, inParts] = await Promise.all(
      [sql, streamed(sql)].map((text) => ask(bench.engine, text).catch((error: unknown) => error)),
    )
    if (!(atOnce instanceof SqlError) || !(inParts instanceof SqlError))
      throw new Error(`no error: ${String(atOnce)} ${String(inParts)}`)
    const { code, message, place, suggestions, hint } = inParts
    expect(atOnce).toMatchObject({ code, message, suggestions, hint })
    expect(atOnce.place).toEqual(place)
  })

  test('an error of a row behind those that are read at once is told', async () => {
    const sql = `select cast(case when n = ${many - 1} then 'x' else '1' end as int) from many`
    await expect(ask(bench.engine, sql)).rejects.toMatchObject({
      code: 'SQL_INVALID',
      place: { line: 1, column: 8 },
    })
  })

  test('a cancelled one stops soon, and what follows is answered', async () => {
    const cancel = new AbortController()
    const sql = 'select count(*) from range(100000000000) a, range(100000) b limit 1'
    const running = ask(bench.engine, sql, { signal: cancel.signal })
    const isRunning = () =>
      bench.engine.metrics().find(({ name }) => name === 'questlog_sql_running')?.values[0]
        ?.value === 1
    await until(isRunning)
    cancel.abort()
    await expect(running).rejects.toMatchObject({ code: 'SQL_CANCELLED' })
    expect((await ask(bench.engine, 'select n from many where n = 3')).rows).toEqual([[3]])
  })
})

test.each([
  ['explain --\r select 1; ', '; explain \n select 2'],
  ['explain (analyze --\r) select 1; ', '; explain (analyze \n) select 2'],
  ['explain (analyze $\u20ac$) select 1; ', '; explain (analyze $\u20ac$) select 2'],
  ['select 1 --\r; ', '; select 2'],
  ['show tables --\r; ', '; show tables'],
])('what only DuckDB sees as a statement does not run: %j', async (before, after) => {
  const sql = `${before}COMMIT; CREATE TABLE _fresh.written AS SELECT 1; BEGIN${after}`
  await expect(ask(bench.engine, sql)).rejects.toThrow()
  const written = "SELECT 1 FROM duckdb_tables() WHERE table_name = 'written'"
  expect((await bench.writer.runAndReadAll(written)).getRows()).toEqual([])
})
