import * as fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ask, askAll, openBench, type Bench } from './support.ts'

let bench: Bench
beforeAll(async () => {
  bench = await openBench()
})
afterAll(() => bench.close())

const served = [
  'select 1',
  'SELECT 1;',
  ';;select 1;;',
  '  -- a comment; with a semicolon\n select /* ; /* nested ; */ */ 1',
  'with a as (select 1) select * from a',
  'with recursive r(n) as (select 1 union all select n + 1 from r where n < 3) select * from r',
  'values (1, 2), (3, 4)',
  '(select 1) union all (select 2) order by 1 limit 1',
  'from sword_purchases',
  'from sword_purchases select host limit 1',
  'table sword_purchases',
  'select * from "default".sword_purchases limit 1',
  'select * from default.sword_purchases limit 1',
  'select default.sword_purchases.host from default.sword_purchases limit 1',
  'select * from SWORD_PURCHASES limit 1',
  'select "user-agent" from sword_purchases limit 1',
  'select * from questlog.dead_letters',
  "select 'copy x; drop table y'",
  'select $$drop; $$',
  'select $tag$ insert; $tag$',
  "select e'it\\'s; fine'",
  'select 1 as "a;b"',
  'describe sword_purchases',
  'DESC sword_purchases',
  'describe select 1 as a',
  'describe default.sword_purchases',
  'show tables',
  'SHOW TABLES;',
  'show tables from questlog',
  "show tables like 'sword%'",
  'show columns from sword_purchases',
  'show columns in "default"."sword_purchases"',
  'show schemas',
  'summarize sword_purchases',
  'summarize select 1 as a',
  'explain select * from sword_purchases',
  'explain analyze select 1',
  'explain (format json) select 1',
  'explain (select 1)',
  'select * from range(3)',
  'select * from unnest([1, 2])',
  'select count(*) from generate_series(1, 10)',
  "pivot sword_purchases on host in ('user1.com') using count(*)",
  'select damage from sword_purchases qualify row_number() over (order by damage) = 1',
  "select list_transform([1, 2], lambda x: x + 1), struct_pack(a := 1), map {'a': 1}",
  'select (select count(*) from join_guilds), exists (select 1)',
  'select now() is not null, random() < 2, uuid() is not null',
  'select * from information_schema.tables limit 1',
]

