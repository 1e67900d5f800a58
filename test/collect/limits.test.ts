import { connect } from 'node:net'
import { brotliCompressSync, constants, gzipSync } from 'node:zlib'
import { afterEach, describe, expect, test } from 'vitest'
import { realClock, type Clock } from '../../src/core/clock.ts'
import { QuestlogError } from '../../src/core/errors.ts'
import { ByteBudget } from '../../src/collect/byte-budget.ts'
import { soloBatchBytes } from '../../src/log/record-batch.ts'
import {
  ask,
  codeOf,
  definitionOf,
  eventDefinition,
  exchangeRaw,
  FakeLog,
  post,
  resultsOf,
  start,
  stopAll,
  until,
} from './harness.ts'

afterEach(stopAll)

const ndjson = 'application/x-ndjson'
const MiB = 1024 * 1024
const fastBrotli = (bytes: Buffer) =>
  brotliCompressSync(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: 1 } })

describe('bodies', () => {
  test('of an announced 50 MB are refused before they are read, and the client sees the answer', async () => {
    const { port, log, collector } = await start()
    const answer = await post(port, '/events', Buffer.alloc(50 * MiB, 0x20))
    expect([answer.status, codeOf(answer)]).toEqual([413, 'REQUEST_TOO_LARGE'])
    expect(answer.headers.connection).toBe('close')
    expect(log.records).toHaveLength(0)
    expect(collector.counters().bodyBytesHeld).toBe(0)
  })

  test('are refused from the head alone', async () => {
    const { port } = await start()
    const answer = await exchangeRaw(
      port,
      `POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: ${50 * MiB}\r\n\r\n`,
      (got) => got.endsWith('}}\n'),
    )
    expect(answer).toMatch(/^HTTP\/1\.1 413 /)
  })

  test('are not asked for when the client waits for 100 Continue', async () => {
    const { port } = await start()
    const answer = await exchangeRaw(
      port,
      `POST /events HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: ${50 * MiB}\r\n\r\n`,
      (got) => got.endsWith('}}\n'),
    )
    expect(answer).toMatch(/^HTTP\/1\.1 413 /)
    expect(answer).toMatch(/\r\nConnection: close\r\n/)
  })

  test('without an announced length are cut where they pass the limit', async () => {
    const { port, log, collector } = await start({ bodyBytesMax: 1000 })
    const chunk = `3e8\r\n${'x'.repeat(1000)}\r\n`
    const answer = await exchangeRaw(
      port,
      `POST /events HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n${chunk}${chunk}`,
      (got) => got.endsWith('}}\n'),
    )
    expect(answer).toMatch(/^HTTP\/1\.1 413 /)
    expect(log.records).toHaveLength(0)
    expect(collector.counters().bodyBytesHeld).toBe(0)
  })

  test.each([
    ['gzip', gzipSync],
    ['br', fastBrotli],
  ] as const)('that %s blows up are cut early', async (name, compress) => {
    const bomb = compress(Buffer.alloc(128 * MiB, 0x20))
    const { port, log, collector } = await start({ decompressedBytesMax: MiB })
    const before = process.memoryUsage().arrayBuffers
    const answer = await post(port, '/events', bomb, ndjson, { 'Content-Encoding': name })
    expect([answer.status, codeOf(answer)]).toEqual([413, 'REQUEST_TOO_LARGE'])
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(32 * MiB)
    expect(log.records).toHaveLength(0)
    expect(collector.counters().bodyBytesHeld).toBe(0)
  })

  test('hold no more than bodiesBytesMax together', async () => {
    const log = new FakeLog()
    let open = () => {}
    log.gate = new Promise((resolve) => {
      open = resolve
    })
    const { port, collector } = await start({ bodiesBytesMax: MiB }, { log })
    const body = `{"event_type":"bare","a":"${'x'.repeat(0.6 * MiB)}"}`
    const first = post(port, '/events', body)
    await until(() => collector.counters().bodyBytesHeld > 0.5 * MiB, 'the first body')
    const second = await post(port, '/events', body)
    expect([second.status, codeOf(second)]).toEqual([503, 'OVERLOADED'])
    open()
    expect((await first).status).toBe(200)
    expect(collector.counters().bodyBytesHeld).toBe(0)
    expect((await post(port, '/events', body)).status).toBe(200)
  })

  test('that break off leave nothing behind', async () => {
    const { port, log, collector } = await start()
    const socket = connect(port, '127.0.0.1')
    socket.write(
      'POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"event_type":"bare"}',
    )
    await until(() => collector.counters().requestsInFlight === 1, 'the request')
    socket.destroy()
    await until(() => collector.counters().requestsInFlight === 0, 'its end')
    await until(() => collector.counters().connections === 0, 'the end of the connection')
    expect(log.records).toHaveLength(0)
    expect(collector.counters().bodyBytesHeld).toBe(0)
  })

  test('a compressed body whose client is gone ends as well', async () => {
    const { port, collector } = await start()
    const half = gzipSync(Buffer.alloc(100_000, 'x')).subarray(0, 50)
    const socket = connect(port, '127.0.0.1')
    socket.write(
      'POST /events HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 100\r\n\r\n',
    )
    socket.write(half)
    await until(() => collector.counters().requestsInFlight === 1, 'the request')
    socket.destroy()
    await until(() => collector.counters().requestsInFlight === 0, 'its end')
  })
})

