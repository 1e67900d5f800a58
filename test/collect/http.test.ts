import { afterEach, describe, expect, test } from 'vitest'
import { realClock } from '../../src/core/clock.ts'
import { QuestlogError } from '../../src/core/errors.ts'
import type { Collector } from '../../src/collect/collector.ts'
import {
  ask,
  codeOf,
  definitionOf,
  eventDefinition,
  exchangeRaw,
  FakeLog,
  make,
  post,
  start,
  stopAll,
  until,
} from './harness.ts'

afterEach(stopAll)

const paths = (collector: Collector) => collector.unknownPaths()

describe('what is no event', () => {
  test('HEAD is answered like GET, without an event and without a receipt', async () => {
    const { port, log } = await start()
    const answer = await ask(port, '/purchase_a_sword', { method: 'HEAD' })
    expect([answer.status, answer.body]).toEqual([200, ''])
    expect(answer.headers['content-length']).toBe('18')
    expect(answer.headers['questlog-receipt']).toBeUndefined()
    expect(log.records).toHaveLength(0)
  })

  test('OPTIONS says which methods a path takes', async () => {
    const { port, log } = await start()
    const allow = async (target: string) => {
      const { status, headers } = await ask(port, target, { method: 'OPTIONS' })
      return [status, headers['allow']]
    }
    expect(await allow('/')).toEqual([204, 'GET, HEAD, POST, OPTIONS'])
    expect(await allow('/keyed')).toEqual([204, 'POST, OPTIONS'])
    expect(await allow('/events')).toEqual([204, 'POST, OPTIONS'])
    expect(await allow('*')).toEqual([204, 'GET, HEAD, POST, OPTIONS'])
    expect((await ask(port, '/nothing', { method: 'OPTIONS' })).status).toBe(404)
    expect(log.records).toHaveLength(0)
  })

  test('unknown paths are 404 and counted by path, up to a bound', async () => {
    const { port, log, collector } = await start({ unknownPathsMax: 3 })
    const targets = [
      '/purchase_a_knive',
      '/purchase_a_sword/',
      '/purchase_a_knive?x=1',
      '//',
      '/4',
      '/5',
      '//',
    ]
    for (const target of targets) {
      const answer = await ask(port, target)
      expect([answer.status, codeOf(answer)]).toEqual([404, 'ROUTE_UNKNOWN'])
    }
    expect(paths(collector)).toEqual([
      { path: '(other)', count: 2 },
      { path: '//', count: 2 },
      { path: '/purchase_a_knive', count: 2 },
      { path: '/purchase_a_sword/', count: 1 },
    ])
    expect(collector.counters().unknownPathRequests).toBe(7)
    expect(log.records).toHaveLength(0)
  })

  test('a wrong method is 405 with what is allowed', async () => {
    const { port, log } = await start()
    for (const [method, target, allow] of [
      ['PUT', '/', 'GET, HEAD, POST, OPTIONS'],
      ['DELETE', '/purchase_a_sword', 'GET, HEAD, POST, OPTIONS'],
      ['GET', '/keyed', 'POST, OPTIONS'],
      ['HEAD', '/keyed', 'POST, OPTIONS'],
      ['GET', '/events', 'POST, OPTIONS'],
    ] as const) {
      const answer = await ask(port, target, { method })
      expect([method, answer.status, answer.headers['allow']]).toEqual([method, 405, allow])
    }
    expect(log.records).toHaveLength(0)
  })

  test('a path with percent-escapes is the path that they spell', async () => {
    const definition = definitionOf(
      eventDefinition({ type: 'cafe', routes: [{ method: 'GET', path: '/café', reply: 'ß\n' }] }),
    )
    const { port, log, collector } = await start({}, { definition })
    const answer = await ask(port, '/caf%C3%A9')
    expect([answer.status, answer.body, answer.headers['content-length']]).toEqual([
      200,
      'ß\n',
      '3',
    ])
    expect((await ask(port, '/caf%zz')).status).toBe(404)
    expect(paths(collector)).toEqual([{ path: '/caf%zz', count: 1 }])
    expect(log.records).toHaveLength(1)
  })
})

