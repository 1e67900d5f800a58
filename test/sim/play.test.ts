import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { realClock } from '../../src/core/clock.ts'
import { play, type Played } from '../../src/sim/play.ts'
import { composeRounds } from '../../src/sim/rounds.ts'

const closers: (() => void)[] = []
afterEach(() => {
  for (const close of closers.splice(0)) close()
})

async function serve(listener: RequestListener) {
  const server = createServer(listener)
  let connections = 0
  server.on('connection', () => connections++)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  closers.push(() => {
    server.close()
    server.closeAllConnections()
  })
  const { port } = server.address() as AddressInfo
  return { collector: `http://127.0.0.1:${port}`, connections: () => connections }
}

const options = (collector: string, signal = new AbortController().signal) => ({
  collector,
  requestsPerSecond: 2_000,
  clock: realClock,
  signal,
  connectionsMax: 4,
  underWayMax: 1_000,
  answerTimeoutMs: 60_000,
})

async function collect(source: AsyncIterable<Played>): Promise<Played[]> {
  const played: Played[] = []
  for await (const one of source) played.push(one)
  return played
}

const kinds = (played: readonly Played[]) => new Set(played.map(({ outcome }) => outcome.kind))

test('every request is sent once, with its host and its number, over a few kept connections', async () => {
  const seen: string[] = []
  const { collector, connections } = await serve((request, response) => {
    seen.push(`${request.headers.host} ${request.url}`)
    response.setHeader('Questlog-Receipt', `events/0/${seen.length - 1}`).end('ok')
  })
  const requests = composeRounds(1, 3)
  const played = await collect(play(requests, options(collector)))
  expect(seen.toSorted()).toEqual(
    requests.map(({ host, path, number }) => `${host} ${path}?request=${number}`).toSorted(),
  )
  expect(connections()).toBeLessThanOrEqual(4)
  expect(kinds(played)).toEqual(new Set(['answered']))
  const offsets = played.map(({ outcome }) =>
    outcome.kind === 'answered' ? outcome.receipt.offset : -1,
  )
  expect(offsets.toSorted((a, b) => a - b)).toEqual(requests.map((_, index) => index))
  expect(played.every(({ latencyMs }) => latencyMs >= 0)).toBe(true)
})

test('the load is open: it goes on at its rate while nothing is answered', async () => {
  const waiting: (() => void)[] = []
  const { collector } = await serve((_, response) => {
    waiting.push(() => response.setHeader('Questlog-Receipt', 'events/0/0').end())
    if (waiting.length === 8) for (const answer of waiting) answer()
  })
  const requests = composeRounds(1, 3).slice(0, 8)
  const played = await collect(play(requests, { ...options(collector), connectionsMax: 8 }))
  expect(kinds(played)).toEqual(new Set(['answered']))
})

test('a load that is too much for the server is bounded, and still sent whole', async () => {
  let open = 0
  let most = 0
  const { collector } = await serve((_, response) => {
    most = Math.max(most, ++open)
    setImmediate(() => {
      open--
      response.setHeader('Questlog-Receipt', 'events/0/0').end()
    })
  })
  const requests = composeRounds(10, 3)
  const bounds = { requestsPerSecond: 1_000_000, connectionsMax: 8, underWayMax: 20 }
  const played = await collect(play(requests, { ...options(collector), ...bounds }))
  expect(played).toHaveLength(2_250)
  expect(kinds(played)).toEqual(new Set(['answered']))
  expect(most).toBeLessThanOrEqual(8)
})

test('a request is not sent before its time', async () => {
  const { collector } = await serve((_, response) => {
    response.setHeader('Questlog-Receipt', 'events/0/0').end()
  })
  const startMs = realClock.monotonicMs()
  const requests = composeRounds(1, 3).slice(0, 11)
  await collect(play(requests, { ...options(collector), requestsPerSecond: 100 }))
  expect(realClock.monotonicMs() - startMs).toBeGreaterThanOrEqual(99)
})

test('another status, and a 200 without a receipt, are no answers', async () => {
  const { collector } = await serve((request, response) => {
    if (request.url?.startsWith('/join') === true) response.statusCode = 503
    response.end()
  })
  const played = await collect(play(composeRounds(1, 3), options(collector)))
  for (const { request, outcome } of played)
    expect(outcome).toEqual({ kind: 'refused', status: request.type === 'join_guild' ? 503 : 200 })
})

test('a request whose connection breaks has no answer and is not sent again', async () => {
  let seen = 0
  const { collector } = await serve((request, response) => {
    seen++
    if (request.url?.startsWith('/join') === true) request.socket.destroy()
    else response.setHeader('Questlog-Receipt', 'events/0/0').end()
  })
  const requests = composeRounds(1, 3)
  const played = await collect(play(requests, options(collector)))
  expect(played).toHaveLength(requests.length)
  const lost = played.filter(({ outcome }) => outcome.kind === 'no answer')
  expect(lost.every(({ request }) => request.type === 'join_guild')).toBe(true)
  expect(lost).toHaveLength(105)
  expect(seen).toBe(requests.length)
})

test('with nobody there, every request ends without an answer', async () => {
  const { collector } = await serve(() => {})
  for (const close of closers.splice(0)) close()
  const played = await collect(play(composeRounds(1, 3), options(collector)))
  expect(played).toHaveLength(225)
  expect(kinds(played)).toEqual(new Set(['no answer']))
})

test('a silent server is given up after the time allowed', async () => {
  const { collector } = await serve(() => {})
  const requests = composeRounds(1, 3).slice(0, 3)
  const played = await collect(play(requests, { ...options(collector), answerTimeoutMs: 50 }))
  expect(played.map(({ outcome }) => outcome.kind)).toEqual(['no answer', 'no answer', 'no answer'])
})

test('an abort ends the play at once: what waits is given up, nothing new is sent', async () => {
  let seen = 0
  const stop = new AbortController()
  const { collector } = await serve(() => {
    seen++
    if (seen === 4) stop.abort()
  })
  const played = await collect(play(composeRounds(1, 3), options(collector, stop.signal)))
  expect(seen).toBe(4)
  expect(played.length).toBeLessThan(225)
  expect(kinds(played)).toEqual(new Set(['no answer']))
})

test('a reader that stops reading ends the play', async () => {
  const { collector } = await serve((_, response) => {
    response.setHeader('Questlog-Receipt', 'events/0/0').end()
  })
  let read = 0
  for await (const one of play(composeRounds(1, 3), options(collector))) {
    read += Number(one.request.number > 0)
    if (read === 5) break
  }
  expect(read).toBe(5)
})