describe('events', () => {
  test('beyond eventsPerRequestMax refuse the request as a whole', async () => {
    const { port, log } = await start({ eventsPerRequestMax: 2 })
    const line = '{"event_type":"bare"}'
    expect((await post(port, '/events', [line, line].join('\n'), ndjson)).status).toBe(200)
    for (const [body, type] of [
      [[line, line, line].join('\n'), ndjson],
      [`[${line},${line},${line}]`, 'application/json'],
    ] as const) {
      const answer = await post(port, '/events', body, type)
      expect([answer.status, codeOf(answer)]).toEqual([413, 'REQUEST_TOO_LARGE'])
    }
    expect(log.records).toHaveLength(2)
  })

  test("larger than the topic's max.message.bytes are refused, their neighbours are not", async () => {
    const log = new FakeLog({ 'max.message.bytes': '2000' })
    const { port } = await start({}, { log })
    const large = `{"event_type":"bare","a":"${'x'.repeat(2000)}"}`
    const answer = await post(port, '/events', `{"event_type":"bare"}\n${large}`, ndjson)
    expect(resultsOf(answer).results.map(({ error }) => error?.code)).toEqual([
      undefined,
      'EVENT_TOO_LARGE',
    ])
    const get = await ask(port, `/bare?a=${'x'.repeat(2000)}`)
    expect([get.status, codeOf(get)]).toEqual([413, 'EVENT_TOO_LARGE'])
    expect(log.records).toHaveLength(1)
  })

  test('of exactly the size that fits are kept, one byte more is not', async () => {
    const log = new FakeLog({ 'max.message.bytes': '2000' })
    const { port } = await start({}, { log })
    const body = (bytes: number) => `{"event_type":"bare","a":"${'x'.repeat(bytes - 28)}"}`
    const overhead = soloBatchBytes({ key: null, value: Buffer.alloc(1900), headers: [] }) - 1900
    expect((await post(port, '/events', body(2000 - overhead))).status).toBe(200)
    expect((await post(port, '/events', body(2001 - overhead))).status).toBe(413)
    expect(log.values()[0]).toHaveLength(2000 - overhead)
  })

  test('with more values than jsonValuesMax are refused before they are parsed, their neighbours are not', async () => {
    const { port, log } = await start({ jsonValuesMax: 100 })
    const wide = `{"event_type":"bare","a":[${'{},'.repeat(100)}{}]}`
    const lines = await post(port, '/events', `{"event_type":"bare"}\n${wide}`, ndjson)
    const array = await post(port, '/events', `[{"event_type":"bare"},${wide}]`)
    for (const answer of [lines, array])
      expect(resultsOf(answer).results.map(({ error }) => error?.code)).toEqual([
        undefined,
        'EVENT_INVALID',
      ])
    const form = await post(port, '/keyed', 'a=b&'.repeat(101), 'application/x-www-form-urlencoded')
    expect([form.status, codeOf(form)]).toEqual([400, 'EVENT_INVALID'])
    expect(log.records).toHaveLength(2)
  })

  test('of more bytes as sent than any topic takes are not looked at, their neighbours are', async () => {
    const { port, log } = await start({ messageBytesMax: 2000 })
    const line = '{"event_type":"bare"}'
    const large = `{"event_type":"bare",${' '.repeat(3000)}"a":1}`
    const lines = await post(port, '/events', [line, large, line].join('\n'), ndjson)
    expect(resultsOf(lines)).toMatchObject({ kept: 2, refused: 1 })
    for (const body of [large, `[${line},${large}]`, ' '.repeat(3000) + '['.repeat(3000)]) {
      const answer = await post(port, '/events', body)
      expect(answer.status).toBeGreaterThanOrEqual(400)
      expect(answer.status).toBeLessThan(500)
    }
    const form = `a=${'x'.repeat(3000)}`
    expect((await post(port, '/keyed', form, 'application/x-www-form-urlencoded')).status).toBe(413)
    expect(log.records).toHaveLength(2)
  })

  test('of a large body leave others their turn', async () => {
    const { port } = await start()
    const line = `{"event_type":"bare","a":"${'x'.repeat(350)}"}`
    const large = post(
      port,
      '/events',
      Array.from({ length: 19_000 }, () => line).join('\n'),
      ndjson,
    )
    let between = 0
    let over = false
    void large.then(() => (over = true))
    while (!over && (await ask(port, '/bare')).status === 200) between += 1
    expect(resultsOf(await large).kept).toBe(19_000)
    expect(between).toBeGreaterThan(2)
  })

  test('larger than messageBytesMax where the topic says nothing', async () => {
    const { port } = await start({ messageBytesMax: 1024 })
    expect((await ask(port, `/bare?a=${'x'.repeat(2000)}`)).status).toBe(413)
  })
})

