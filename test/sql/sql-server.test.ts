import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { connect, type Socket } from 'node:net'
import { request, type IncomingHttpHeaders } from 'node:http'
import { realClock } from '../../src/core/clock.ts'
import { QuestlogError } from '../../src/core/errors.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { resolveSettings } from '../../src/core/settings.ts'
import { createSqlServer, type ExtraRoute, type SqlServer } from '../../src/sql/sql-server.ts'
import { openBench, until, type Bench } from './support.ts'

let bench: Bench
let server: SqlServer
let port: number
let reasons: string[]
const logged: unknown[] = []

beforeEach(() => start())
afterEach(async () => {
  await server.close()
  await server.close()
  await bench.close()
  expect(logged.splice(0)).toEqual([])
  expect(bench.source.leases).toBe(0)
})

async function start(overrides: Record<string, unknown> = {}, host = '127.0.0.1'): Promise<void> {
  bench = await openBench(overrides)
  reasons = []
  server = createSqlServer({
    engine: bench.engine,
    host,
    settings: resolveSettings(overrides),
    clock: realClock,
    logger: { ...silentLogger, error: (...line) => logged.push(line) },
    health: () => ({ ready: reasons.length === 0, reasons }),
    metrics: () => [
      { name: 'questlog_test', help: 'A test.', type: 'gauge', values: [{ value: 1 }] },
    ],
    extraRoutes: new Map<string, ExtraRoute>([
      [
        'GET /_questlog/where',
        async (incoming, response) => void response.end(`asked ${incoming.url}`),
      ],
      [
        'GET /_questlog/fails',
        async () => {
          throw new QuestlogError('TOPIC_UNKNOWN', 'no such topic')
        },
      ],
    ]),
  })
  port = await server.listen('127.0.0.1', 0)
}

async function restart(overrides: Record<string, unknown>, host?: string): Promise<void> {
  await server.close()
  await bench.close()
  await start(overrides, host)
}

interface Reply {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

/** Sends a request with exactly these headers (fetch would not let us forge Host and Origin). */
function send(
  method: string,
  path: string,
  headers: Record<string, string> = {},
  body: string | Buffer = '',
): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const outgoing = request(
      { host: '127.0.0.1', port, method, path, headers, agent: false },
      (response) => {
        const chunks: Buffer[] = []
        response.on('data', (chunk: Buffer) => chunks.push(chunk))
        response.on('end', () =>
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            body: Buffer.concat(chunks).toString(),
          }),
        )
        response.on('error', reject)
      },
    )
    outgoing.on('error', reject)
    outgoing.end(body)
  })
}

const json = { 'content-type': 'application/json' }
const postSql = (sql: string, stale?: boolean) =>
  send('POST', '/sql', json, JSON.stringify({ sql, stale }))
const lines = (reply: Reply) =>
  reply.body
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>)

