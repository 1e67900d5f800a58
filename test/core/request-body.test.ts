import { createServer, request, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { QuestlogError } from '../../src/core/errors.ts'
import { wholeBody } from '../../src/core/request-body.ts'

let cutOff: unknown

const server = createServer((asked, response) => {
  wholeBody(asked, 1_000, 'the limit').then(
    (body) => response.end(`${body.length} bytes`),
    (error: unknown) => {
      cutOff = error
      response.statusCode = error instanceof QuestlogError ? error.row.http : 500
      response.end(error instanceof Error ? error.message : '')
    },
  )
})
beforeAll(() => new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve)))
afterAll(() => new Promise((resolve) => server.close(resolve)))

/** Sends a body in pieces, without saying its length before; resolves to the answer, undefined when the connection ended without one. */
function send(bytes: number): Promise<string | undefined> {
  const { port } = server.address() as AddressInfo // it listens
  return new Promise((resolve) => {
    const asking = request({ port, host: '127.0.0.1', method: 'POST', agent: false })
    asking.on('error', () => resolve(undefined))
    asking.on('response', (response: IncomingMessage) => {
      let text = ''
      response.on('data', (chunk) => (text += String(chunk)))
      response.on('end', () => resolve(`${response.statusCode} ${text}`))
    })
    for (let sent = 0; sent < bytes; sent += 500)
      asking.write(Buffer.alloc(Math.min(500, bytes - sent)))
    asking.end()
  })
}

test('a body up to the limit is read, of any number of pieces', async () => {
  expect(await Promise.all([0, 1, 999, 1_000].map(send))).toEqual([
    '200 0 bytes',
    '200 1 bytes',
    '200 999 bytes',
    '200 1000 bytes',
  ])
})

test('who sends somewhat more is told so, and not cut off', async () => {
  for (const bytes of [1_001, 3_000, 4_000])
    expect(await send(bytes)).toBe('413 the body is larger than the limit, 1000 bytes')
})

test('who goes before the end of the body leaves no reader waiting', async () => {
  const { port } = server.address() as AddressInfo // it listens
  const asking = request({ port, host: '127.0.0.1', method: 'POST', agent: false })
  asking.on('error', () => {})
  const asked = new Promise((resolve) => server.once('request', resolve))
  asking.write('half')
  await asked
  cutOff = undefined
  asking.destroy()
  await vi.waitUntil(() => cutOff !== undefined)
  expect(cutOff).toBeInstanceOf(Error)
})
