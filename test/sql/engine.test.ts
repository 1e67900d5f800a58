import { mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { QuestlogError } from '../../src/core/errors.ts'
import type { SqlEvent } from '../../src/sql/engine.ts'
import { SqlError } from '../../src/sql/sql-error.ts'
import { ask, askAll, openBench, until, type Bench } from './support.ts'

const open: Bench[] = []
async function start(overrides: Record<string, unknown> = {}, memoryMiB?: number): Promise<Bench> {
  const bench = await openBench(overrides, memoryMiB)
  open.push(bench)
  return bench
}
afterEach(async () => {
  for (const bench of open.splice(0)) {
    await bench.close()
    expect(bench.source.leases).toBe(0)
  }
})

const endless =
  'select count(*) from range(100000000000) a, range(100000) b where a.range % 7 = b.range'

/** Awaits the error of a statement. */
async function failure(work: Promise<unknown>): Promise<SqlError> {
  const error: unknown = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  if (!(error instanceof QuestlogError)) throw new Error(`no error of ours: ${String(error)}`)
  return error as SqlError
}

describe('freshness', () => {
  test('a statement waits for the tables that it names, in their own spelling, before it looks', async () => {
    const { engine, source, writer } = await start()
    source.wait = async () => {
      await writer.run(
        'BEGIN; CREATE OR REPLACE VIEW _counts.sword_purchases AS SELECT 21::BIGINT AS n; COMMIT',
      )
    }
    expect((await ask(engine, 'SELECT COUNT(*) FROM Sword_Purchases')).rows).toEqual([[21]])
    expect(source.waits).toEqual([['sword_purchases']])
  })

  test.each<[string, (readonly string[] | null)[]]>([
    ['select 1', []],
    ['show tables', []],
    ['describe sword_purchases', []],
    [
      'select * from sword_purchases s join default.join_guilds g using (host)',
      [['join_guilds', 'sword_purchases']],
    ],
    ['with a as (select * from join_guilds) select * from a', [['join_guilds']]],
    [
      'with join_guilds as (select * from join_guilds) select * from join_guilds',
      [['join_guilds']],
    ],
    ['select (select count(*) from join_guilds where true)', [['join_guilds']]],
    ['summarize join_guilds', [['join_guilds']]],
    ['explain analyze select * from join_guilds', [['join_guilds']]],
    ['select * from questlog.dead_letters', [null]],
    ['select * from memory."default".join_guilds', [null]],
    ['select * from information_schema.schemata', [null]],
    [
      'select count(*) from join_guilds; select count(*) from sword_purchases',
      [['join_guilds'], ['sword_purchases']],
    ],
  ])('%s waits for %j', async (sql, waits) => {
    const { engine, source } = await start()
    await askAll(engine, sql)
    expect(source.waits.map((tables) => tables && tables.toSorted())).toEqual(waits)
  })

  test('a table that is not there yet makes the statement wait for all', async () => {
    const { engine, source, writer } = await start()
    source.wait = async () => {
      await writer.run(
        'CREATE VIEW "default".knives AS SELECT 1 AS a; CREATE VIEW _counts.knives AS SELECT 1::BIGINT AS n',
      )
    }
    expect((await ask(engine, 'select count(*) from knives')).rows).toEqual([[1]])
    expect(source.waits).toEqual([null])
  })

  test('a stale answer does not wait', async () => {
    const { engine, source } = await start()
    const { rows, stats } = await ask(engine, 'select count(*) from sword_purchases', {
      stale: true,
    })
    expect([rows, stats.stale, source.waits]).toEqual([[[20]], true, []])
  })

  test('CATCHING_UP reaches the caller as it is', async () => {
    const { engine, source } = await start()
    source.wait = async () => {
      throw new QuestlogError('CATCHING_UP', 'behind')
    }
    expect(await failure(ask(engine, 'from join_guilds'))).toMatchObject({ code: 'CATCHING_UP' })
  })

  test('a statement sees one instant of view and count while generations are swapped under it', async () => {
    const { engine, writer, source } = await start()
    let isOver = false
    const swap = async () => {
      for (let generation = 2; !isOver; generation++) {
        const rows = 20 + generation
        await writer.run(`BEGIN;
          CREATE TABLE _fresh.sword_purchases_${generation} AS SELECT i AS a FROM range(${rows}) t(i);
          CREATE OR REPLACE VIEW "default".sword_purchases AS SELECT * FROM _fresh.sword_purchases_${generation};
          CREATE OR REPLACE VIEW _counts.sword_purchases AS SELECT ${rows}::BIGINT AS n;
          DROP TABLE _fresh.sword_purchases_${generation - 1};
          COMMIT`)
      }
    }
    const swapping = swap()
    const ask1 = async () => {
      let least = 0
      for (let turn = 0; turn < 40; turn++) {
        const exact = turn % 2 === 0 ? '' : 'where true'
        const [[n]] = (await ask(engine, `select count(*) from sword_purchases ${exact}`)).rows as [
          [number],
        ]
        expect(n).toBeGreaterThanOrEqual(least)
        least = n
      }
    }
    await Promise.all([ask1(), ask1(), ask1()])
    isOver = true
    await swapping
    expect(source.leasesMost).toBeGreaterThan(0)
  })
})

describe('count(*)', () => {
  test.each<[string, string]>([
    ['select count(*) from sword_purchases', '_col0'],
    ['  SELECT  COUNT ( * )\nFROM "default"."SWORD_PURCHASES" ;', '_col0'],
    ['select count(*) from default.sword_purchases', '_col0'],
    ['select count(1) as N from sword_purchases s', 'n'],
    ['select count() "How Many" from sword_purchases', 'how many'],
    ["select count('x') from sword_purchases", '_col0'],
    ['from sword_purchases select count(*)', '_col0'],
  ])('%s is answered from the number that is kept', async (sql, name) => {
    const { engine, writer } = await start()
    await writer.run('CREATE OR REPLACE VIEW _counts.sword_purchases AS SELECT 4891::BIGINT AS n')
    const { names, types, rows } = await ask(engine, sql)
    expect([names, types, rows]).toEqual([[name], ['bigint'], [[4891]]])
  })

  test.each<[string, unknown]>([
    ['select count(*) from sword_purchases where damage < 5', 5],
    ['select count(null) from sword_purchases', 0],
    ['select count(damage) from sword_purchases', 20],
    ['select count(distinct 1) from sword_purchases', 1],
    ['select count(*) filter (where damage = 1) from sword_purchases', 1],
    ['select count(*) from sword_purchases having count(*) > 5', 20],
    ['select count(*) from sword_purchases limit 1', 20],
    ['select count(*) from sword_purchases group by ()', 20],
    ['select count(*) from sword_purchases, join_guilds', 140],
    ['select count(*) from (from sword_purchases)', 20],
    ['with sword_purchases as (select 1) select count(*) from sword_purchases', 1],
    ['select count(*) from questlog.dead_letters', 0],
  ])('%s is counted', async (sql, count) => {
    const { engine, writer } = await start()
    await writer.run('CREATE OR REPLACE VIEW _counts.sword_purchases AS SELECT 4891::BIGINT AS n')
    expect((await ask(engine, sql)).rows).toEqual([[count]])
  })
})

describe('names', () => {
  test('"user-agent" works in any case, and show tables lists nothing of questlog\'s own', async () => {
    const { engine } = await start()
    for (const name of ['"user-agent"', '"User-Agent"', '"USER-AGENT"']) {
      const { names, rows } = await ask(
        engine,
        `select ${name}, count(*) from sword_purchases group by ${name}`,
      )
      expect([names, rows]).toEqual([['user-agent', '_col1'], [['ab/2.3', 20]]])
    }
    for (const sql of [
      'show tables',
      'SHOW TABLES;',
      'show tables from "default"',
      'Show Tables In DEFAULT',
    ])
      expect(await ask(engine, sql)).toMatchObject({
        names: ['Table'],
        rows: [['join_guilds'], ['sword_purchases']],
      })
    expect((await ask(engine, 'show tables from questlog')).rows).toEqual([['dead_letters']])
    expect((await ask(engine, "show tables like '%GUILD_'")).rows).toEqual([['join_guilds']])
    expect((await ask(engine, 'show schemas')).rows).toEqual([['default'], ['questlog']])
  })

  test.each([
    'describe sword_purchases',
    'DESC "default".sword_purchases;',
    'show columns from Sword_Purchases',
    'show columns in default.sword_purchases',
  ])('%s shows names and types', async (sql) => {
    const { engine } = await start()
    const { names, rows } = await ask(engine, sql)
    expect(names).toEqual(['Column', 'Type', 'Comment'])
    expect(rows.slice(0, 6)).toEqual(
      ['raw_event', 'timestamp', 'accept', 'host', 'user-agent', 'event_type'].map((name) => [
        name,
        'varchar',
        '',
      ]),
    )
    expect(rows.at(-1)).toEqual(['_timestamp', 'timestamp(6) with time zone', ''])
  })
})

describe('errors', () => {
  test.each<[string, Record<string, unknown>]>([
    [
      'select hots, count(*) from sword_purchases',
      {
        message: 'column "hots" does not exist',
        place: { line: 1, column: 8 },
        suggestions: ['host'],
      },
    ],
    [
      'select\n  s.hosty\nfrom sword_purchases s',
      {
        message: 'column "hosty" does not exist',
        place: { line: 2, column: 3 },
        suggestions: ['host'],
      },
    ],
    ['select "user-agnet" from sword_purchases', { suggestions: ['"user-agent"'] }],
    ['select raw_evnt from join_guilds', { suggestions: ['raw_event'] }],
    [
      'select * from sword_purchase',
      {
        message: 'table "sword_purchase" does not exist',
        place: { line: 1, column: 15 },
        suggestions: ['sword_purchases'],
      },
    ],
    [
      'select * from default.join_gilds',
      { place: { line: 1, column: 15 }, suggestions: ['join_guilds'] },
    ],
    ["select 'é😀', hots from sword_purchases", { place: { line: 1, column: 14 } }],
    ['select 1;\n\nselect hots from sword_purchases', { place: { line: 3, column: 8 } }],
    [
      'select default.sword_purchases.hots, 1 from default.sword_purchases where',
      { place: { line: 1, column: 74 } },
    ],
    ['select 1 +', { message: 'syntax error at end of input', place: { line: 1, column: 11 } }],
    ['select * from sword_purchases_1', { suggestions: ['sword_purchases'] }],
    ['select * from completely_different', { suggestions: [] }],
    [
      'select uppr(host) from sword_purchases',
      { message: 'scalar function "uppr" does not exist', suggestions: ['upper'] },
    ],
    [
      'describe sword_purchase',
      { place: { line: 1, column: 10 }, suggestions: ['sword_purchases'] },
    ],
    [
      'show tables from nowhere',
      { place: { line: 1, column: 18 }, suggestions: ['default', 'questlog'] },
    ],
    [
      'explain select hots from sword_purchases',
      { place: { line: 1, column: 16 }, suggestions: ['host'] },
    ],
    ["select cast('x' as integer)", { place: { line: 1, column: 8 } }],
    ['select 1 from t where (', { place: { line: 1, column: 24 } }],
  ])('%j', async (sql, expected) => {
    const { engine } = await start()
    const error = await failure(askAll(engine, sql))
    expect(error).toMatchObject({ code: 'SQL_INVALID', ...expected })
    expect(JSON.stringify([error.message, error.suggestions])).not.toMatch(/_fresh|_counts/)
  })

  test('an error in the middle of a result is told, with its place, not taken for the end', async () => {
    const { engine } = await start()
    const kinds: string[] = []
    const sql =
      "select 1 as a, cast(case when i = 500000 then 'x' else '1' end as int) as b from range(1000000) t(i)"
    const run = async () => {
      for await (const event of engine.run({
        sql,
        stale: false,
        signal: new AbortController().signal,
      }))
        kinds.push(event.kind)
    }
    expect(await failure(run())).toMatchObject({
      code: 'SQL_INVALID',
      place: { line: 1, column: 16 },
    })
    expect(kinds).toContain('rows')
    expect(kinds).not.toContain('end')
  })

  test('a statement that needs too much memory fails alone', async () => {
    const { engine } = await start({}, 32)
    const sql =
      "select count(distinct s) from (select md5(i::varchar) || repeat('x', 200) as s from range(1000000) t(i))"
    const error = await failure(ask(engine, sql))
    expect(error).toMatchObject({ code: 'OVERLOADED' })
    expect(error.hint).toContain('duckdbMemoryMiB')
    expect((await ask(engine, 'select count(*) from sword_purchases')).rows).toEqual([[20]])
  })

  test('a failed statement leaves nothing behind for the next one', async () => {
    const { engine } = await start({ queryConcurrencyMax: 1 })
    for (const sql of [
      'select hots from sword_purchases',
      "select error('x')",
      'selec',
      'insert into t values (1)',
    ]) {
      await failure(ask(engine, sql))
      expect((await ask(engine, 'select host from sword_purchases limit 1')).rows).toHaveLength(1)
    }
  })
})

describe('limits', () => {
  test('a statement with too many parts is refused, and one with many served', async () => {
    const { engine } = await start({}, 512)
    const list = (count: number) => `select 5 in (${'1, '.repeat(count)}5)`
    expect((await ask(engine, list(50_000))).rows).toEqual([[true]])
    const error = await failure(ask(engine, `select ${'1, '.repeat(120_000)}5`))
    expect(error.message).toBe('the statement has too many parts')
  })

  test('a statement that is too much for the parser fails like any other', async () => {
    const { engine } = await start({}, 32)
    const large = await failure(ask(engine, `select ${'1, '.repeat(300_000)}5`))
    expect(large).toMatchObject({ code: 'OVERLOADED' })
    const deep = await failure(ask(engine, `select ${'1 + '.repeat(5_000)}5`))
    expect(deep).toMatchObject({ code: 'SQL_INVALID' })
    expect((await ask(engine, 'select 1')).rows).toEqual([[1]])
  })

  test('two hundred at once: some run, the rest wait, all are answered', async () => {
    const { engine, source } = await start({ queryConcurrencyMax: 4, queryQueueMax: 200 })
    const sql = 'select count(*), max(damage) from sword_purchases where true'
    const answers = await Promise.all(Array.from({ length: 200 }, () => ask(engine, sql)))
    expect(new Set(answers.map(({ rows }) => JSON.stringify(rows)))).toEqual(new Set(['[[20,19]]']))
    expect(source.leasesMost).toBeLessThanOrEqual(4)
  })

  test('past the queue a statement is turned away at once, and a place that is given back is used', async () => {
    const { engine, source } = await start({ queryConcurrencyMax: 2, queryQueueMax: 3 })
    let release = () => {}
    const held = new Promise<void>((resolve) => (release = resolve))
    source.wait = () => held
    const running = Array.from({ length: 5 }, () => ask(engine, 'select count(*) from join_guilds'))
    await until(() => source.waits.length === 2)
    expect(await failure(ask(engine, 'select 1'))).toMatchObject({ code: 'SQL_TOO_MANY' })
    release()
    expect((await Promise.all(running)).map(({ rows }) => rows)).toEqual(Array(5).fill([[7]]))
    expect((await ask(engine, 'select 1')).rows).toEqual([[1]])
  })

  test('one that waits can be cancelled and leaves the queue', async () => {
    const { engine, source } = await start({ queryConcurrencyMax: 1, queryQueueMax: 1 })
    let release = () => {}
    source.wait = () => new Promise<void>((resolve) => (release = resolve))
    const first = ask(engine, 'select count(*) from join_guilds')
    await until(() => source.waits.length === 1)
    const cancel = new AbortController()
    const second = failure(ask(engine, 'select 1', { signal: cancel.signal }))
    cancel.abort()
    expect(await second).toMatchObject({ code: 'SQL_CANCELLED' })
    const third = ask(engine, 'select 3')
    release()
    expect((await first).rows).toEqual([[7]])
    expect((await third).rows).toEqual([[3]])
  })

  test('a cancelled statement stops soon', async () => {
    const { engine } = await start()
    const cancel = new AbortController()
    const running = failure(ask(engine, endless, { signal: cancel.signal }))
    await until(() => metric(engine, 'questlog_sql_running') === 1)
    for (let turn = 0; turn < 200; turn++) await new Promise((resolve) => setImmediate(resolve))
    const startMs = performance.now()
    cancel.abort()
    expect(await running).toMatchObject({ code: 'SQL_CANCELLED' })
    // It would run for days.
    expect(performance.now() - startMs).toBeLessThan(20_000)
    expect((await ask(engine, 'select 1')).rows).toEqual([[1]])
  })

  test('one that is cancelled at its very start stops as well', async () => {
    const { engine } = await start()
    for (const turns of [0, 1, 2, 3, 5, 8, 13]) {
      const cancel = new AbortController()
      const running = failure(ask(engine, endless, { signal: cancel.signal }))
      for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve))
      cancel.abort()
      expect(await running).toMatchObject({ code: 'SQL_CANCELLED' })
    }
    expect(await failure(ask(engine, 'select 1', { signal: AbortSignal.abort() }))).toMatchObject({
      code: 'SQL_CANCELLED',
    })
  })

  test('a statement that takes too long is cancelled and told which setting says so', async () => {
    const { engine } = await start({ queryTimeoutMs: 100 })
    const error = await failure(ask(engine, endless))
    expect(error).toMatchObject({ code: 'SQL_CANCELLED' })
    expect(error.hint).toContain('queryTimeoutMs')
  })

  test('a caller that stops half-way frees connection, lease and place', async () => {
    const { engine, source } = await start({ queryConcurrencyMax: 1 })
    const rows = engine.run({
      sql: 'select * from range(100000000)',
      stale: false,
      signal: new AbortController().signal,
    })
    for await (const event of rows) if (event.kind === 'rows') break
    expect([source.leases, metric(engine, 'questlog_sql_running')]).toEqual([0, 0])
    expect((await ask(engine, 'select 1')).rows).toEqual([[1]])
  })

  test('a million rows pass through without being kept', async () => {
    const { engine } = await start()
    const sql =
      "select i, 'a text of some length, number ' || i as t, i * 1.5::double as d from range(1000000) t(i)"
    let count = 0
    let peak = 0
    const before = process.memoryUsage.rss()
    for await (const event of engine.run({
      sql,
      stale: false,
      signal: new AbortController().signal,
    })) {
      if (event.kind === 'rows') count += event.chunk.rowCount
      peak = Math.max(peak, process.memoryUsage.rss())
    }
    expect(count).toBe(1_000_000)
    expect(peak - before).toBeLessThan(100 * 1024 * 1024)
  })

  test('close cancels what runs, also when its rows are not taken, and refuses what comes later', async () => {
    const bench = await start({ drainTimeoutMs: 2_000 })
    const running = failure(ask(bench.engine, endless))
    await until(() => metric(bench.engine, 'questlog_sql_running') === 1)
    await bench.engine.close()
    expect(await running).toMatchObject({ code: 'SHUTTING_DOWN' })
    expect(await failure(ask(bench.engine, 'select 1'))).toMatchObject({ code: 'SHUTTING_DOWN' })
  })
})

