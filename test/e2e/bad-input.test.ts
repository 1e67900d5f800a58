import { spawnSync } from 'node:child_process'
import { chmod, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { realClock } from '../../src/core/clock.ts'
import { realFiles } from '../../src/core/files.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { resolveSettings } from '../../src/core/settings.ts'
import { openEventLog } from '../../src/log/event-log.ts'
import { exchangeRaw } from '../collect/harness.ts'
import { waitFor } from '../support/commands.ts'
import { Instance, questlog } from '../support/instance.ts'

// Bad input of every kind, at HTTP and straight on the log, to one real instance: each event ends where the design says, with good events as its neighbours.
const definition = `import { defineConfig, event, table } from 'questlog'
import { z } from 'zod'
export default defineConfig({
  events: {
    good: event({ route: 'GET /good' }),
    sword: event({
      route: 'GET /sword',
      params: z.object({ damage: z.number().int().optional(), color: z.string().optional() }),
    }),
  },
  tables: { goods: table({ from: 'good' }), swords: table({ from: 'sword' }) },
})
`
const deep = `${'['.repeat(10_000)}${']'.repeat(10_000)}`
const sword = (rest: string) => `{"event_type":"sword",${rest}}`

/** What becomes of an event: in its table with these columns; set aside for this reason; refused with this code (at HTTP only). */
type Outcome =
  | { readonly row: Readonly<Record<string, unknown>> }
  | { readonly aside: string }
  | { readonly refused: number; readonly code: string }

interface Case {
  readonly name: string
  readonly value: string | Buffer
  readonly http: Outcome
  readonly log: Outcome
}

const both = (outcome: Outcome) => ({ http: outcome, log: outcome })
const refusedOrAside = (refused: number, code: string, aside: string) => ({
  http: { refused, code },
  log: { aside },
})

const cases: readonly Case[] = [
  {
    name: 'malformed JSON',
    value: '{"event_type":"sword"',
    ...refusedOrAside(400, 'EVENT_MALFORMED', 'malformed JSON'),
  },
  {
    name: 'no object',
    value: '"text"',
    ...refusedOrAside(400, 'EVENT_MALFORMED', 'not a JSON object'),
  },
  {
    name: 'no event_type',
    value: '{"Host":"x"}',
    ...refusedOrAside(422, 'EVENT_TYPE_UNKNOWN', 'event_type is missing'),
  },
  {
    name: 'an unknown event_type',
    value: '{"event_type":"nobody"}',
    ...refusedOrAside(422, 'EVENT_TYPE_UNKNOWN', 'event_type is not declared: nobody'),
  },
  {
    name: 'an event_type that is a number',
    value: '{"event_type":5}',
    ...refusedOrAside(422, 'EVENT_TYPE_UNKNOWN', 'event_type is not declared: 5'),
  },
  {
    name: 'invalid UTF-8',
    value: Buffer.from([...Buffer.from('{"event_type":"sword","color":"'), 0xff, 0x22, 0x7d]),
    ...refusedOrAside(400, 'EVENT_MALFORMED', 'not valid UTF-8'),
  },
  {
    name: 'depth 10,000',
    value: sword(`"a":${deep}`),
    ...refusedOrAside(400, 'EVENT_INVALID', 'nested deeper than 64 levels'),
  },
  {
    name: 'a wrong type',
    value: sword('"damage":"much"'),
    ...both({ aside: 'damage does not fit' }),
  },
  {
    name: '5.7 into an integer',
    value: sword('"damage":5.7'),
    ...both({ aside: 'damage does not fit' }),
  },
  {
    name: 'true into an integer',
    value: sword('"damage":true'),
    ...both({ aside: 'damage does not fit' }),
  },
  {
    name: 'a number beyond 2^53',
    value: sword('"damage":9007199254740993'),
    ...both({ row: { damage: '9007199254740993' } }),
  },
  {
    name: 'an undeclared number beyond 2^53',
    value: sword('"n":123456789012345678901234567890'),
    ...both({ row: { raw_event: sword('"n":123456789012345678901234567890') } }),
  },
  {
    name: 'a lone surrogate',
    value: sword('"color":"\\ud800x"'),
    ...both({ row: { color: '\ufffdx' } }),
  },
  {
    name: 'duplicate keys: the first counts',
    value: sword('"color":"a","color":"b"'),
    ...both({ row: { color: 'a' } }),
  },
  {
    name: 'NUL and quotes',
    value: sword('"color":"a\\u0000\\"b\'"'),
    ...both({ row: { color: 'a\u0000"b\'' } }),
  },
  {
    name: 'a timestamp of its own stays in raw_event',
    value: sword('"timestamp":"1"'),
    ...both({ row: { raw_event: sword('"timestamp":"1"') } }),
  },
  {
    name: 'Host and host both',
    value: sword('"host":"b","Host":"a"'),
    ...both({ row: { Host: 'a' } }),
  },
]

let folder = ''
let instance: Instance
/** How many good events were sent as neighbours. */
let good = 0

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'questlog-bad-input-'))
  const config = join(folder, 'questlog.config.ts')
  await writeFile(config, definition)
  instance = await Instance.start(config, {
    folder,
    environment: { QUESTLOG_REQUEST_TIMEOUT_MS: '2000' },
  })
})

