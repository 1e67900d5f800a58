import { connect, type Socket } from 'node:net'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { realClock, type Clock } from '../../src/core/clock.ts'
import { QuestlogError } from '../../src/core/errors.ts'
import { PlainReader, type PlainRequest } from '../../src/collect/plain-head.ts'
import { lingerMs } from '../../src/collect/http-exchange.ts'
import {
  definitionOf,
  eventDefinition,
  exchangeRaw,
  FakeLog,
  start,
  stopAll,
  until,
} from './harness.ts'

afterEach(stopAll)

/** A log whose appends wait until `open` is called. */
function gatedLog(): { log: FakeLog; open: () => void } {
  const log = new FakeLog()
  let open = () => {}
  log.gate = new Promise((resolve) => {
    open = resolve
  })
  return { log, open: () => open() }
}

/** A connection that sends what it is told. */
class Client {
  received = ''
  isOver = false
  readonly socket: Socket

  constructor(port: number) {
    this.socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
    this.socket.setEncoding('latin1')
    this.socket.on('data', (text: string) => (this.received += text))
    this.socket.on('error', () => {})
    this.socket.on('close', () => (this.isOver = true))
    this.socket.on('end', () => this.socket.end())
  }

  statuses(): string[] {
    return [...this.received.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status = '']) => status)
  }
}

const get = (target: string, ...lines: string[]) =>
  `GET ${target} HTTP/1.1\r\nHost: x\r\n${lines.map((line) => `${line}\r\n`).join('')}\r\n`

test('an empty line before or behind a request does not make its connection node:http’s', async () => {
  const gate = gatedLog()
  const reads = vi.spyOn(PlainReader.prototype, 'read')
  try {
    const { port, collector } = await start({}, { log: gate.log })
    const client = new Client(port)
    client.socket.write(`${get('/bare?n=1')}\r\n`)
    await until(() => collector.counters().requestsInFlight === 1, 'the first request')
    client.socket.write('\r\n') // while its answer is due
    gate.open()
    await until(() => client.statuses().length === 1, 'the first answer')
    client.socket.write('\r\n')
    await exchangeRaw(port, 'HEAD / HTTP/1.0\r\n\r\n')
    client.socket.write(`\r\n${get('/bare?n=2')}`)
    await until(() => client.statuses().length === 2, 'the second answer')
    client.socket.destroy()
    expect(client.statuses()).toEqual(['200', '200'])
    expect(gate.log.events().map(({ n }) => n)).toEqual(['1', '2'])
    const targets = reads.mock.results.map(
      ({ value }) => (value as PlainRequest | undefined)?.target,
    )
    expect(targets).toEqual(['/bare?n=1', undefined, '/bare?n=2']) // the one between is the HEAD's
  } finally {
    reads.mockRestore()
  }
})

describe('bytes that come while an answer is due', () => {
  test('are read after it: each request is answered in order and kept once', async () => {
    const { log, open } = gatedLog()
    const { port, collector } = await start({}, { log })
    const client = new Client(port)
    client.socket.write(get('/bare?n=1'))
    await until(() => collector.counters().requestsInFlight === 1, 'the first request')
    client.socket.write(get('/bare?n=2') + get('/nothing') + get('/bare?n=3'))
    client.socket.write('POST /bare HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{"n":"4"}')
    await until(() => client.socket.writableLength === 0, 'the rest')
    expect([client.received, log.records.length]).toEqual(['', 0])
    open()
    await until(() => client.statuses().length === 5, 'five answers')
    client.socket.destroy()
    expect(client.statuses()).toEqual(['200', '200', '404', '200', '200'])
    expect(log.events().map(({ n }) => n)).toEqual(['1', '2', '3', '4'])
  })

  test('hold up no more memory than a socket reads ahead', async () => {
    const { log } = gatedLog()
    const { port, collector } = await start({ drainTimeoutMs: 100 }, { log })
    const client = new Client(port)
    client.socket.write(get('/bare'))
    await until(() => collector.counters().requestsInFlight === 1, 'the request')
    // More than the buffers of the kernel take: what is left stays with the client.
    const sent = Buffer.alloc(32 * 1024 * 1024, get('/bare'))
    client.socket.write(sent)
    for (let length = -1; length !== client.socket.bytesWritten;) {
      length = client.socket.bytesWritten
      for (let turn = 0; turn < 50; turn++) await exchangeRaw(port, 'HEAD / HTTP/1.0\r\n\r\n')
    }
    expect(client.socket.writableLength).toBeGreaterThan(0)
    expect(log.records).toHaveLength(0)
    client.socket.destroy()
  })

  test('never stand in for its answer when they are no HTTP', async () => {
    const { log, open } = gatedLog()
    const { port, collector } = await start({}, { log })
    const client = new Client(port)
    client.socket.write(get('/bare'))
    await until(() => collector.counters().requestsInFlight === 1, 'the request')
    client.socket.write('GARBAGE\r\n\r\n')
    await until(() => client.socket.writableLength === 0, 'the garbage')
    open()
    await until(() => client.isOver, 'the end')
    expect(client.statuses()).toEqual(['200', '400'])
    expect(log.records).toHaveLength(1)
  })
})