test('the stats tell the rows, the time, and what of it was spent waiting', async () => {
  const { engine, source } = await start()
  source.wait = () => new Promise((resolve) => setTimeout(resolve, 30))
  const events: SqlEvent[] = []
  for await (const event of engine.run({
    sql: 'from join_guilds',
    stale: false,
    signal: new AbortController().signal,
  }))
    events.push(event)
  const last = events.at(-1)
  if (last?.kind !== 'end') throw new Error('no end')
  expect(last.stats.rows).toBe(7)
  expect(last.stats.waitedMs).toBeGreaterThan(25)
  expect(last.stats.elapsedMs).toBeGreaterThan(last.stats.waitedMs)
})

test('a second engine on the same instance needs the same folder', async () => {
  const bench = await start()
  await expect(openSecond(bench, bench.lakeFolder)).resolves.toBeUndefined()
  await expect(openSecond(bench, '/elsewhere')).rejects.toMatchObject({ code: 'INTERNAL' })
})

async function openSecond(bench: Bench, lakeFolder: string): Promise<void> {
  const { confineFiles } = await import('../../src/sql/catalog.ts')
  await confineFiles(bench.instance, lakeFolder)
}

function metric(engine: Bench['engine'], name: string): number | undefined {
  return engine.metrics().find((one) => one.name === name)?.values[0]?.value
}

