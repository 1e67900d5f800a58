import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import * as fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { placeAt } from '../../src/sql/sql-error.ts'
import { takeOutPastTables } from '../../src/sql/time-travel.ts'
import { ask, openBench } from './support.ts'

describe('a text', () => {
  test.each([
    ['select * from t for version as of 12', 'select * from "~1" AS t', 't', { id: '12' }],
    [
      'select count(*) from default.t FOR Version As Of 9007199254740993 x where x.a = 1',
      'select count(*) from "~1" x where x.a = 1',
      't',
      { id: '9007199254740993' },
    ],
    [
      `select a from "my table" for timestamp as of timestamp '2026-11-21 10:00:00' order by a`,
      'select a from "~1" AS "my table" order by a',
      'my table',
      { timestampMs: Date.parse('2026-11-21T10:00:00Z') },
    ],
    [
      `select 1 from t for timestamp as of '2026-11-21T10:00:00.5+02' join u on true`,
      'select 1 from "~1" AS t join u on true',
      't',
      { timestampMs: Date.parse('2026-11-21T08:00:00.5Z') },
    ],
    [
      "select 1 from t for timestamp as of date '2026-11-21', u",
      'select 1 from "~1" AS t , u',
      't',
      { timestampMs: Date.parse('2026-11-21T00:00:00Z') },
    ],
  ])('%s', (sql, expected, name, wanted) => {
    const taken = takeOutPastTables(sql)
    expect(taken.sql.replaceAll(/ +/g, ' ').trim()).toBe(expected)
    expect(taken.sql).toHaveLength(sql.length)
    expect(taken.past).toMatchObject([{ view: '~1', name, wanted }])
  })

  test('that says nothing of the past, or says it in a text, a name or a comment, stays', () => {
    for (const sql of [
      'select 1',
      "select 't for version as of 1' from t",
      'select * from t -- for version as of 1',
      'select version as of from t for',
      'select * from "t for version as of 1"',
    ])
      expect(takeOutPastTables(sql)).toEqual({ sql, past: [] })
  })

  test('without an id or a time is refused with its place', () => {
    expect(() => takeOutPastTables('select *\nfrom t for version as of x')).toThrow(
      /id of a snapshot/,
    )
    expect(() => takeOutPastTables("select * from t for timestamp as of 'soon'")).toThrow(/a time/)
    try {
      takeOutPastTables('select *\nfrom t for version as of x')
      expect.unreachable()
    } catch (error) {
      expect(error).toMatchObject({ place: { line: 2, column: 8 } })
    }
  })

  test('keeps the line and column of everything behind it', () => {
    const space = fc.constantFrom(' ', '\n', '  \n ', ' /* x */ ')
    fc.assert(
      fc.property(
        fc.array(space, { minLength: 5, maxLength: 5 }),
        fc.boolean(),
        (spaces, isLong) => {
          const [a, b, c, d, e] = spaces
          const table = isLong ? '"a long name of a table"' : 't'
          const sql = `select 1\nfrom ${table}${a}for${b}version${c}as${d}of${e}123 WHERE`
          const taken = takeOutPastTables(sql).sql
          expect(placeAt(taken, taken.indexOf('WHERE'))).toEqual(placeAt(sql, sql.indexOf('WHERE')))
        },
      ),
    )
  })
})

describe('a statement', async () => {
  const bench = await openBench()
  afterAll(() => bench.close())
  const rows = async (sql: string) => (await ask(bench.engine, sql)).rows

  test('reads a table as it was, beside the same table as it is, and waits for nothing that was', async () => {
    const before = bench.source.waits.length
    expect(await rows('select count(*) from sword_purchases for version as of 7')).toEqual([[5]])
    expect(bench.source.waits.length).toBe(before)
    expect(
      await rows(`select count(*), min(today."Host"), min(past."Host")
        from sword_purchases today join default.sword_purchases for version as of 7 as past using (damage)`),
    ).toEqual([[5, 'user1.com', 'then']])
    expect(
      await rows("select max(ms) from sword_purchases for timestamp as of '1970-01-01 00:00:01'"),
    ).toEqual([[1000]])
    expect(
      await rows('select sword_purchases.damage from sword_purchases for version as of 7 limit 1'),
    ).toEqual([[0]])
    expect(bench.source.leases).toBe(0)
    expect(bench.source.leasesMost).toBeGreaterThan(0)
  })

  test('is exported as it was, too', async () => {
    const folder = join(bench.lakeFolder, 'draft')
    mkdirSync(folder)
    const copy = (sql: string) =>
      bench.engine.copy({
        sql,
        folder,
        fileName: 'part-0',
        partitionBy: [],
        signal: new AbortController().signal,
      })
    const past = 'sword_purchases for version as of 7'
    const before = bench.source.waits.length
    expect(await copy(`select "Host", damage from ${past}`)).toBe(5)
    expect(bench.source.waits.length).toBe(before)
    const written = `SELECT DISTINCT "Host" FROM '${join(folder, 'part-0.snappy.parquet')}'`
    expect((await bench.writer.runAndReadAll(written)).getRowsJson()).toEqual([['then']])
    await expect(copy('select * from sword_purchases for version as of 8')).rejects.toMatchObject({
      code: 'SNAPSHOT_UNKNOWN',
    })
    await expect(copy(`select nothing from ${past}`)).rejects.toMatchObject({ code: 'SQL_INVALID' })
    expect(bench.source.leases).toBe(0)
    // Nothing of it is left for the next statement.
    await expect(rows('select * from "~1"')).rejects.toMatchObject({ code: 'SQL_INVALID' })
  })

  test('says what is wrong in its own words, and leaves nothing behind', async () => {
    await expect(rows('select * from swords for version as of 7')).rejects.toMatchObject({
      code: 'SQL_INVALID',
      message: expect.stringContaining('"swords" does not exist'),
    })
    await expect(rows('select * from sword_purchases for version as of 8')).rejects.toMatchObject({
      code: 'SNAPSHOT_UNKNOWN',
    })
    await expect(
      rows('select nothing from sword_purchases for version as of 7'),
    ).rejects.toMatchObject({
      code: 'SQL_INVALID',
      message: expect.stringContaining('nothing'),
    })
    await expect(rows('select * from "~1"')).rejects.toMatchObject({ code: 'SQL_INVALID' })
    expect(bench.source.leases).toBe(0)
  })
})