describe('the head of a request', () => {
  test('has at most headerCountMax headers, and none is cut off in silence', async () => {
    const { port, log } = await start({ headerCountMax: 10 })
    const head = (count: number) =>
      `GET / HTTP/1.0\r\n${Array.from({ length: count }, (_, n) => `X-${n}: ${n}\r\n`).join('')}\r\n`
    expect(await exchangeRaw(port, head(10))).toMatch(/^HTTP\/1\.1 200 /)
    expect(await exchangeRaw(port, head(11))).toMatch(/^HTTP\/1\.1 413 [^]*headerCountMax/)
    expect(Object.keys(log.events()[0] ?? {})).toHaveLength(11)
    expect(log.records).toHaveLength(1)
  })

  test('with 10,000 headers is refused', async () => {
    const { port, log, collector } = await start()
    const lines = Array.from({ length: 10_000 }, (_, n) => `X-Header-${n}: ${n}\r\n`).join('')
    expect(await exchangeRaw(port, `GET / HTTP/1.1\r\nHost: x\r\n${lines}\r\n`)).toMatch(
      /^HTTP\/1\.1 413 /,
    )
    expect((await ask(port, '/')).status).toBe(200)
    expect(log.records).toHaveLength(1)
    expect(collector.counters().answers['413']).toBe(1)
  })

  test('has at most headerBytesMax bytes of headers and urlBytesMax bytes of target, each by itself', async () => {
    const { port } = await start({ headerBytesMax: 1000, urlBytesMax: 500 })
    const request = (url: number, header: number) =>
      exchangeRaw(
        port,
        `GET /bare?${'u'.repeat(url)} HTTP/1.0\r\nX-A: ${'h'.repeat(header)}\r\n\r\n`,
      )
    expect(await request(480, 980)).toMatch(/^HTTP\/1\.1 200 /)
    expect(await request(10, 1100)).toMatch(/^HTTP\/1\.1 413 [^]*headerBytesMax/)
    expect(await request(600, 10)).toMatch(/^HTTP\/1\.1 413 [^]*urlBytesMax/)
    expect(await request(100_000, 10)).toMatch(/^HTTP\/1\.1 413 /)
    expect(await request(10, 100_000)).toMatch(/^HTTP\/1\.1 413 /)
  })
})