afterAll(async () => {
  await instance[Symbol.asyncDispose]()
  await rm(folder, { recursive: true, force: true })
})

/** The row, or the reason, of the event with this offset. */
async function expectOutcome(offset: number, outcome: Outcome, name: string): Promise<void> {
  const aside = await instance.sql(
    `select reason from questlog.dead_letters where "offset" = ${offset}`,
  )
  const rows = await instance.sql(
    `select raw_event, Host, color, cast(damage as varchar) from swords where _offset = ${offset}`,
  )
  if ('row' in outcome) {
    expect(aside, name).toEqual([])
    const [raw, host, color, damage] = rows[0] ?? []
    expect({ raw_event: raw, Host: host, color, damage }, name).toMatchObject(outcome.row)
  } else if ('aside' in outcome) {
    expect(rows, name).toEqual([])
    expect(String(aside[0]?.[0]), name).toContain(outcome.aside)
  }
}

async function expectNeighbours(): Promise<void> {
  expect(await instance.sql('select count(*) from goods')).toEqual([[good]])
  const audit = await instance.audit()
  expect(audit.stdout + audit.stderr).toContain('everything adds up')
  expect(audit.code).toBe(0)
}

const port = () => Number(new URL(instance.endpoints.collector).port)
const statusOf = (received: string) => Number(/^HTTP\/1\.1 (\d{3})/.exec(received)?.[1])
const rawRequest = (head: readonly string[], body: string | Buffer = '') =>
  exchangeRaw(
    port(),
    Buffer.concat([
      Buffer.from(`${[...head, 'Connection: close'].join('\r\n')}\r\n\r\n`, 'latin1'),
      Buffer.from(body),
    ]),
  )

describe('at HTTP', () => {
  test.each(cases)('$name, between good neighbours', async ({ name, value, http }) => {
    const line = Buffer.from('{"event_type":"good"}\n')
    const answer = await fetch(new URL('/events', instance.endpoints.collector), {
      method: 'POST',
      headers: { 'content-type': 'application/x-ndjson' },
      body: Buffer.concat([line, Buffer.from(value), Buffer.from('\n'), line]),
    })
    good += 2
    const { results } = (await answer.json()) as {
      results: { status: number; receipt?: string; error?: { code: string } }[]
    }
    expect([results[0]?.status, results[2]?.status]).toEqual([200, 200])
    if ('refused' in http) {
      expect(answer.status).toBe(207)
      expect([results[1]?.status, results[1]?.error?.code]).toEqual([http.refused, http.code])
    } else await expectOutcome(Number(results[1]?.receipt?.split('/')[2]), http, name)
  })

  test.each([
    ['?event_type=join_guild', '/sword?event_type=good', [], { event_type: 'sword' }],
    ['?timestamp=1', '/sword?timestamp=1', [], { timestamp: '1' }],
    ['a header event_type: x', '/sword', ['event_type: x'], { event_type: 'sword' }],
    ['Host twice', '/sword', ['host: two'], { Host: 'one, two' }],
    ['a bad percent-escape', '/sword?color=%zz%', [], { color: '%zz%' }],
    ['invalid UTF-8 in a parameter', '/sword?color=%ff', [], { color: '\ufffd' }],
    ['quotes in a header', '/sword', ['X-A: "\'\\'], { 'X-A': '"\'\\' }],
  ] as const)('%s forges nothing and is kept', async (_name, target, headers, fields) => {
    const received = await rawRequest([`GET ${target} HTTP/1.1`, 'Host: one', ...headers])
    expect(statusOf(received)).toBe(200)
    const offset = /Questlog-Receipt: events\/0\/(\d+)/.exec(received)?.[1]
    const [row] = await instance.sql(`select raw_event from swords where _offset = ${offset}`)
    expect(JSON.parse(String(row?.[0]))).toMatchObject(fields)
  })

  test.each([
    ['NUL in a header', 400, ['GET /sword HTTP/1.1', 'Host: x', 'X-A: a\0b'], ''],
    [
      '10,000 headers',
      413,
      ['GET /sword HTTP/1.1', 'Host: x', ...Array.from({ length: 10_000 }, (_, n) => `X-${n}: 1`)],
      '',
    ],
    ['a body of 50 MB', 413, ['POST /events HTTP/1.1', 'Host: x', 'Content-Length: 52428800'], 'x'],
    [
      'a gzip bomb',
      413,
      ['POST /events HTTP/1.1', 'Host: x', 'Content-Encoding: gzip'],
      gzipSync(Buffer.alloc(64 * 1024 * 1024)),
    ],
  ] as const)('%s is refused with %i', async (name, status, head, body) => {
    const length = name === 'a gzip bomb' ? [`Content-Length: ${body.length}`] : []
    expect(statusOf(await rawRequest([...head, ...length], body))).toBe(status)
  })

  test('a slow client holds up nobody, and is cut off', async () => {
    const socket = connect(port(), '127.0.0.1', () => socket.write('GET /sword HTTP/1.1\r\nHos'))
    const ended = new Promise((resolve) => socket.on('error', resolve).on('close', resolve))
    socket.resume()
    expect((await instance.send('/good')).status).toBe(200)
    good += 1
    await ended
  })

  test('neighbours are unharmed and everything adds up', expectNeighbours)
})

