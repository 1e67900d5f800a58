import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { runSql } from '../../src/cli/sql.ts'
import type { SqlOutput } from '../../src/cli/sql-output.ts'
import { realClock } from '../../src/core/clock.ts'
import { QuestlogError } from '../../src/core/errors.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { resolveSettings } from '../../src/core/settings.ts'
import { createSqlServer, type SqlServer } from '../../src/sql/sql-server.ts'
import { openBench, until, type Bench } from '../sql/support.ts'

let bench: Bench
let server: SqlServer
let endpoint: string

beforeAll(async () => {
  bench = await openBench()
  server = createSqlServer({
    engine: bench.engine,
    host: '127.0.0.1',
    settings: resolveSettings({}),
    clock: realClock,
    logger: silentLogger,
    health: () => ({ ready: true, reasons: [] }),
    metrics: () => [],
  })
  endpoint = `http://127.0.0.1:${await server.listen('127.0.0.1', 0)}`
})
afterAll(async () => {
  await server.close()
  await bench.close()
})

interface Outcome {
  readonly exit: number
  readonly out: string
  readonly err: string
}

async function run(
  sql: string,
  output: SqlOutput = 'table',
  options: {
    stale?: boolean
    signal?: AbortSignal
    endpoint?: string
    isSupervised?: () => boolean
  } = {},
): Promise<Outcome> {
  let out = ''
  let err = ''
  const exit = await runSql({
    endpoint: options.endpoint ?? endpoint,
    sql,
    output,
    stale: options.stale ?? false,
    signal: options.signal ?? new AbortController().signal,
    write: (text) => void (out += text),
    writeError: (text) => void (err += text),
    isSupervised: options.isSupervised ?? (() => false),
    clock: realClock,
  })
  return { exit, out, err }
}

describe('output', () => {
  test('a table ends with the time and what it includes', async () => {
    const { exit, out, err } = await run('SELECT COUNT(*) FROM sword_purchases;')
    expect(out).toMatch(
      /^ _col0 \n-------\n {4}20 \n\(1 row\)\n\n\d+ ms · everything answered before this statement is included\n$/,
    )
    expect([exit, err]).toEqual([0, ''])
    const stale = await run('SELECT COUNT(*) FROM sword_purchases', 'table', { stale: true })
    expect(stale.out).toMatch(/\n\d+ ms · stale: .*\n$/)
  })

  test('show tables and describe look as in the write-ups', async () => {
    const { out } = await run('show tables;')
    expect(out).toContain(
      '      Table      \n-----------------\n join_guilds     \n sword_purchases \n(2 rows)\n',
    )
    expect((await run('describe join_guilds;')).out).toContain(
      '  Column   |  Type   | Comment \n-----------+---------+---------\n raw_event | varchar |         \n',
    )
  })

  test('csv has a header and nothing else', async () => {
    expect((await run('select count(*) from sword_purchases', 'csv')).out).toBe('_col0\n20\n')
    const { out } = await run(
      "select 'a,b' as \"x,y\", 'say \"hi\"' as b, null as c, '' as d, 2::double as e, [1, 2] as f",
      'csv',
    )
    expect(out).toBe('"x,y",b,c,d,e,f\n"a,b","say ""hi""",,"",2.0,"[1,2]"\n')
    expect((await run('select 1 where false', 'csv')).out).toBe('_col0\n')
  })

  test('json is one array of objects, ndjson an object a line, digits and names intact', async () => {
    const sql =
      "select 9007199254740993 as n, 'x' as a, 1.5::double as a, {b: [true, null]} as s from range(2)"
    const row = '{"n":9007199254740993,"a":"x","a_2":1.5,"s":{"b":[true,null]}}'
    expect((await run(sql, 'ndjson')).out).toBe(`${row}\n${row}\n`)
    expect((await run(sql, 'json')).out).toBe(`[\n${row},\n${row}\n]\n`)
    expect((await run('select 1 where false', 'json')).out).toBe('[]\n')
    expect((await run('select 1 where false', 'ndjson')).out).toBe('')
  })

  test('every result of a script is printed', async () => {
    expect((await run('select 1 as a; select 2 as b', 'csv')).out).toBe('a\n1\nb\n2\n')
  })

  test('a long result is whole in every form', async () => {
    for (const form of ['csv', 'ndjson'] as const) {
      const { out } = await run("select i, 'é' || i as t from range(50000) t(i)", form)
      expect(out.trimEnd().split('\n')).toHaveLength(form === 'csv' ? 50_001 : 50_000)
    }
  })
})

