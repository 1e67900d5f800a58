import * as fc from 'fast-check'
import { afterEach, expect, test } from 'vitest'
import { session } from '../support/fuzz-requests.ts'
import { exchangeRaw, start, stopAll, type Started } from './harness.ts'

/** More by QUESTLOG_FUZZ_RUNS; each is up to 40 connections of up to three requests. */
const runs = Number(process.env['QUESTLOG_FUZZ_RUNS'] ?? 6)

afterEach(stopAll)

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
    // Long enough for the sane one on a slow machine.
    requestTimeoutMs: 500,
    keepAliveTimeoutMs: 100,
    corsOrigins: ['*'],
  })
  const { port, collector } = started
  await fc.assert(
    fc.asyncProperty(fc.array(session, { minLength: 20, maxLength: 40 }), async (sessions) => {
      const received = await Promise.all(sessions.map((sent) => exchangeRaw(port, sent)))
      for (const text of received)
        for (const [, status] of text.matchAll(/HTTP\/1\.1 (5\d\d)/g)) expect(status).toBe('503')
      checkLog(started)
      const sane = await exchangeRaw(port, 'GET /bare HTTP/1.0\r\n\r\n')
      expect(sane).toMatch(/^HTTP\/1\.1 200 /)
      expect(started.log.values()).toEqual(['{"event_type":"bare"}'])
      started.log.records.length = 0
      expect(collector.counters().bodyBytesHeld).toBe(0)
    }),
    { numRuns: runs },
  )
  await collector.close()
  expect(collector.counters()).toMatchObject({ requestsInFlight: 0, connections: 0 })
})
