import { readFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { gzipSync } from 'node:zlib'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { exchangeRaw } from '../collect/harness.ts'
import { session } from '../support/fuzz-requests.ts'
import { Instance } from '../support/instance.ts'
import { Game } from './game.ts'
import { LoopPauses } from './loop-pauses.ts'

/** Rounds of a hundred connections; more by QUESTLOG_FUZZ_RUNS. */
const rounds = Number(process.env['QUESTLOG_FUZZ_RUNS'] ?? 10)
const seed = Number(process.env['QUESTLOG_SEED'] ?? 20180726)

const hit = (n: number, pad: string) => JSON.stringify({ event_type: 'hit', n: String(n), pad })
const hits = (count: number, padBytes: number) =>
  Array.from({ length: count }, (_, n) => hit(n, 'x'.repeat(padBytes)))
const million = 1_000_000
/** Bodies that are as large, or as hard to read, as the limits allow. */
const heavyBodies: Readonly<Record<string, string | Buffer>> = {
  '8 MB of events, one a line': hits(19_500, 360).join('\n'),
  '8 MB of events in an array': `[${hits(19_500, 360).join(',')}]`,
  '30 MB of events': hits(19_900, 1_500).join('\n'),
  'an event of 5 MB': hit(1, 'x'.repeat(5 * million)),
  '600,000 names': `{"event_type":"hit",${Array.from({ length: 600_000 }, (_, n) => `"k${n}":1`).join(',')}}`,
  'empty objects without end': '{},'.repeat(million),
  'a list of empty objects': `{"event_type":"hit","a":[${'{},'.repeat(1.5 * million)}{}]}`,
  'lines of {}': '{}\n'.repeat(10 * million),
  'a list of numbers': `[${'1,'.repeat(10 * million)}1]`,
  'brackets without end': '['.repeat(30 * million),
  'white space without end': ' '.repeat(30 * million),
  'empty lines without end': '\n'.repeat(30 * million),
  'one string without end': `{"event_type":"hit","a":"${'\\n'.repeat(10 * million)}`,
}

test(
  'whatever comes over HTTP: no 5xx but 503, no crash, no pause of the event loop over 50 ms, memory flat',
  { timeout: 1_200_000 + rounds * 10_000 },
  async () => {
    await using game = await Game.write(`hits: table({ from: 'hit' })`)
    const loop = new LoopPauses(game.folder)
    await using instance = await Instance.start(game.config, {
      environment: {
        ...loop.environment,
        QUESTLOG_REQUEST_TIMEOUT_MS: '1000',
        QUESTLOG_KEEP_ALIVE_TIMEOUT_MS: '500',
      },
    })
    const pid = await instance.pid('ingest')
    const port = Number(new URL(instance.endpoints.collector).port)
    const statuses = new Map<string, number>()
    const count = (received: string) => {
      for (const [, status = ''] of received.matchAll(/HTTP\/1\.1 (\d{3})/g))
        statuses.set(status, (statuses.get(status) ?? 0) + 1)
    }
    await loop.longest(() => instance.ps())
    const memory: number[] = []
    let requests = 0
    for (let round = 0; round < rounds; round++) {
      if (round % 4 === 0) loop.notePace()
      const sessions = fc.sample(session, { numRuns: 100, seed: seed + round })
      const pauseMs = await loop.shortest(async () => {
        const received = await Promise.all(sessions.map((sent) => exchangeRaw(port, sent)))
        for (const text of received) count(text)
      })
      requests = Math.max(requests, pauseMs)
      memory.push(await residentMiB(pid))
    }
    // The shortest of three pauses: what is no accident comes again.
    const pauses = new Map<string, number>()
    const atBodies: number[] = []
    for (let turn = 0; turn < 3; turn++) {
      loop.notePace()
      for (const [name, body] of Object.entries(heavyBodies)) {
        const zipped = gzipSync(body, { level: 1 })
        const pauseMs = await loop.longest(async () => count(await sendZipped(port, zipped)))
        pauses.set(name, Math.min(pauses.get(name) ?? Infinity, pauseMs))
      }
      atBodies.push(await residentMiB(pid))
    }
    const bodies = [...pauses].map(([name, pauseMs]) => `${name}: ${pauseMs.toFixed(0)} ms`)
    console.log(
      `fuzz: ${rounds * 100} connections, answers ${JSON.stringify(Object.fromEntries(statuses))}, longest pause ${requests.toFixed(0)} ms of ${loop.limitMs.toFixed(0)} allowed; ` +
        `memory ${memory[0]?.toFixed(0)} to ${memory.at(-1)?.toFixed(0)} MiB, after heavy bodies ${atBodies.map((size) => size.toFixed(0)).join(', ')} MiB\n  ${bodies.join('\n  ')}`,
    )
    expect([...statuses.keys()].filter((status) => status >= '500' && status !== '503')).toEqual([])
    expect(requests, `seed ${seed}`).toBeLessThan(loop.limitMs)
    for (const [name, pauseMs] of pauses) expect(pauseMs, name).toBeLessThan(loop.limitMs)
    expect(memory.at(-1)).toBeLessThan((memory[Math.floor(rounds / 2)] ?? 0) * 1.3 + 16)
    // A body or two may still wait for the garbage collector.
    expect(atBodies.at(-1)).toBeLessThan(Math.max(...atBodies.slice(0, -1)) * 1.2 + 64)
    expect(await instance.pid('ingest')).toBe(pid)
    expect((await instance.send('/hit')).status).toBe(200)
    expect((await instance.audit()).code).toBe(0)
  },
)

/** Sends a body to /events, and waits for the end of the answer. */
function sendZipped(port: number, body: Buffer): Promise<string> {
  const head = `POST /events HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Encoding: gzip\r\nContent-Length: ${body.length}\r\n\r\n`
  return new Promise((resolve) => {
    let received = ''
    const socket = connect(port, '127.0.0.1', () => {
      socket.write(head)
      socket.write(body)
    })
    socket.setEncoding('latin1').on('data', (text: string) => (received += text))
    socket.on('error', () => {}).on('close', () => resolve(received))
  })
}

async function residentMiB(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) / 1024
}