describe('a client', () => {
  test('that ends its side after the request gets its answer, and then the end', async () => {
    const { log, open } = gatedLog()
    const { port, collector } = await start({}, { log })
    const client = new Client(port)
    client.socket.end(get('/bare'))
    await until(() => collector.counters().requestsInFlight === 1, 'the request')
    open()
    await until(() => client.isOver, 'the end')
    expect(client.received).toMatch(/^HTTP\/1\.1 200 [^]*\r\n\r\nok\n$/)
    await until(() => collector.counters().connections === 0, 'the end of the connection')
  })

  test('that says nothing and ends its side is let go', async () => {
    const { port, collector } = await start()
    const client = new Client(port)
    client.socket.end()
    await until(() => client.isOver, 'the end')
    expect([client.received, collector.counters().connections]).toEqual(['', 0])
  })

  test('that is gone before its answer leaves nothing behind, and its event is kept', async () => {
    const { log, open } = gatedLog()
    const { port, collector, lines } = await start({}, { log })
    const client = new Client(port)
    client.socket.write(get('/bare'))
    await until(() => collector.counters().requestsInFlight === 1, 'the request')
    client.socket.resetAndDestroy()
    await until(() => collector.counters().connections === 0, 'the end of the connection')
    open()
    await until(() => collector.counters().requestsInFlight === 0, 'the end of the request')
    expect(log.records).toHaveLength(1)
    expect(lines).toHaveLength(1)
  })

  test('that never reads its answers is asked no more, and let go after requestTimeoutMs', async () => {
    const reply = 'x'.repeat(1024 * 1024)
    const definition = definitionOf(
      eventDefinition({ type: 'large', routes: [{ method: 'GET', path: '/large', reply }] }),
    )
    const { port, log, collector } = await start({ requestTimeoutMs: 300 }, { definition })
    const client = new Client(port)
    client.socket.pause()
    let sent = 0
    const ask = () => {
      sent += 1
      if (!client.isOver) client.socket.write(get('/large'), () => setImmediate(ask))
    }
    ask()
    await until(() => client.isOver || collector.counters().connections === 0, 'the end')
    expect(log.records.length).toBeLessThan(sent)
    expect(log.records.length).toBeLessThan(64)
    client.socket.destroy()
  })

  test("that never reads its answers is let go likewise when its connection has become node:http's", async () => {
    const reply = 'x'.repeat(8 * 1024 * 1024)
    const definition = definitionOf(
      eventDefinition({ type: 'large', routes: [{ method: 'GET', path: '/large', reply }] }),
    )
    const { log, open } = gatedLog()
    const { port, collector } = await start({ requestTimeoutMs: 300 }, { definition, log })
    const client = new Client(port)
    client.socket.pause()
    client.socket.write(get('/large'))
    await until(() => collector.counters().requestsInFlight === 1, 'the request')
    client.socket.write(get('/nothing'))
    await until(() => client.socket.writableLength === 0, 'the second request')
    for (let turn = 0; turn < 2; turn++) await exchangeRaw(port, 'HEAD / HTTP/1.0\r\n\r\n')
    open()
    await until(() => collector.counters().connections === 0, 'the end of the connection')
    expect(collector.counters().answers).toEqual({ 200: 1, 404: 3 })
    client.socket.destroy()
  })

  test('that drips a plain request has requestTimeoutMs for it', async () => {
    const { port, log } = await start({ requestTimeoutMs: 150, keepAliveTimeoutMs: 600_000 })
    const client = new Client(port)
    client.socket.write(get('/bare'))
    await until(() => client.statuses().length === 1, 'the first answer')
    const bytes = get('/bare', 'X-A: b'.repeat(50)).split('')
    const drip = setInterval(() => client.socket.write(bytes.shift() ?? ''), 10)
    await until(() => client.isOver, 'the end')
    clearInterval(drip)
    expect(client.statuses()).toEqual(['200', '408'])
    expect(log.records).toHaveLength(1)
  })

  test('that goes on after it was told that it took too long is not heard', async () => {
    const { port, log } = await start({ requestTimeoutMs: 100 })
    const client = new Client(port)
    await until(() => client.statuses().length === 1, 'the answer')
    client.socket.on('end', () => client.socket.write(get('/bare')))
    await until(() => client.isOver, 'the end')
    expect(client.statuses()).toEqual(['408'])
    expect(log.records).toHaveLength(0)
  })
})