describe('errors', () => {
  test('say what, where, and what was meant', async () => {
    expect(await run('SELECT hots, count(*) FROM sword_purchases')).toEqual({
      exit: 1,
      out: '',
      err: [
        'error[SQL_INVALID]: line 1:8: column "hots" does not exist',
        '  SELECT hots, count(*) FROM sword_purchases',
        '         ^',
        '  did you mean host?',
        '',
      ].join('\n'),
    })
  })

  test('the caret stands under the place, also after wide characters, tabs and on later lines', async () => {
    const { err } = await run("select 1,\n\t'日本', hots\nfrom sword_purchases")
    expect(err.split('\n').slice(1, 3)).toEqual(["   '日本', hots", `  ${' '.repeat(9)}^`])
  })

  test('of a long line only what is near is shown', async () => {
    const { err } = await run(`select ${'1, '.repeat(300)}hots from sword_purchases`)
    const [, line, caret] = err.split('\n')
    expect(line?.length).toBeLessThan(110)
    expect(line?.slice(caret?.indexOf('^')).startsWith('hots')).toBe(true)
  })

  test('a refused statement says what to do', async () => {
    const { exit, err } = await run('drop table sword_purchases')
    expect(exit).toBe(1)
    expect(err).toBe(
      'error[SQL_REFUSED]: DROP is not served\n  only statements that read are served; the tables are written by the stream\n',
    )
  })

  test('an error after the first rows leaves them and fails', async () => {
    const { exit, out, err } = await run(
      "select cast(case when i = 500000 then 'x' else '1' end as int) as a from range(1000000) t(i)",
      'csv',
    )
    expect(exit).toBe(1)
    expect(out.startsWith('a\n1\n')).toBe(true)
    expect(err).toContain('error[SQL_INVALID]')
  })

  test('other errors keep their advice', async () => {
    bench.source.wait = async () => {
      throw new QuestlogError('CATCHING_UP', 'the tables are not level with the log')
    }
    const { exit, err } = await run('from join_guilds')
    bench.source.wait = async () => {}
    expect([exit, err]).toEqual([
      1,
      'error[CATCHING_UP]: the tables are not level with the log\n  ask again in a moment, or allow stale answers with --stale\n',
    ])
  })

  test('nothing answers: exit 4', async () => {
    const { exit, err } = await run('select 1', 'table', { endpoint: 'http://127.0.0.1:1' })
    expect(exit).toBe(4)
    expect(err).toBe(
      'error[NOT_RUNNING]: nothing answers at 127.0.0.1:1\n  start it with `questlog up -d`\n',
    )
  })

  test.each<[string, (port: Server) => void]>([
    [
      'breaks off after the head',
      (other) =>
        other.on('request', (_, response) => {
          response.writeHead(200, { 'content-type': 'application/x-ndjson' })
          response.write('{"columns":[{"name":"a","type":"bigint"}]}\n')
          setImmediate(() => response.destroy())
        }),
    ],
    [
      'ends before the stats',
      (other) =>
        other.on(
          'request',
          (_, response) =>
            void response
              .writeHead(200, { 'content-type': 'application/x-ndjson' })
              .end('{"columns":[{"name":"a","type":"bigint"}]}\n{"rows":[[1]]}\n'),
        ),
    ],
    [
      'is a page',
      (other) => other.on('request', (_, response) => void response.writeHead(404).end('<html>')),
    ],
    [
      "is somebody else's JSON",
      (other) =>
        other.on('request', (_, response) => void response.writeHead(404).end('{"message":"no"}')),
    ],
  ])('an answer that %s is not taken for a whole one', async (_, answer) => {
    const other = createServer()
    answer(other)
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve))
    const { exit, err } = await run('select 1', 'csv', {
      endpoint: `http://127.0.0.1:${(other.address() as AddressInfo).port}`,
    })
    expect([exit, err]).toEqual([4, expect.stringContaining('error[NOT_RUNNING]')])
    other.closeAllConnections()
    await new Promise((resolve) => other.close(resolve))
  })

  test('Ctrl-C cancels the statement on the server and exits 130', async () => {
    const running = () =>
      bench.engine.metrics().find(({ name }) => name === 'questlog_sql_running')?.values[0]?.value
    const cancel = new AbortController()
    const outcome = run(
      'select count(*) from range(100000000000) a, range(100000) b where a.range % 7 = b.range',
      'table',
      { signal: cancel.signal },
    )
    await until(() => running() === 1)
    cancel.abort()
    expect(await outcome).toMatchObject({
      exit: 130,
      out: '',
      err: expect.stringContaining('error[SQL_CANCELLED]') as unknown,
    })
    await until(() => running() === 0)
  })
})

test('a statement waits for a process that its supervisor is starting again', async () => {
  let asked = 0
  const late = createServer((_request, response) => {
    asked++
    if (asked < 3) response.destroy()
    else
      response
        .writeHead(200, { 'content-type': 'application/x-ndjson' })
        .end(
          '{"columns":[{"name":"n","type":"bigint"}]}\n{"rows":[[7]]}\n{"stats":{"rows":1,"elapsedMs":1,"waitedMs":0,"stale":false}}\n',
        )
  })
  await new Promise<void>((resolve) => late.listen(0, '127.0.0.1', resolve))
  const address = late.address()
  const place = { endpoint: `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}` }
  expect(await run('select 7', 'csv', { ...place, isSupervised: () => true })).toEqual({
    exit: 0,
    out: 'n\n7\n',
    err: '',
  })
  expect(asked).toBe(3)
  late.close()
})