describe('back-pressure', () => {
  test('more backlog than allowed is 429 with Retry-After, before the body is read', async () => {
    const { port, log, backlog } = await start({ backlogBytesMax: 100_000 })
    backlog.bytes = 100_001
    const pending = exchangeRaw(
      port,
      'POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n',
      (got) => got.endsWith('}}\n'),
    )
    expect(await pending).toMatch(/^HTTP\/1\.1 429 [^]*Retry-After: \d+[^]*BEHIND/)
    for (const answer of [await ask(port, '/'), await post(port, '/events', '[]')]) {
      expect([answer.status, codeOf(answer)]).toEqual([429, 'BEHIND'])
      expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0)
    }
    expect((await ask(port, '/', { method: 'HEAD' })).status).toBe(200)
    backlog.bytes = 100_000
    expect((await ask(port, '/')).status).toBe(200)
    expect(log.records).toHaveLength(1)
  })

  test('a topic that is too far behind refuses its own events, and those of others are kept', async () => {
    const routes = (path: string) => [{ method: 'GET' as const, path, reply: 'ok\n' }]
    const { port, log } = await start(
      { backlogBytesMax: 100_000 },
      {
        definition: definitionOf(
          eventDefinition({ type: 'a', topic: 'behind', routes: routes('/a') }),
          eventDefinition({ type: 'b', routes: routes('/b') }),
        ),
        backlogBytes: (topic) => (topic === 'behind' ? 100_001 : 0),
      },
    )
    for (const answer of [await ask(port, '/a'), await post(port, '/a', '{}')])
      expect([answer.status, codeOf(answer)]).toEqual([429, 'BEHIND'])
    for (const answer of [await ask(port, '/b'), await post(port, '/b', '{}')])
      expect(answer.status).toBe(200)
    const mixed = await post(port, '/events', '[{"event_type":"a"},{"event_type":"b"}]')
    const results = [{ status: 429, error: { code: 'BEHIND' } }, { status: 200 }]
    expect(resultsOf(mixed)).toMatchObject({ kept: 1, refused: 1, results })
    expect(log.records.map(({ topic }) => topic)).toEqual(['events', 'events', 'events'])
  })

  test('while the tables are behind a body waits before it is read; single events do not', async () => {
    const held = new Hold()
    const { port, log, collector } = await start({}, { bodyDelayMs: () => held.ms, clock: held })
    const pending = post(port, '/events', '{"event_type":"bare"}')
    await until(() => held.waiting === 1, 'a body that waits')
    expect((await ask(port, '/bare')).status).toBe(200)
    expect(log.records).toHaveLength(1)
    expect(collector.counters().bodyBytesHeld).toBe(0)
    held.release()
    expect((await pending).status).toBe(200)
    expect(log.records).toHaveLength(2)
  })

  test('a client that goes while its body waits leaves nothing behind, and one that is too slow is told', async () => {
    const held = new Hold()
    const { port, log, collector } = await start(
      { requestTimeoutMs: 1_000 },
      { bodyDelayMs: () => held.ms, clock: held },
    )
    const head = 'POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n'
    const socket = connect(port, '127.0.0.1', () => socket.write(head))
    await until(() => held.waiting === 1, 'a body that waits')
    socket.destroy()
    await until(() => collector.counters().requestsInFlight === 0, 'the end of the request')
    expect(await exchangeRaw(port, head)).toMatch(/^HTTP\/1\.1 408 [^]*REQUEST_TIMEOUT/)
    await until(() => collector.counters().requestsInFlight === 0, 'the end of the request')
    expect(held.waiting).toBe(0)
    expect(log.records).toHaveLength(0)
  })

  test('more requests at once than requestsMax are 503', async () => {
    const log = new FakeLog()
    let open = () => {}
    log.gate = new Promise((resolve) => {
      open = resolve
    })
    const { port, collector } = await start({ requestsMax: 2 }, { log })
    const running = [ask(port, '/'), ask(port, '/')]
    await until(() => collector.counters().requestsInFlight === 2, 'two requests')
    const third = await ask(port, '/')
    expect([third.status, codeOf(third)]).toEqual([503, 'OVERLOADED'])
    open()
    for (const answer of await Promise.all(running)) expect(answer.status).toBe(200)
  })

  test('connections beyond connectionsMax are closed and counted', async () => {
    const { port, collector } = await start({ connectionsMax: 2 })
    const sockets = [connect(port, '127.0.0.1'), connect(port, '127.0.0.1')]
    await until(() => collector.counters().connections === 2, 'two connections')
    expect(await exchangeRaw(port, 'GET / HTTP/1.0\r\n\r\n')).toBe('')
    expect(collector.counters().connectionsDropped).toBe(1)
    for (const socket of sockets) socket.destroy()
    await until(() => collector.counters().connections === 0, 'their end')
    expect((await ask(port, '/')).status).toBe(200)
  })
})