test('a client that was told that it took too long has lingerMs to see it', async () => {
  let watches = 0
  let isLingering = false
  const clock: Clock = {
    ...realClock,
    sleep(delayMs, signal) {
      if (delayMs === 25) watches += 1 // a quarter of requestTimeoutMs
      if (delayMs !== lingerMs) return realClock.sleep(delayMs, signal)
      isLingering = true
      return new Promise((resolve) => signal?.addEventListener('abort', () => resolve()))
    },
  }
  const { port, collector } = await start({ requestTimeoutMs: 100, drainTimeoutMs: 100 }, { clock })
  const client = new Client(port)
  client.socket.removeAllListeners('end')
  await until(() => isLingering, 'the answer')
  const before = watches
  const isGone = () => collector.counters().connections === 0
  await until(() => isGone() || watches > before + 2, 'some turns of the watch')
  expect([client.statuses(), isGone()]).toEqual([['408'], false])
  client.socket.destroy()
})

test('each request on a connection sees the definition of its moment', async () => {
  const route = (reply: string) =>
    definitionOf(eventDefinition({ type: reply, routes: [{ method: 'GET', path: '/a', reply }] }))
  const { port, collector } = await start({}, { definition: route('one') })
  const client = new Client(port)
  for (const reply of ['one', 'two']) {
    collector.replaceDefinition(route(reply))
    client.socket.write(get('/a'))
    await until(() => client.received.endsWith(reply), reply)
  }
  collector.replaceDefinition(definitionOf())
  client.socket.write(get('/a'))
  await until(() => client.statuses().length === 3, 'the third answer')
  expect(client.statuses()).toEqual(['200', '200', '404'])
  client.socket.destroy()
})

test.each([
  ['OVERLOADED', 503],
  ['PARTITION_OFFLINE', 503],
  ['OUTCOME_UNKNOWN', 503],
  ['EVENT_TOO_LARGE', 413],
] as const)(
  'an append that rejects with %s is answered %i, and the connection goes on',
  async (code, status) => {
    const log = new FakeLog()
    const { port } = await start({}, { log })
    const client = new Client(port)
    log.failure = new QuestlogError(code, 'the log says – so')
    client.socket.write(get('/bare'))
    await until(() => client.received.endsWith('}}\n'), 'the refusal')
    expect(client.statuses()).toEqual([String(status)])
    expect(client.received).toMatch(status === 503 ? /\r\nRetry-After: \d+\r\n/ : /^HTTP/)
    const [, body = ''] = client.received.split('\r\n\r\n')
    expect(client.received).toContain(`\r\nContent-Length: ${body.length}\r\n`)
    expect(Buffer.from(body, 'latin1').toString('utf8')).toContain('the log says – so')
    log.failure = undefined
    client.socket.write(get('/bare'))
    await until(() => client.received.endsWith('ok\n'), 'the answer')
    client.socket.destroy()
  },
)

test('closing gives the answers that are due with Connection: close, and ends idle connections', async () => {
  const { log, open } = gatedLog()
  const { port, collector } = await start({ keepAliveTimeoutMs: 600_000 }, { log })
  const [idle, due, held] = [new Client(port), new Client(port), new Client(port)]
  due.socket.write(get('/bare'))
  held.socket.write(get('/bare'))
  await until(() => collector.counters().requestsInFlight === 2, 'two requests')
  held.socket.write(get('/bare'))
  await until(() => collector.counters().connections === 3, 'three connections')
  const closed = collector.close()
  await until(() => idle.isOver, 'the end of the idle one')
  open()
  await closed
  await until(() => due.isOver && held.isOver, 'the end')
  for (const { received } of [due, held])
    expect(received).toMatch(/^HTTP\/1\.1 200 OK\r\n[^]*\r\nConnection: close\r\n[^]*\r\n\r\nok\n$/)
  expect(log.records).toHaveLength(2)
  expect(collector.counters()).toMatchObject({ connections: 0, requestsInFlight: 0 })
})