describe('errors', () => {
  test('are JSON with code, message and hint', async () => {
    const { port } = await start()
    const answer = await ask(port, '/nothing')
    expect(answer.headers['content-type']).toBe('application/json')
    expect(JSON.parse(answer.body)).toEqual({
      error: {
        code: 'ROUTE_UNKNOWN',
        message: 'there is no route /nothing',
        hint: 'add the route to questlog.config.ts',
      },
    })
  })

  test.each([
    ['OVERLOADED', 503],
    ['PARTITION_OFFLINE', 503],
    ['OUTCOME_UNKNOWN', 503],
    ['SHUTTING_DOWN', 503],
    ['EVENT_TOO_LARGE', 413],
  ] as const)('an append that rejects with %s is answered %i', async (code, status) => {
    const log = new FakeLog()
    log.failure = new QuestlogError(code, 'the log says so')
    const { port, collector } = await start({}, { log })
    for (const answer of [await ask(port, '/'), await post(port, '/bare', '{}')]) {
      expect([answer.status, codeOf(answer)]).toEqual([status, code])
      if (status === 503) expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0)
    }
    expect(collector.counters().refused).toEqual({ [code]: 2 })
  })

  test('a bug is answered 500 and logged, and the next request is served', async () => {
    const log = new FakeLog()
    const errors: string[] = []
    const logger = { info: () => {}, warn: () => {}, error: (text: string) => errors.push(text) }
    const { port } = await start({}, { log, logger })
    log.failure = new TypeError('oops') as unknown as QuestlogError
    expect((await ask(port, '/')).status).toBe(500)
    expect(errors).toHaveLength(1)
    log.failure = undefined
    expect((await ask(port, '/')).status).toBe(200)
  })
})

describe('the definition', () => {
  const knife = definitionOf(
    eventDefinition({
      type: 'purchase_knife',
      routes: [{ method: 'GET', path: '/purchase_a_knife', reply: 'Knife!\n' }],
    }),
  )

  test('is replaced at any moment, for every request from then on', async () => {
    const { port, collector } = await start({}, { definition: definitionOf() })
    expect((await ask(port, '/purchase_a_knife')).status).toBe(404)
    expect(paths(collector)).toEqual([{ path: '/purchase_a_knife', count: 1 }])
    collector.replaceDefinition(knife)
    expect(paths(collector)).toEqual([]) // nothing to look at any more
    expect((await ask(port, '/purchase_a_knife')).body).toBe('Knife!\n')
    collector.replaceDefinition(definitionOf())
    expect((await ask(port, '/purchase_a_knife')).status).toBe(404)
  })

  test('that is replaced under way does not touch a request that has begun', async () => {
    const log = new FakeLog()
    let open = () => {}
    log.gate = new Promise((resolve) => {
      open = resolve
    })
    const { port, collector } = await start({}, { log, definition: knife })
    const answer = ask(port, '/purchase_a_knife')
    await until(() => collector.counters().requestsInFlight === 1, 'the request')
    collector.replaceDefinition(definitionOf())
    open()
    expect((await answer).body).toBe('Knife!\n')
  })

  test("can't take questlog's own paths, nor one path twice, and then the old routes stay", async () => {
    const { port, collector } = await start({}, { definition: knife })
    const withRoutes = (...routes: { method: 'GET' | 'POST'; path: string }[]) =>
      definitionOf(
        eventDefinition({ type: 'x', routes: routes.map((route) => ({ ...route, reply: '' })) }),
      )
    for (const definition of [
      withRoutes({ method: 'GET', path: '/_questlog/health' }),
      withRoutes({ method: 'POST', path: '/events' }),
      withRoutes({ method: 'GET', path: '/a' }, { method: 'GET', path: '/a' }),
    ])
      expect(() => collector.replaceDefinition(definition)).toThrow(QuestlogError)
    expect((await ask(port, '/purchase_a_knife')).status).toBe(200)
  })

  test('may give GET and POST of one path to two events', async () => {
    const definition = definitionOf(
      eventDefinition({ type: 'seen', routes: [{ method: 'GET', path: '/a', reply: 'seen' }] }),
      eventDefinition({ type: 'done', routes: [{ method: 'POST', path: '/a', reply: 'done' }] }),
    )
    const { port, log } = await start({}, { definition })
    await ask(port, '/a')
    await post(port, '/a', '{}')
    expect(log.events().map((event) => event['event_type'])).toEqual(['seen', 'done'])
  })
})