describe('slow clients', () => {
  test.each([
    ['sends nothing', ''],
    ['stops in its headers', 'GET / HTTP/1.1\r\nHost: x\r\nX-'],
    [
      'stops in its body',
      'POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{"event_type":"bare"}',
    ],
  ])('one that %s is answered 408 and closed', async (_, bytes) => {
    const { port, log, collector } = await start({ requestTimeoutMs: 150 })
    expect(await exchangeRaw(port, bytes)).toMatch(/^HTTP\/1\.1 408 [^]*REQUEST_TIMEOUT/)
    await until(() => collector.counters().connections === 0, 'the end of the connection')
    expect(log.records).toHaveLength(0)
  })

  test('one that drips its headers is cut off all the same', async () => {
    const { port, collector } = await start({ requestTimeoutMs: 150 })
    const socket = connect(port, '127.0.0.1', () => socket.write('GET / HTTP/1.1\r\n'))
    const drip = setInterval(() => socket.write('X-A: b\r\n'), 20)
    socket.on('error', () => {})
    let received = ''
    socket.on('data', (chunk) => {
      received += chunk.toString('latin1')
    })
    await until(() => received.endsWith('}}\n'), 'the answer')
    clearInterval(drip)
    socket.destroy()
    expect(received).toMatch(/^HTTP\/1\.1 408 /)
    await until(() => collector.counters().connections === 0, 'the end of the connection')
  })

  test('an idle connection is closed after keepAliveTimeoutMs', async () => {
    const { port } = await start({ keepAliveTimeoutMs: 100 })
    const received = await exchangeRaw(port, 'GET / HTTP/1.1\r\nHost: x\r\n\r\n')
    expect(received).toMatch(/^HTTP\/1\.1 200 /)
  })

  test('do not hold up the others', async () => {
    const { port, log } = await start()
    const slow = Array.from({ length: 50 }, () => {
      const socket = connect(port, '127.0.0.1')
      socket.write('POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{')
      return socket
    })
    expect((await ask(port, '/')).status).toBe(200)
    expect(log.records).toHaveLength(1)
    for (const socket of slow) socket.destroy()
  })
})

test('the budget gives back exactly what was taken', () => {
  const budget = new ByteBudget(100)
  const [one, two] = [budget.lease(), budget.lease()]
  one.take(60)
  expect(() => two.take(41)).toThrow(QuestlogError)
  two.take(40)
  one.release()
  one.release()
  expect(budget.held).toBe(40)
  two.release()
  expect(budget.held).toBe(0)
})

/** A clock on which bodies wait until they are released. */
class Hold implements Clock {
  readonly ms = 77
  readonly nowMs = () => realClock.nowMs()
  readonly monotonicMs = () => realClock.monotonicMs()
  readonly #ends = new Set<() => void>()

  get waiting(): number {
    return this.#ends.size
  }

  sleep(delayMs: number, signal?: AbortSignal): Promise<void> {
    if (delayMs !== this.ms) return realClock.sleep(delayMs, signal)
    return new Promise((resolve) => {
      const end = () => {
        this.#ends.delete(end)
        resolve()
      }
      this.#ends.add(end)
      signal?.addEventListener('abort', end)
    })
  }

  after(delayMs: number, work: () => void): () => void {
    return realClock.after(delayMs, work)
  }

  release(): void {
    for (const end of this.#ends) end()
  }
}