const refused = [
  'insert into sword_purchases values (1)',
  'insert into _fresh.sword_purchases_1 (damage) values (1)',
  'update _fresh.sword_purchases_1 set damage = 0',
  'delete from _fresh.sword_purchases_1',
  'truncate _fresh.sword_purchases_1',
  'merge into _fresh.sword_purchases_1 t using (select 1 a) s on true when matched then delete',
  'create table t as select 1',
  'create temp table t as select 1',
  'create or replace view sword_purchases as select 1',
  'create schema s',
  'create macro f() as 1',
  'create sequence s',
  "create secret s (type s3, key_id 'a', secret 'b')",
  'drop view sword_purchases',
  'drop schema "default" cascade',
  'alter table _fresh.sword_purchases_1 add column x int',
  'comment on table sword_purchases is null',
  "attach '/tmp/x.db'",
  'detach memory',
  'use memory',
  "copy sword_purchases to '/tmp/x.csv'",
  "copy (select 1) to '/tmp/x.parquet'",
  "copy _fresh.sword_purchases_1 from '/etc/passwd'",
  "export database '/tmp/x'",
  "import database '/tmp/x'",
  'install httpfs',
  'load httpfs',
  'set memory_limit = 1',
  "set global TimeZone = 'UTC'",
  'reset memory_limit',
  'set variable x = 1',
  'pragma version',
  "pragma table_info('sword_purchases')",
  'pragma enable_profiling',
  'call pragma_version()',
  'call force_checkpoint()',
  'checkpoint',
  'force checkpoint',
  'vacuum',
  'analyze',
  'begin',
  'commit',
  'rollback',
  'prepare p as select 1',
  'execute p',
  'deallocate p',
  'explain insert into _fresh.sword_purchases_1 (damage) values (1)',
  'explain analyze insert into _fresh.sword_purchases_1 (damage) values (1)',
  "explain analyze copy (select 1) to '/tmp/x.csv'",
  'explain (format json) create table t as select 1',
  'explain explain select 1',
  'explain analyze set memory_limit = 1',
  'describe insert into t values (1)',
  'with a as (insert into _fresh.sword_purchases_1 (damage) values (1) returning *) select * from a',
  'select * from _fresh.sword_purchases_1',
  'select * from "_FRESH"."sword_purchases_1"',
  'select * from memory._fresh.sword_purchases_1',
  'select * from _counts.sword_purchases',
  'select 1 where exists (select 1 from _fresh.sword_purchases_1)',
  'show all tables',
  'show databases',
  'show create table sword_purchases',
  'select * from (show all tables)',
  "select * from read_text('/etc/passwd')",
  "select * from read_blob('/etc/passwd')",
  "select * from read_csv('/etc/passwd')",
  "select * from read_json_objects('/proc/self/environ')",
  "select * from read_parquet('/etc/passwd')",
  "select * from glob('/etc/*')",
  "select * from '/etc/passwd.csv'",
  "from '/etc/passwd.csv'",
  "select getenv('HOME')",
  "select nextval('s')",
  'select setseed(0.5)',
  "select write_log('x')",
  "select * from query('select 1')",
  "select * from query_table('sword_purchases')",
  'select * from arrow_scan(1, 2, 3)',
  'select * from main.arrow_scan(1, 2, 3)',
  "select * from seq_scan('sword_purchases_1')",
  'select * from force_checkpoint()',
  'select * from checkpoint()',
  'select * from enable_logging()',
  "select * from sniff_csv('/etc/passwd')",
  "select * from json_execute_serialized_sql(json_serialize_sql('select 1'))",
  'select * from duckdb_settings()',
  'select * from duckdb_secrets()',
  'select ?',
  'select $1',
  'select $name',
  'select 1; drop view sword_purchases',
  'select 1; insert into _fresh.sword_purchases_1 (damage) values (1)',
  'select 1 /* ; */ ; set memory_limit = 1',
  '/* select */ insert into t values (1)',
  'select 1\0; drop view sword_purchases',
  '',
  ';',
  '-- nothing',
]

describe('what is served', () => {
  test.each(served)('%s', async (sql) => {
    const answer = await ask(bench.engine, sql)
    expect(answer.names.length).toBeGreaterThan(0)
  })
})

describe('what is refused', () => {
  test.each(refused)('%j', async (sql) => {
    await expect(askAll(bench.engine, sql)).rejects.toMatchObject({
      code: expect.stringMatching(/^SQL_(?:REFUSED|INVALID)$/) as unknown,
    })
  })

  test('nothing that was refused has changed anything', async () => {
    const { rows } = await ask(
      bench.engine,
      'select count(*), min(damage) from sword_purchases where true',
    )
    expect(rows).toEqual([[20, 0]])
    const { rows: tables } = await ask(bench.engine, 'show tables')
    expect(tables).toEqual([['join_guilds'], ['sword_purchases']])
  })

  test('statements that write or configure are refused by name, not as syntax', async () => {
    for (const sql of [
      'insert into t values (1)',
      'SET x = 1',
      'pragma version',
      "copy t to 'x'",
      "attach 'x'",
      'install x',
      'load x',
      'call f()',
      'create table t (a int)',
    ])
      await expect(ask(bench.engine, sql)).rejects.toMatchObject({ code: 'SQL_REFUSED' })
  })
})

test('a script runs nothing unless all of it is allowed', async () => {
  const events: string[] = []
  const run = async () => {
    const request = { sql: 'select 1; create table t (a int)', stale: false }
    for await (const event of bench.engine.run({
      ...request,
      signal: new AbortController().signal,
    }))
      events.push(event.kind)
  }
  await expect(run()).rejects.toMatchObject({ code: 'SQL_REFUSED' })
  expect(events).toEqual([])
})

