import * as fc from 'fast-check'
import { afterEach, expect, test } from 'vitest'
import { exchangeRaw, start, stopAll, type Started } from './harness.ts'

afterEach(stopAll)

const bytes = (text: string) => Buffer.from(text, 'latin1')
const junk = fc.oneof(
  fc.uint8Array({ maxLength: 40 }).map((array) => Buffer.from(array)),
  fc.stringMatching(/^[{}[\]",:\\ a0-9.eE+-]{0,40}$/).map(bytes),
  fc
    .constantFrom(
      '',
      '{}',
      '[]',
      '{"event_type":"bare"}',
      '[{"event_type":"bare"}]',
      'a=b&%',
      '\ufeff{}',
    )
    .map((text) => Buffer.from(text)),
)
const method = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom('GET', 'POST') },
  fc.constantFrom(
    'HEAD',
    'OPTIONS',
    'PUT',
    'DELETE',
    'PATCH',
    'TRACE',
    'CONNECT',
    'get',
    'FOO',
    '',
  ),
)
const target = fc
  .tuple(
    fc.constantFrom(
      '/',
      '/bare',
      '/events',
      '/keyed',
      '/strict',
      '/purchase_a_knife',
      '/x',
      '*',
      '',
      '//',
      '/_questlog/metrics',
      '/_questlog/x',
      'http://a/bare',
      '/b%61re',
      '/%ff%00',
    ),
    fc.oneof(
      fc.constant(''),
      fc.stringMatching(/^\?[a-z=&%+#;0-9A-F]{0,20}$/),
      fc.string({ maxLength: 10 }).map((text) => `?${text}`),
    ),
  )
  .map(([path, query]) => path + query)
const header = fc.oneof(
  fc.constantFrom(
    'Host: x',
    'host: y',
    'Content-Type: application/json',
    'Content-Type: application/x-ndjson',
    'Content-Type: application/x-www-form-urlencoded',
    'Content-Type: text/plain',
    'Content-Type: \xff',
    'Content-Encoding: gzip',
    'Content-Encoding: br',
    'Content-Encoding: deflate',
    'Transfer-Encoding: chunked',
    'Transfer-Encoding: gzip, chunked',
    'Expect: 100-continue',
    'Expect: the unexpected',
    'Connection: close',
    'Connection: keep-alive',
    'Connection: upgrade',
    'Upgrade: websocket',
    'Origin: null',
    'event_type: forged',
    'Authorization: Bearer x',
  ),
  fc.nat({ max: 60 }).map((length) => `Content-Length: ${length}`),
  fc.stringMatching(/^X-[!-~]{0,5}: [ -~]{0,10}$/),
  fc.string({ maxLength: 12 }),
)
const request = fc
  .record({
    method,
    target,
    version: fc.oneof(
      { weight: 8, arbitrary: fc.constantFrom('HTTP/1.1', 'HTTP/1.0') },
      fc.constantFrom('HTTP/2.0', 'HTTP/0.9', ''),
    ),
    headers: fc.array(header, { maxLength: 6 }),
    announce: fc.boolean(),
    body: junk,
  })
  .map(({ method: verb, target: to, version, headers, announce, body }) => {
    const lines = announce ? ['Host: x', ...headers, `Content-Length: ${body.length}`] : headers
    const head = `${verb} ${to} ${version}\r\n${lines.map((line) => `${line}\r\n`).join('')}\r\n`
    return Buffer.concat([bytes(head), body])
  })

/** Nothing that came over the wire made a half-written or a malformed event. */
function checkLog({ log }: Started): void {
  for (const [index, event] of log.events().entries()) {
    expect(['default', 'bare', 'keyed', 'strict', 'purchase_knife']).toContain(event['event_type'])
    expect(JSON.stringify(event)).toHaveLength(log.values()[index]?.length ?? -1)
  }
  log.records.length = 0
}

test('whatever bytes arrive, no answer is a 5xx but 503, every kept event is whole, and the next client is served', async () => {
  const started = await start({
    requestTimeoutMs: 100,
    keepAliveTimeoutMs: 100,
    corsOrigins: ['*'],
  })
  const { port, collector } = started
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.array(request, { minLength: 1, maxLength: 3 }), { minLength: 20, maxLength: 40 }),
      async (sessions) => {
        const received = await Promise.all(
          sessions.map((requests) => exchangeRaw(port, Buffer.concat(requests))),
        )
        for (const text of received)
          for (const [, status] of text.matchAll(/HTTP\/1\.1 (5\d\d)/g)) expect(status).toBe('503')
        checkLog(started)
        const sane = await exchangeRaw(port, 'GET /bare HTTP/1.0\r\n\r\n')
        expect(sane).toMatch(/^HTTP\/1\.1 200 /)
        expect(started.log.values()).toEqual(['{"event_type":"bare"}'])
        started.log.records.length = 0
        expect(collector.counters().bodyBytesHeld).toBe(0)
      },
    ),
    { numRuns: 5 },
  )
  await collector.close()
  expect(collector.counters()).toMatchObject({ requestsInFlight: 0, connections: 0 })
})
