import { connect, type Socket } from 'node:net'
import * as fc from 'fast-check'
import { afterAll, afterEach, expect, test, vi } from 'vitest'
import { realClock } from '../../src/core/clock.ts'
import { PlainReader } from '../../src/collect/plain-head.ts'
import { oddGets, someGets } from '../support/plain-requests.ts'
import type { Appended } from '../../src/log/record.ts'
import { FakeLog, start, stopAll, until, type Started } from './harness.ts'

/** More by QUESTLOG_FUZZ_RUNS. */
const runs = 10 * Number(process.env['QUESTLOG_FUZZ_RUNS'] ?? 6)

const reads = vi.spyOn(PlainReader.prototype, 'read')
afterEach(stopAll)
afterAll(() => reads.mockRestore())

/** All that came back on a connection so far. */
class Client {
  received = ''
  isOver = false
  readonly #socket: Socket
  readonly #over: Promise<void>

  constructor(port: number) {
    this.#socket = connect({ port, host: '127.0.0.1' })
    this.#socket.setEncoding('latin1').setNoDelay()
    this.#socket.on('data', (text: string) => (this.received += text))
    this.#socket.on('error', () => {})
    this.#socket.on('end', () => this.#socket.end())
    this.#over = new Promise((resolve) => {
      this.#socket.on('close', () => {
        this.isOver = true
        resolve()
      })
    })
  }

  send(bytes: string | Uint8Array): void {
    if (this.#socket.writable) this.#socket.write(bytes)
  }

  /** Resolves with everything when the server has closed the connection. */
  async all(): Promise<string> {
    await this.#over
    return this.received
  }
}

const health = 'GET /_questlog/health HTTP/1.1\r\nHost: x\r\n\r\n'
const last = 'GET /bare?last=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'

/** As a real one, it never acknowledges in the turn of the event loop that brings the request. */
class SlowLog extends FakeLog {
  override async append(...given: Parameters<FakeLog['append']>): Promise<Appended> {
    await new Promise((resolve) => setImmediate(resolve))
    return super.append(...given)
  }
}

/** A collector that is asked in one of the two ways. */
class Way {
  readonly #started: Started
  readonly #healthy: Client
  readonly #first: string
  #asked = 0

  constructor(started: Started, first: string) {
    this.#started = started
    this.#healthy = new Client(started.port)
    this.#first = first
  }

  /** Nothing that was sent to the server before is unread after this. */
  async turn(): Promise<void> {
    for (let time = 0; time < 2; time++) {
      this.#asked += 1
      this.#healthy.send(health)
      const isAnswered = () =>
        this.#healthy.received.split('{"status":"ok"}\n').length > this.#asked
      await until(isAnswered, 'health')
    }
  }

  /** Sends a GET, or what looks like one, and then one that ends the connection. */
  async run(requests: readonly Buffer[]) {
    const { port, log, lines, collector } = this.#started
    const client = new Client(port)
    client.send(this.#first)
    await until(
      () => this.#first === '' || client.received.endsWith('\r\n\r\n'),
      'the first answer',
    )
    client.received = ''
    const [before, events, logged] = [collector.counters(), log.records.length, lines.length]
    client.send(Buffer.concat(requests))
    await this.turn()
    if (!client.isOver) client.send(last)
    const received = (await client.all()).replaceAll(/^Date: .* GMT\r$/gm, 'Date: now\r')
    await until(() => collector.counters().connections <= 1, 'the end of the connection')
    const after = collector.counters()
    return {
      received,
      events: log.records.slice(events).map(({ record }) => ({
        value: String(Buffer.from(record.value ?? [])),
        headers: record.headers.map(({ key, value }) => `${key}: ${String(value)}`),
      })),
      lines: lines.slice(logged),
      kept: after.kept - before.kept,
      requests: after.requests - before.requests,
      inFlight: after.requestsInFlight,
      refused: Object.entries(after.refused).map(([code, n]) => [
        code,
        n - ((before.refused as Record<string, number>)[code] ?? 0),
      ]),
      unknown: after.unknownPathRequests - before.unknownPathRequests,
    }
  }
}

const nowMs = Date.UTC(2026, 10, 22, 3, 4, 5)
const settings = {
  requestTimeoutMs: 1_500,
  headerBytesMax: 600,
  urlBytesMax: 500,
  headerCountMax: 10,
  corsOrigins: ['https://game.example'],
}
const clock = { ...realClock, nowMs: () => nowMs }

const circumstances = [
  { given: settings, backlogBytes: 0 },
  { given: { ...settings, writeKeys: ['right'] }, backlogBytes: 0 },
  { given: { ...settings, backlogBytesMax: 100_000 }, backlogBytes: 200_000 },
] as const

/** The two ways, each with a collector of its own. */
async function startWays({ given, backlogBytes }: (typeof circumstances)[number]) {
  const make = () => start(given, { clock, backlogBytes: () => backlogBytes, log: new SlowLog() })
  // After a HEAD a connection is node:http's.
  const head = 'HEAD /bare HTTP/1.1\r\nHost: x\r\n\r\n'
  const ways = { plain: new Way(await make(), ''), http: new Way(await make(), head) }
  // A connection that has said nothing yet is told after requestTimeoutMs that it took too long.
  await Promise.all([ways.plain.turn(), ways.http.turn()])
  return ways
}

test(
  'a request is read, answered, kept, counted and logged the same by both ways',
  { timeout: 60_000 + 100 * runs },
  async () => {
    const ways = await Promise.all(circumstances.map(startWays))
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...ways), someGets, async ({ plain, http }, requests) => {
        const [one, other] = await Promise.all([plain.run(requests), http.run(requests)])
        expect(one).toEqual(other)
      }),
      { numRuns: runs },
    )
    // Of the requests that were tried, not few went each way.
    const arePlain = reads.mock.results.filter(({ value }) => value !== undefined).length
    expect(arePlain).toBeGreaterThan(runs / 4)
    expect(reads.mock.results.length - arePlain).toBeGreaterThan(runs / 4)
  },
)

test('so is each request that one reader may take for something else than another', async () => {
  const shares = 8 // some of the requests end with a timeout, which is long: a turn may take its time
  const compared = Array.from({ length: shares }, async (_, share) => {
    const { plain, http } = await startWays(circumstances[0])
    for (const request of oddGets.filter((_request, index) => index % shares === share)) {
      const [one, other] = await Promise.all([plain.run([request]), http.run([request])])
      expect(one, request.toString('latin1')).toEqual(other)
    }
  })
  await Promise.all(compared)
})