test('the statements of a script are answered in order', async () => {
  const answers = await askAll(bench.engine, "select 'a;b' as x; show tables; select 2 as y")
  expect(answers.map((answer) => answer.names)).toEqual([['x'], ['Table'], ['y']])
  expect(answers[0]?.rows).toEqual([['a;b']])
})

test('the stream can still write and read in the lake folder, and nobody elsewhere', async () => {
  const inside = join(bench.lakeFolder, 'part.parquet')
  await bench.writer.run(`COPY (SELECT 42 AS a) TO '${inside}' (FORMAT parquet)`)
  expect((await ask(bench.engine, `select a from read_parquet('${inside}')`)).rows).toEqual([[42]])
  expect((await ask(bench.engine, `select a from '${inside}'`)).rows).toEqual([[42]])
  const outside = join(bench.folder, 'secret.csv')
  writeFileSync(outside, 'a\nsecret\n')
  for (const path of [outside, `${bench.lakeFolder}/../secret.csv`, `file://${outside}`])
    await expect(ask(bench.engine, `select * from '${path}'`)).rejects.toMatchObject({
      code: expect.stringMatching(/^SQL_/) as unknown,
    })
  await expect(bench.writer.run(`COPY (SELECT 1) TO '${outside}.parquet'`)).rejects.toThrow(
    /disabled/,
  )
  await expect(bench.writer.run('SET enable_external_access = true')).rejects.toThrow()
})

test('no mixture of words, quotes, comments and semicolons gets a write through', async () => {
  const piece = fc.constantFrom(
    'select',
    'explain',
    'analyze',
    'insert into _fresh.sword_purchases_1 (damage) values (99)',
    'delete from _fresh.sword_purchases_1',
    'create table stolen (a int)',
    'drop view sword_purchases',
    '1',
    ';',
    '--',
    '\n',
    '/*',
    '*/',
    "'",
    '"',
    '$$',
    '$a$',
    '(',
    ')',
    'with a as',
    'describe',
    'show tables',
    'summarize',
    'union all',
    "e'\\'",
    'default.',
    ',',
    'begin',
  )
  await fc.assert(
    fc.asyncProperty(fc.array(piece, { minLength: 1, maxLength: 8 }), async (pieces) => {
      await askAll(bench.engine, pieces.join(' ')).catch(() => {})
    }),
    { numRuns: 300 },
  )
  const { rows } = await ask(
    bench.engine,
    'select count(*), max(damage) from sword_purchases where true',
  )
  expect(rows).toEqual([[20, 19]])
  const { rows: stolen } = await ask(
    bench.engine,
    "select count(*) from information_schema.tables where table_name = 'stolen'",
  )
  expect(stolen).toEqual([[0]])
})

test('names are data: a table name that looks like SQL is only a name', async () => {
  await bench.writer.run(
    'CREATE VIEW "default"."x""; drop view ""y" AS SELECT 1 AS "a""b"; CREATE VIEW _counts."x""; drop view ""y" AS SELECT 1::BIGINT AS n',
  )
  try {
    expect((await ask(bench.engine, 'select count(*) from "x""; drop view ""y"')).rows).toEqual([
      [1],
    ])
    expect((await ask(bench.engine, 'describe "x""; drop view ""y"')).rows).toEqual([
      ['a"b', 'integer', ''],
    ])
    expect((await ask(bench.engine, "show tables like 'x''%'")).rows).toEqual([])
    expect((await ask(bench.engine, 'show tables')).rows).toContainEqual(['x"; drop view "y'])
    const missing = ask(bench.engine, 'select * from "\'); drop view sword_purchases; --"')
    await expect(missing).rejects.toMatchObject({ code: 'SQL_INVALID' })
  } finally {
    await bench.writer.run(
      'DROP VIEW "default"."x""; drop view ""y"; DROP VIEW _counts."x""; drop view ""y"',
    )
  }
})