describe('write keys', () => {
  const keys = { writeKeys: ['first-key', 'second-key'] }

  test('are taken as bearer, parameter or header, and nothing else is', async () => {
    const { port, log } = await start(keys)
    const good = [
      ask(port, '/bare', { headers: { Authorization: 'Bearer first-key' } }),
      ask(port, '/bare?write_key=second-key&a=1'),
      ask(port, '/bare', { headers: { 'Questlog-Write-Key': 'first-key' } }),
      post(port, '/events?write_key=first-key', '{"event_type":"bare"}'),
      post(port, '/bare', '{}', 'application/json', { Authorization: 'bearer second-key' }),
    ]
    for (const answer of await Promise.all(good)) expect(answer.status).toBe(200)
    const bad = [
      ask(port, '/bare'),
      ask(port, '/bare?write_key='),
      ask(port, '/bare?write_key=first-keyx'),
      ask(port, '/bare', { headers: { Authorization: 'Basic first-key' } }),
      post(port, '/events', '{"event_type":"bare","write_key":"first-key"}'),
    ]
    for (const answer of await Promise.all(bad))
      expect([answer.status, codeOf(answer)]).toEqual([401, 'UNAUTHORIZED'])
    expect(log.records).toHaveLength(5)
    expect(log.values().join()).not.toMatch(/-key/)
    expect((await ask(port, '/bare', { method: 'HEAD' })).status).toBe(200)
    expect((await ask(port, '/_questlog/health')).status).toBe(200)
  })
})

describe('CORS', () => {
  const from = (origin: string) => ({ headers: { Origin: origin } })

  test('without the setting no answer speaks of it', async () => {
    const { port } = await start()
    const { headers } = await ask(port, '/', from('https://game.example'))
    expect(Object.keys(headers).filter((name) => /^(access-control|vary)/.test(name))).toEqual([])
  })

  test('a named origin may send, read the receipt, and use beacons', async () => {
    const { port } = await start({ corsOrigins: ['https://game.example'] })
    const answer = await ask(port, '/', from('https://game.example'))
    expect(answer.headers).toMatchObject({
      vary: 'Origin',
      'access-control-allow-origin': 'https://game.example',
      'access-control-expose-headers': 'Questlog-Receipt',
      'access-control-allow-credentials': 'true',
    })
    const preflight = await ask(port, '/events', {
      method: 'OPTIONS',
      ...from('https://game.example'),
    })
    expect(preflight.status).toBe(204)
    expect(preflight.headers['access-control-allow-methods']).toBe('POST, OPTIONS')
    expect(preflight.headers['access-control-allow-headers']).toMatch(/Content-Type/)
    const refused = await ask(port, '/nothing', from('https://game.example'))
    expect(refused.headers['access-control-allow-origin']).toBe('https://game.example')
    const other = await ask(port, '/', from('https://evil.example'))
    expect(other.headers['access-control-allow-origin']).toBeUndefined()
  })

  test('* lets any origin in, without credentials', async () => {
    const { port } = await start({ corsOrigins: ['*'] })
    const { headers } = await ask(port, '/', from('https://anyone.example'))
    expect(headers['access-control-allow-origin']).toBe('*')
    expect(headers['access-control-allow-credentials']).toBeUndefined()
  })
})

