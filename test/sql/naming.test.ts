import { afterAll, beforeAll, expect, test } from 'vitest'
import { ask, openBench, type Bench } from './support.ts'

let bench: Bench
beforeAll(async () => {
  bench = await openBench()
})
afterAll(() => bench.close())

const purchaseColumns = [
  'raw_event',
  'timestamp',
  'accept',
  'host',
  'user-agent',
  'event_type',
  'damage',
  '_log_partition',
  '_offset',
  '_timestamp',
]

const cases: [string, string[]][] = [
  ['select 1', ['_col0']],
  ['select count(*), host from sword_purchases group by host', ['_col0', 'host']],
  ['select host, COUNT(*) from sword_purchases group by host', ['host', '_col1']],
  ['select Host from sword_purchases', ['host']],
  ['select s.HOST from sword_purchases s', ['host']],
  ['select "User-Agent" from sword_purchases', ['user-agent']],
  ['select host as "Mixed Case" from sword_purchases', ['mixed case']],
  [
    'select host || host, upper(host) u, 1, null from sword_purchases',
    ['_col0', 'u', '_col2', '_col3'],
  ],
  ['select cast(host as varchar) from sword_purchases', ['_col0']],
  ['select (host) from sword_purchases', ['host']],
  ['select 1 as a, 2 as a, 3 as A', ['a', 'a', 'a']],
  ['select * from sword_purchases', purchaseColumns],
  ['from sword_purchases', purchaseColumns],
  ['select count(*) over (), * from sword_purchases', ['_col0', ...purchaseColumns]],
  ['select *, 1 from sword_purchases', [...purchaseColumns, '_col10']],
  [
    'select s.*, 1, g.* from sword_purchases s, join_guilds g limit 1',
    [...purchaseColumns, '1', 'raw_event', 'host'],
  ],
  ['select * exclude (raw_event), 1 from join_guilds', ['host', '_col1']],
  ['select * from (select count(*), host from sword_purchases group by host)', ['_col0', 'host']],
  [
    'select * from (select count(*), host from sword_purchases group by host) as t(n)',
    ['n', 'host'],
  ],
  ['select t.* from (values (1, 2)) as t', ['_col0', '_col1']],
  ['values (1, 2)', ['_col0', '_col1']],
  ['from (values (1, 2)) as t(a, B)', ['a', 'b']],
  ['with a as (select count(*) from join_guilds) select * from a', ['_col0']],
  ['with a(n) as (select count(*) from join_guilds) select * from a', ['n']],
  ['with a as (select 1), b as (from a) select * from b', ['_col0']],
  [
    'with join_guilds as (select * from join_guilds) select * from join_guilds',
    ['raw_event', 'host'],
  ],
  ['with recursive r as (select 1 union all select 2) select * from r', ['_col0']],
  ['select 1 union all select 2 as b', ['_col0']],
  ['select 1 as a union select 2 order by 1', ['a']],
  ['(select 1, 2 as b) except (select 3, 4)', ['_col0', 'b']],
  ['select 1 as a union all by name select 2 as b', ['a', 'b']],
  ['select {a: 1}.a, struct_pack(x := 1)', ['_col0', '_col1']],
  ['select s.a from (select {a: 1} as s)', ['a']],
  ['select (select max(damage) from sword_purchases)', ['_col0']],
  ['select unnest([1, 2])', ['_col0']],
  [
    'select count(1), count(distinct host), count(host) from sword_purchases',
    ['_col0', '_col1', '_col2'],
  ],
  ['explain select 1', ['Query Plan']],
  ['explain analyze select 1', ['Query Plan']],
  ['show tables', ['Table']],
  ['show schemas', ['Schema']],
  ['describe join_guilds', ['Column', 'Type', 'Comment']],
  ['select min(columns(*)), 1 from join_guilds', ['raw_event', 'host', '_col2']],
]

test.each(cases)('the columns of %s', async (sql, names) => {
  expect((await ask(bench.engine, sql)).names).toEqual(names)
})

test('describe names the columns as a select over the same would', async () => {
  const { rows } = await ask(
    bench.engine,
    'describe select host, count(*) from sword_purchases group by 1',
  )
  expect(rows).toEqual([
    ['host', 'varchar', ''],
    ['_col1', 'bigint', ''],
  ])
})