test('rows are not written into folders that readers would skip', async () => {
  const { engine, lakeFolder } = await start()
  const folder = join(lakeFolder, 'draft')
  mkdirSync(folder)
  const copy = (name: string) =>
    engine.copy({
      sql: `select 1 as n, 2 as "${name}"`,
      folder,
      fileName: 'part-0',
      partitionBy: [name],
      signal: new AbortController().signal,
    })
  expect((await failure(copy('.k'))).code).toBe('SQL_INVALID')
  expect(await copy('_k')).toBe(1)
})

test('two columns of one name are written as two', async () => {
  const { engine, lakeFolder, writer } = await start()
  const folder = join(lakeFolder, 'draft')
  mkdirSync(folder)
  const sql = 'select 1 as a, 2 as a, 3 as "A", \'\' as k'
  const signal = new AbortController().signal
  await engine.copy({ sql, folder, fileName: 'part-0', partitionBy: [], signal })
  const written = `SELECT * FROM '${join(folder, 'part-0.snappy.parquet')}'`
  const rows = await writer.runAndReadAll(written)
  expect(rows.getRowsJson()).toEqual([[1, 2, 3, '']])
  await engine.copy({ sql, folder, fileName: 'part-0', partitionBy: ['k'], signal })
  expect(readdirSync(folder)).toContain('k=__HIVE_DEFAULT_PARTITION__')
})