describe('the access log', () => {
  test('has one line a request, as the write-ups print it, in local time', async () => {
    const at = new Date(2018, 6, 26, 22, 36, 27, 500).getTime()
    const { port, lines } = await start({}, { clock: { ...realClock, nowMs: () => at } })
    await exchangeRaw(port, 'GET /purchase_a_sword?a=%20b HTTP/1.0\r\n\r\n')
    await ask(port, '/nothing', { method: 'PUT' })
    await exchangeRaw(port, 'no http\r\n\r\n')
    await until(() => lines.length === 3, 'three lines')
    expect(lines).toEqual([
      '127.0.0.1 - - [26/Jul/2018 22:36:27] "GET /purchase_a_sword?a=%20b HTTP/1.0" 200 -',
      '127.0.0.1 - - [26/Jul/2018 22:36:27] "PUT /nothing HTTP/1.1" 404 -',
      '127.0.0.1 - - [26/Jul/2018 22:36:27] "-" 400 -',
    ])
  })

  test('leaves out what machines ask all the time, and can be off', async () => {
    const { port, lines } = await start()
    await ask(port, '/_questlog/health')
    expect(lines).toEqual([])
    const silent = await start({}, { accessLog: null })
    expect((await ask(silent.port, '/')).status).toBe(200)
  })
})

describe("questlog's own paths", () => {
  test('health, readiness and metrics', async () => {
    let ready = true
    const health = () => ({ ready, reasons: ready ? [] : ['events/0 is offline: EIO'] })
    const metrics = () => [
      { name: 'questlog_other', help: 'x', type: 'gauge' as const, values: [{ value: 7 }] },
    ]
    const { port } = await start({}, { health, metrics })
    await ask(port, '/')
    expect(await ask(port, '/_questlog/health')).toMatchObject({
      status: 200,
      body: '{"status":"ok"}\n',
    })
    expect((await ask(port, '/_questlog/ready')).status).toBe(200)
    ready = false
    const unready = await ask(port, '/_questlog/ready')
    expect(unready.status).toBe(503)
    expect(JSON.parse(unready.body)).toEqual(health())
    expect((await ask(port, '/_questlog/health')).status).toBe(200)
    const { body, headers } = await ask(port, '/_questlog/metrics')
    expect(headers['content-type']).toMatch(/^text\/plain; version=0\.0\.4/)
    expect(body).toMatch(/^questlog_collector_events_kept_total 1$/m)
    expect(body).toMatch(/^questlog_collector_answers_total\{status="200"\} \d+$/m)
    expect(body).toMatch(/^questlog_other 7$/m)
    expect((await ask(port, '/_questlog/nothing')).status).toBe(404)
    expect((await post(port, '/_questlog/health', '{}')).status).toBe(405)
  })
})