describe('POST /sql', () => {
  test('answers columns, rows and stats, a line each', async () => {
    const reply = await postSql(
      'select host, count(*) from sword_purchases group by host order by 1',
    )
    expect(reply.status).toBe(200)
    expect(reply.headers['content-type']).toMatch(/^application\/x-ndjson/)
    expect(lines(reply)).toEqual([
      {
        columns: [
          { name: 'host', type: 'varchar' },
          { name: '_col1', type: 'bigint' },
        ],
      },
      {
        rows: [
          ['user1.com', 10],
          ['user2.com', 10],
        ],
      },
      {
        stats: {
          rows: 2,
          elapsedMs: expect.any(Number),
          waitedMs: expect.any(Number),
          stale: false,
        },
      },
    ])
  })

  test('takes the bare statement as text', async () => {
    const reply = await send(
      'POST',
      '/sql',
      { 'content-type': 'text/plain; charset=utf-8' },
      'select 1',
    )
    expect(lines(reply)[1]).toEqual({ rows: [[1]] })
  })

  test('answers every statement of a script in turn', async () => {
    const names = lines(await postSql('select 1 as a; show tables; select 2 as b')).map(
      (line) => Object.keys(line)[0],
    )
    expect(names).toEqual([
      'columns',
      'rows',
      'stats',
      'columns',
      'rows',
      'stats',
      'columns',
      'rows',
      'stats',
    ])
  })

  test('a small answer goes as a whole, with its length; a large one as it is made', async () => {
    const small = await postSql('select 1')
    expect(small.headers['content-length']).toBe(String(Buffer.byteLength(small.body)))
    const large = await postSql('select * from range(10000)')
    expect(large.headers['content-length']).toBeUndefined()
    expect(lines(large).at(-1)).toMatchObject({ stats: { rows: 10_000 } })
  })

  test('what the first statements gave stands before the error of a later one', async () => {
    const reply = await postSql("select 1 as a; select cast('x' as int)")
    expect(reply.status).toBe(200)
    expect(lines(reply).map((line) => Object.keys(line)[0])).toEqual([
      'columns',
      'rows',
      'stats',
      'error',
    ])
  })

  test('stale answers do not wait for the stream', async () => {
    expect(lines(await postSql('from join_guilds', true)).at(-1)).toMatchObject({
      stats: { stale: true },
    })
    expect(bench.source.waits).toEqual([])
  })

  test('a wrong statement is answered with its status, place and suggestions', async () => {
    const reply = await postSql('select hots from sword_purchases')
    expect(reply.status).toBe(400)
    expect(JSON.parse(reply.body)).toEqual({
      error: {
        code: 'SQL_INVALID',
        message: 'column "hots" does not exist',
        hint: 'correct the statement',
        line: 1,
        column: 8,
        suggestions: ['host'],
      },
    })
    expect((await postSql('drop view sword_purchases')).status).toBe(403)
  })

  test('what may be tried again says when', async () => {
    bench.source.wait = async () => {
      throw new QuestlogError('CATCHING_UP', 'behind')
    }
    const reply = await postSql('from join_guilds')
    expect([reply.status, reply.headers['retry-after']]).toEqual([503, '1'])
  })

  test('an error after the first rows is the last line', async () => {
    const reply = await postSql(
      "select cast(case when i = 500000 then 'x' else '1' end as int) from range(1000000) t(i)",
    )
    expect(reply.status).toBe(200)
    expect(lines(reply).at(-1)).toMatchObject({
      error: { code: 'SQL_INVALID', line: 1, column: 8 },
    })
  })

  test.each<[string, Record<string, string>, string | Buffer, number, string]>([
    ['not JSON', json, '{', 400, 'REQUEST_MALFORMED'],
    ['not an object', json, '["select 1"]', 400, 'REQUEST_MALFORMED'],
    ['no sql', json, '{}', 400, 'REQUEST_MALFORMED'],
    ['sql of another type', json, '{"sql": 1}', 400, 'REQUEST_MALFORMED'],
    [
      'stale of another type',
      json,
      '{"sql": "select 1", "stale": "yes"}',
      400,
      'REQUEST_MALFORMED',
    ],
    [
      'not UTF-8',
      { 'content-type': 'text/plain' },
      Buffer.from([0x27, 0xff, 0x27]),
      400,
      'REQUEST_MALFORMED',
    ],
    ['empty', json, '', 400, 'REQUEST_MALFORMED'],
    ['no statement', json, '{"sql": " ; "}', 400, 'SQL_INVALID'],
    [
      'a form',
      { 'content-type': 'application/x-www-form-urlencoded' },
      'select 1',
      415,
      'MEDIA_TYPE_UNSUPPORTED',
    ],
    ['no type', {}, 'select 1', 415, 'MEDIA_TYPE_UNSUPPORTED'],
  ])('a body that is wrong is refused: %s', async (_, headers, body, status, code) => {
    const reply = await send('POST', '/sql', headers, body)
    expect(reply.status).toBe(status)
    expect(JSON.parse(reply.body)).toMatchObject({ error: { code } })
  })

  test('a body past the limit is refused, and its sender gets to know', async () => {
    await restart({ sqlBytesMax: 1024 })
    for (const size of [1025, 4000, 20_000, 5_000_000]) {
      const reply = await send(
        'POST',
        '/sql',
        { 'content-type': 'text/plain', 'content-length': String(size) },
        Buffer.alloc(size, 32),
      ).catch(() => undefined)
      // Far past the limit the connection may be cut while the client still sends.
      if (size < 5000) expect(reply?.status).toBe(413)
      else expect([413, undefined]).toContain(reply?.status)
    }
    expect((await postSql('select 1')).status).toBe(200)
  })
})

describe('who may call', () => {
  test.each(['localhost', 'localhost:1234', '127.0.0.1:8080', '[::1]:8080', 'LOCALHOST:1'])(
    'Host %s is this machine',
    async (host) => {
      expect((await send('POST', '/sql', { ...json, host }, '{"sql":"select 1"}')).status).toBe(200)
    },
  )

  test.each([
    'evil.example',
    'localhost.evil.example',
    '127.0.0.1.evil.example:80',
    'localhost:x',
    'user@localhost',
    '10.0.0.1',
    '[::2]:80',
  ])('Host %j is refused everywhere', async (host) => {
    for (const [method, path] of [
      ['POST', '/sql'],
      ['GET', '/metrics'],
      ['GET', '/health'],
      ['GET', '/_questlog/where'],
      ['GET', '/nothing'],
    ] as const)
      expect(
        (await send(method, path, { ...json, host }, method === 'POST' ? '{"sql":"select 1"}' : ''))
          .status,
      ).toBe(403)
  })

  test('the configured host is taken too, and any Host when it listens to the network', async () => {
    await restart({}, 'lake.internal')
    expect((await send('GET', '/health', { host: 'Lake.Internal:8080' })).status).toBe(200)
    expect((await send('GET', '/health', { host: 'other.internal' })).status).toBe(403)
    await restart({}, '0.0.0.0')
    expect((await send('GET', '/health', { host: 'other.internal' })).status).toBe(200)
    expect(
      (await send('GET', '/health', { host: 'x', origin: 'http://evil.example' })).status,
    ).toBe(403)
  })

  test('a page of another site is refused, one of this machine may ask with JSON only', async () => {
    for (const origin of [
      'http://evil.example',
      'null',
      'http://localhost.evil.example',
      'https://127.0.0.1@evil.example',
    ])
      for (const path of ['/sql', '/_questlog/where'])
        expect(
          (
            await send(
              path === '/sql' ? 'POST' : 'GET',
              path,
              { ...json, origin },
              path === '/sql' ? '{"sql":"select 1"}' : '',
            )
          ).status,
        ).toBe(403)
    const origin = 'http://localhost:3000'
    expect((await send('POST', '/sql', { ...json, origin }, '{"sql":"select 1"}')).status).toBe(200)
    expect(
      (await send('POST', '/sql', { 'content-type': 'text/plain', origin }, 'select 1')).status,
    ).toBe(403)
  })

  test('a preflight is never answered with consent', async () => {
    const reply = await send('OPTIONS', '/sql', {
      origin: 'http://localhost:3000',
      'access-control-request-method': 'POST',
    })
    expect(reply.status).toBe(405)
    expect(reply.headers['access-control-allow-origin']).toBeUndefined()
  })
})