describe('straight on the log', () => {
  /** Offset of the first case. */
  let first = 0

  beforeAll(async () => {
    await instance.down()
    const log = await openOwnLog()
    for (const [index, { value }] of cases.entries()) {
      const values = ['{"event_type":"good"}', value, '{"event_type":"good"}']
      const records = values.map((one) => ({ key: null, value: Buffer.from(one), headers: [] }))
      const { baseOffset } = await log.append('events', null, records)
      if (index === 0) first = baseOffset + 1
      good += 2
    }
    await log.close()
    await instance.up()
  })

  test.each(cases.map((one, index) => ({ ...one, index })))(
    '$name, between good neighbours',
    async ({ name, log, index }) => expectOutcome(first + 3 * index, log, name),
  )

  test('neighbours are unharmed and everything adds up', expectNeighbours)
})

describe('files', () => {
  test('a definition with a syntax error is refused with its place; while running the last good one stays', async () => {
    await writeFile(instance.config, definition.replace('tables:', 'tables ;'))
    const check = await questlog('check', '--config', instance.config)
    expect(check.code).not.toBe(0)
    expect(check.stdout + check.stderr).toMatch(/questlog\.config\.ts:\d+/)
    await waitFor('a word in ps', 120_000, async () =>
      (await instance.ps()).includes('was saved but not taken'),
    )
    expect((await instance.send('/good')).status).toBe(200)
    good += 1
    await writeFile(instance.config, definition)
    await waitFor('no word in ps', 120_000, async () =>
      (await instance.ps()).includes('was saved but not taken') ? false : true,
    )
  })

  test('a data folder that can not be written is refused by name', async () => {
    const data = await folderNobodyMayWrite()
    const up = await questlog('up', '-d', '--data', data, '--config', instance.config)
    expect(up.code).not.toBe(0)
    expect(up.stderr).toContain(`the data folder ${data} can't be written`)
  })

  test('a torn segment is cut back to its last whole batch, and the log goes on', async () => {
    await instance.down()
    const segment = await lastSegment()
    const bytes = await readFile(segment)
    await writeFile(segment, Buffer.concat([bytes, bytes.subarray(0, 50)]))
    await instance.up()
    expect((await instance.send('/good')).status).toBe(200)
    good += 1
    await expectNeighbours()
  })

  test('a flipped byte refuses to start and says where; --repair sets it aside and keeps the rest', async () => {
    await instance.down()
    const segment = await lastSegment()
    const bytes = await readFile(segment)
    bytes[100] = (bytes[100] ?? 0) ^ 1
    await writeFile(segment, bytes)
    await expect(instance.up()).rejects.toThrow(/is damaged at byte 0 .*--repair/s)
    await instance.up('--repair')
    expect((await instance.send('/good')).status).toBe(200)
    good += 1
    expect(await instance.sql('select count(*) from goods')).toEqual([[good]])
    expect(await instance.ps()).toMatch(/has \d+ offsets? without a record/)
  })
})

function openOwnLog() {
  return openEventLog({
    files: realFiles,
    clock: realClock,
    logger: silentLogger,
    folder: join(instance.data, 'log'),
    settings: resolveSettings(),
    floors: new Map(),
    repair: false,
  })
}

async function lastSegment(): Promise<string> {
  const partition = join(instance.data, 'log', 'events-0')
  const names = (await readdir(partition)).filter((name) => name.endsWith('.log'))
  return join(partition, names.toSorted().at(-1) ?? '')
}

/** Root may write everywhere but where the kernel lets nobody. */
async function folderNobodyMayWrite(): Promise<string> {
  if (process.getuid?.() === 0) return '/sys/questlog'
  const locked = join(folder, 'locked')
  spawnSync('mkdir', [locked])
  await chmod(locked, 0o555)
  return join(locked, 'data')
}