describe('HTTP as clients speak it', () => {
  test('HTTP/1.0 closes, with keep-alive it stays open, as ab -k wants it', async () => {
    const { port } = await start()
    const once = await exchangeRaw(port, 'GET / HTTP/1.0\r\n\r\n')
    expect(once).toMatch(/^HTTP\/1\.1 200 OK\r\n/)
    expect(once).toMatch(/\r\nConnection: close\r\n/)
    const line = 'GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n'
    const twice = await exchangeRaw(
      port,
      line + line,
      (got) => got.split('\r\n\r\nThis').length === 3,
    )
    expect(twice.match(/HTTP\/1\.1 200 OK/g)).toHaveLength(2)
    expect(twice).toMatch(/\r\nConnection: keep-alive\r\n/)
  })

  test('pipelined requests are answered in order', async () => {
    const { port, log } = await start()
    const requests = ['/', '/purchase_a_sword', '/nothing', '/bare?n=4']
      .map((path) => `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`)
      .join('')
    const received = await exchangeRaw(port, requests, (got) => got.endsWith('ok\n'))
    expect(received.match(/HTTP\/1\.1 \d+/g)).toEqual(
      [200, 200, 404, 200].map((n) => `HTTP/1.1 ${n}`),
    )
    expect(log.records).toHaveLength(3)
  })

  test('the body of a refused request is skipped, and the connection goes on', async () => {
    const { port, log } = await start()
    const requests =
      'POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nGET /' +
      'POST /bare HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 5\r\n\r\nGET /' +
      'GET /bare HTTP/1.1\r\nHost: x\r\n\r\n'
    const received = await exchangeRaw(port, requests, (got) => got.endsWith('ok\n'))
    expect(received.match(/HTTP\/1\.1 \d+/g)).toEqual([404, 415, 200].map((n) => `HTTP/1.1 ${n}`))
    expect(log.records).toHaveLength(1)
  })

  test('garbage after a request never stands in for its answer', async () => {
    const log = new FakeLog()
    let open = () => {}
    log.gate = new Promise((resolve) => {
      open = resolve
    })
    const { port, collector } = await start({}, { log })
    const received = exchangeRaw(port, 'GET / HTTP/1.1\r\nHost: x\r\n\r\nGARBAGE\r\n\r\n')
    await until(() => collector.counters().requestsInFlight === 1, 'the request')
    open()
    expect((await received).match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 200'])
    expect(log.records).toHaveLength(1)
  })

  test('an absolute target is served by its path', async () => {
    const { port } = await start()
    expect((await ask(port, 'http://proxy.example/bare?a=1')).status).toBe(200)
  })

  test('Expect: 100-continue is answered before the body is sent', async () => {
    const { port, log } = await start()
    const head =
      'POST /bare HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 7\r\nExpect: 100-continue\r\n\r\n'
    const received = await exchangeRaw(port, `${head}{"a":1}`, (got) => got.endsWith('ok\n'))
    expect(received).toMatch(/^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 OK\r\n/)
    expect(log.values()).toEqual(['{"event_type":"bare","a":1}'])
  })
})

describe('close', () => {
  test('answers what runs, ends idle connections, refuses new ones, and resolves once', async () => {
    const log = new FakeLog()
    let open = () => {}
    log.gate = new Promise((resolve) => {
      open = resolve
    })
    const { port, collector } = await start({ keepAliveTimeoutMs: 600_000 }, { log })
    const idle = exchangeRaw(port, 'GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n')
    const running = exchangeRaw(port, 'GET / HTTP/1.1\r\nHost: x\r\n\r\n')
    await until(() => collector.counters().requestsInFlight === 1, 'the running request')
    await until(() => collector.counters().answers['404'] === 1, 'the idle connection')
    const closed = collector.close()
    await idle
    await expect(ask(port, '/')).rejects.toThrow(/ECONNREFUSED/)
    open()
    expect(await running).toMatch(/^HTTP\/1\.1 200 OK\r\n[^]*Connection: close/)
    await closed
    await collector.close()
    expect(log.records).toHaveLength(1)
    expect(collector.counters().connections).toBe(0)
  })

  test('does not wait longer than drainTimeoutMs', async () => {
    const log = new FakeLog()
    log.gate = new Promise(() => {})
    const { port, collector } = await start({ drainTimeoutMs: 100 }, { log })
    const lost = exchangeRaw(port, 'GET / HTTP/1.1\r\nHost: x\r\n\r\n')
    await until(() => collector.counters().requestsInFlight === 1, 'the running request')
    await collector.close()
    expect(await lost).toBe('')
  })

  test('works on a collector that never listened', async () => {
    await expect(make({}, { log: new FakeLog() }).close()).resolves.toBeUndefined()
  })
})

test('a port that is taken is said to be, and the collector can be closed', async () => {
  const { port } = await start()
  const second = make({}, { log: new FakeLog() })
  await expect(second.listen('127.0.0.1', port)).rejects.toMatchObject({ code: 'PORT_BUSY' })
  await second.close()
})