describe('the other routes', () => {
  test.each(['', '/_questlog'])('%s/health, /ready and /metrics', async (prefix) => {
    expect((await send('GET', `${prefix}/health`)).body).toBe('{"status":"ok"}\n')
    expect((await send('GET', `${prefix}/ready`)).status).toBe(200)
    reasons.push('topic events: no space left')
    const reply = await send('GET', `${prefix}/ready`)
    expect([reply.status, JSON.parse(reply.body)]).toEqual([
      503,
      { ready: false, reasons: ['topic events: no space left'] },
    ])
    const metrics = await send('GET', `${prefix}/metrics`)
    expect(metrics.headers['content-type']).toMatch(/^text\/plain; version=0.0.4/)
    expect(metrics.body).toContain('questlog_test 1')
    expect(metrics.body).toContain('questlog_sql_running 0')
  })

  test('HEAD is answered like GET without the body', async () => {
    expect(await send('HEAD', '/health')).toMatchObject({ status: 200, body: '' })
  })

  test('routes that are given are served, and their errors told', async () => {
    expect((await send('GET', '/_questlog/where?receipt=events/0/1')).body).toBe(
      'asked /_questlog/where?receipt=events/0/1',
    )
    const reply = await send('GET', '/_questlog/fails')
    expect([reply.status, JSON.parse(reply.body)]).toMatchObject([
      404,
      { error: { code: 'TOPIC_UNKNOWN' } },
    ])
  })

  test('anything else is 404, a wrong method 405 with Allow', async () => {
    expect((await send('GET', '/purchase_a_sword')).status).toBe(404)
    const reply = await send('GET', '/sql')
    expect([reply.status, reply.headers.allow]).toEqual([405, 'POST'])
  })
})

const endless = JSON.stringify({
  sql: 'select count(*) from range(100000000000) a, range(100000) b where a.range % 7 = b.range',
})
const running = () =>
  bench.engine.metrics().find(({ name }) => name === 'questlog_sql_running')?.values[0]?.value

/** A client that sends a statement and then does as the test says. */
function rawPost(body: string): Promise<Socket> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.write(
        `POST /sql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
      )
      resolve(socket)
    })
    socket.on('error', () => {})
  })
}

describe('clients that leave', () => {
  test('a client that hangs up cancels its statement', async () => {
    const socket = await rawPost(endless)
    await until(() => running() === 1)
    socket.destroy()
    await until(() => running() === 0)
  })

  test('a client that does not read holds back its own rows only, and is given up in the end', async () => {
    await restart({ queryTimeoutMs: 1_000 })
    const socket = await rawPost(
      JSON.stringify({ sql: "select repeat('x', 1000) from range(1000000)" }),
    )
    socket.pause()
    await until(() => running() === 1)
    expect(lines(await postSql('select 1'))[1]).toEqual({ rows: [[1]] })
    await until(() => running() === 0)
    socket.destroy()
  })

  test('close tells the clients of running statements', async () => {
    const reply = send('POST', '/sql', json, endless)
    await until(() => running() === 1)
    await server.close()
    const { status, body } = await reply
    expect([status, JSON.parse(body)]).toMatchObject([503, { error: { code: 'SHUTTING_DOWN' } }])
  })
})

test('a port in use is told as such', async () => {
  const second = createSqlServer({
    engine: bench.engine,
    host: '127.0.0.1',
    settings: resolveSettings({}),
    clock: realClock,
    logger: silentLogger,
    health: () => ({ ready: true, reasons: [] }),
    metrics: () => [],
  })
  await expect(second.listen('127.0.0.1', port)).rejects.toMatchObject({ code: 'PORT_BUSY' })
})
