import { brotliCompressSync, deflateRawSync, deflateSync, gzipSync } from 'node:zlib'
import * as fc from 'fast-check'
import { afterEach, describe, expect, test } from 'vitest'
import { QuestlogError } from '../../src/core/errors.ts'
import { codeOf, FakeLog, post, resultsOf, start, stopAll } from './harness.ts'

afterEach(stopAll)

const ndjson = 'application/x-ndjson'
const form = 'application/x-www-form-urlencoded'
const sword = '{"event_type":"purchase_sword","n":1}'

describe('POST /events', () => {
  test('keeps each event byte for byte and says where', async () => {
    const { port, log } = await start()
    const exact =
      '{"event_type":"bare","id":12345678901234567890,"x":1.10,"s":"\\ud800 ⚔","o":{"a":[1,2]}}'
    const answer = await post(port, '/events', `[${exact},\n ${sword} ]`)
    expect(answer.status).toBe(200)
    expect(answer.headers['content-type']).toBe('application/json')
    expect(resultsOf(answer)).toEqual({
      kept: 2,
      refused: 0,
      results: [
        { status: 200, receipt: 'events/0/0' },
        { status: 200, receipt: 'events/0/1' },
      ],
    })
    expect(log.values()).toEqual([exact, sword])
    expect(log.appends).toEqual([{ topic: 'events', key: null, count: 2 }])
  })

  test('takes one object, an array, lines, and lines as a beacon sends them', async () => {
    const { port, log } = await start()
    const line = '{"event_type":"bare"}'
    const bodies: [string, string | null, number][] = [
      [line, 'application/json', 1],
      [`[${line},${line}]`, 'application/json; charset=UTF-8', 2],
      ['[]', 'application/json', 0],
      [`${line}\n${line}\r\n\n  ${line}`, ndjson, 3],
      ['', ndjson, 0],
      [`${line}\n${line}\n`, 'text/plain;charset=UTF-8', 2],
      [line, 'text/plain', 1],
      [`[${line}]`, null, 1],
      [`\ufeff ${line} \n`, 'application/json', 1],
      [line, form, 1],
    ]
    for (const [body, type, kept] of bodies) {
      const answer = await post(port, '/events', body, type)
      expect([body, answer.status, resultsOf(answer).kept]).toEqual([body, 200, kept])
    }
    expect(new Set(log.values())).toEqual(new Set([line]))
  })

  test('refuses what is wrong and keeps its neighbours, in the order of the body', async () => {
    const { port, log } = await start()
    const deep = `{"event_type":"bare","a":${'['.repeat(10_000)}${']'.repeat(10_000)}}`
    const lines = [
      sword,
      'not json',
      '{"event_type":"bare"',
      '5',
      'null',
      '["a"]',
      '{"no":"type"}',
      '{"event_type":7}',
      '{"event_type":"dragon_slain"}',
      '{"event_type":"toString"}',
      deep,
      '{"event_type":"strict","level":5.7}',
      '{"event_type":"strict","level":true}',
      '{"event_type":"strict","level":"5"}',
      sword,
    ]
    const answer = await post(port, '/events', lines.join('\n'), ndjson)
    expect(answer.status).toBe(207)
    const { kept, refused, results } = resultsOf(answer)
    expect({ kept, refused }).toEqual({ kept: 3, refused: 12 })
    expect(results.map((result) => result.receipt ?? result.error?.code)).toEqual([
      'events/0/0',
      'EVENT_MALFORMED',
      'EVENT_MALFORMED',
      'EVENT_MALFORMED',
      'EVENT_MALFORMED',
      'EVENT_MALFORMED',
      'EVENT_TYPE_UNKNOWN',
      'EVENT_TYPE_UNKNOWN',
      'EVENT_TYPE_UNKNOWN',
      'EVENT_TYPE_UNKNOWN',
      'EVENT_INVALID',
      'EVENT_INVALID',
      'EVENT_INVALID',
      'events/0/1',
      'events/0/2',
    ])
    expect(log.values()).toEqual([sword, '{"event_type":"strict","level":"5"}', sword])
  })

  test('refuses elements of an array alone when the array is JSON', async () => {
    const { port, log } = await start()
    const deep = `{"a":${'['.repeat(10_000)}${']'.repeat(10_000)}}`
    const answer = await post(port, '/events', `[5,${sword},"x" ,null, ${deep},{}, ${sword}]`)
    expect(answer.status).toBe(207)
    expect(resultsOf(answer).results.map(({ status }) => status)).toEqual([
      400, 200, 400, 400, 400, 422, 200,
    ])
    expect(log.values()).toEqual([sword, sword])
  })

  test.each([
    '[{"event_type":"bare"},]',
    '[,{"event_type":"bare"}]',
    '[{"event_type":"bare"}',
    '[{"event_type":"bare"} {"event_type":"bare"}]',
    '[{"event_type":"bare"}]]',
    '[{"event_type":"bare"},{"event_type":}]',
    '[{"event_type":"bare"}] x',
    '{"event_type":"bare"} {}',
    '{"event_type":"bare"',
    '',
    ' ',
    'events',
    "{'event_type':'bare'}",
  ])('keeps nothing of a body that is not JSON: %s', async (body) => {
    const { port, log } = await start()
    const answer = await post(port, '/events', body)
    expect([answer.status, codeOf(answer)]).toEqual([400, 'EVENT_MALFORMED'])
    expect(log.records).toHaveLength(0)
  })

  test('invalid UTF-8 spoils its line, not the others; a JSON body it spoils whole', async () => {
    const { port, log } = await start()
    const bad = Buffer.from('{"event_type":"bare","a":"\xff"}', 'latin1')
    const lines = Buffer.concat([
      Buffer.from(`${sword}\n`),
      bad,
      Buffer.from(`\n{"event_type":"bare","a":"⚔"}`),
    ])
    const answer = await post(port, '/events', lines, ndjson)
    expect(resultsOf(answer).results.map(({ status }) => status)).toEqual([200, 400, 200])
    expect((await post(port, '/events', bad)).status).toBe(400)
    expect(log.values()).toEqual([sword, '{"event_type":"bare","a":"⚔"}'])
  })

  test('makes names unique: the first of a repeated name counts, one event_type is left', async () => {
    const { port, log } = await start()
    const lines = [
      '{"event_type":"bare","a":1,"a":2}',
      '{"event_type":"bare","event_type":"dragon"}',
      '{"event\\u005ftype":"bare","a":12345678901234567890}',
      '{ "event_type" : "bare", "a" : [ 1, "x  y" ] }',
      '{"event_type":"bare","Event_Type":"x"}',
      '{"event_type":"bare","\\u0061":1,"a":2,"A":3}',
      '{"event_type":"bare","event_type":"bare","n":{"a":1,"a":2}}',
    ]
    const answer = await post(port, '/events', lines.join('\n'), ndjson)
    expect(answer.status).toBe(200)
    expect(log.values()).toEqual([
      '{"event_type":"bare","a":1}',
      '{"event_type":"bare"}',
      '{"event_type":"bare","a":12345678901234567890}',
      '{"event_type":"bare","a":[1,"x  y"]}',
      '{"event_type":"bare"}',
      '{"event_type":"bare","a":1,"A":3}',
      '{"event_type":"bare","n":{"a":1,"a":2}}',
    ])
  })

  test('adds the fixed fields of a type, which win, and no headers', async () => {
    const { port, log } = await start()
    const body =
      '[{"event_type":"purchase_knife","size":1},{"description":"blunt","event_type":"purchase_knife"}]'
    await post(port, '/events', body, 'application/json', { 'X-Tag': 'no' })
    expect(log.values()).toEqual([
      '{"description":"very sharp knife","event_type":"purchase_knife","size":1}',
      '{"event_type":"purchase_knife","description":"very sharp knife"}',
    ])
  })

  test('a form has no event_type', async () => {
    const { port } = await start()
    const answer = await post(port, '/events', 'event_type=bare', form)
    expect([answer.status, codeOf(answer)]).toEqual([415, 'MEDIA_TYPE_UNSUPPORTED'])
  })

  test('when nothing was kept the status is that of the first refusal', async () => {
    const { port } = await start()
    const answer = await post(port, '/events', '{"event_type":"x"}\nnot json', ndjson)
    expect(answer.status).toBe(422)
    expect(resultsOf(answer)).toMatchObject({ kept: 0, refused: 2 })
  })

  test('a failed append refuses the events of its topic with 503 and Retry-After', async () => {
    const log = new FakeLog()
    log.failure = new QuestlogError('OVERLOADED', 'too much is pending')
    const { port } = await start({}, { log })
    const answer = await post(port, '/events', `${sword}\nnot json`, ndjson)
    expect(answer.status).toBe(503)
    expect(answer.headers['retry-after']).toBe('1')
    expect(resultsOf(answer).results.map(({ error }) => error?.code)).toEqual([
      'OVERLOADED',
      'EVENT_MALFORMED',
    ])
  })
})

describe('keys', () => {
  test('events with one key go in one append, each receipt is its own', async () => {
    const { port, log } = await start()
    const lines = ['"ann"', '"bob"', '"ann"', '12345678901234567890', 'true', 'null', '{}'].map(
      (player) => `{"event_type":"keyed","player":${player}}`,
    )
    const answer = await post(port, '/events', lines.join('\n'), ndjson)
    const receipts = resultsOf(answer).results.map(({ receipt }) => Number(receipt?.split('/')[2]))
    for (const [index, line] of lines.entries())
      expect(log.values()[receipts[index] ?? -1]).toBe(line)
    expect(log.appends.map(({ key, count }) => [key === null ? null : String(key), count])).toEqual(
      [
        ['ann', 2],
        ['bob', 1],
        ['12345678901234567890', 1],
        ['true', 1],
        [null, 2],
      ],
    )
    for (const { key, record } of log.records) expect(record.key).toEqual(key)
  })

  test('a form field is a key as well', async () => {
    const { port, log } = await start()
    await post(port, '/keyed', 'player=ann&player=bob', form)
    expect(String(log.appends[0]?.key)).toBe('ann')
  })
})

describe("POST to an event's route", () => {
  test('one object is one event, answered like a GET, with the headers that describe it', async () => {
    const { port, log } = await start()
    const answer = await post(
      port,
      '/purchase_a_sword?b=2&a=3',
      '{"a":1.0,"host":"forged"}',
      'application/json',
      {
        'X-Tag': 'yes',
        Cookie: 'secret',
      },
    )
    expect(answer.status).toBe(200)
    expect(answer.body).toBe('\nSword Purchased!\n')
    expect(answer.headers['questlog-receipt']).toBe('events/0/0')
    expect(log.values()).toEqual([
      '{"event_type":"purchase_sword","Host":"game","X-Tag":"yes","a":1.0,"b":"2"}',
    ])
  })

  test("the route's type wins over the body's", async () => {
    const { port, log } = await start()
    await post(port, '/bare', '{"event_type":"join_guild","Event_Type":"x","a":1}')
    await post(port, '/bare', '{"event_type":"bare","a":1}')
    await post(port, '/bare', '{}')
    await post(port, '/bare', '{"a":1}\n{"event_type":"join_guild"}', ndjson)
    expect(log.values()).toEqual([
      '{"event_type":"bare","a":1}',
      '{"event_type":"bare","a":1}',
      '{"event_type":"bare"}',
      '{"event_type":"bare","a":1}',
      '{"event_type":"bare"}',
    ])
  })

  test('an array has results, and carries its events whole', async () => {
    const { port, log } = await start()
    const answer = await post(port, '/purchase_a_knife?x=1', '[{"n":1},5,{"n":2}]')
    expect(answer.status).toBe(207)
    expect(resultsOf(answer)).toMatchObject({ kept: 2, refused: 1 })
    expect(log.values()).toEqual(
      [1, 2].map(
        (n) => `{"event_type":"purchase_knife","description":"very sharp knife","n":${n}}`,
      ),
    )
  })

  test('a form is one event of texts', async () => {
    const { port, log } = await start()
    const answer = await post(port, '/bare?q=1', 'color=red&damage=5&damage=6&x=%zz&s=a+b', form)
    expect([answer.status, answer.body]).toEqual([200, 'ok\n'])
    expect(log.values()).toEqual([
      '{"event_type":"bare","color":"red","damage":"5","x":"%zz","s":"a b","q":"1"}',
    ])
  })

  test('no body and no Content-Type is an event without parameters', async () => {
    const { port, log } = await start()
    expect((await post(port, '/bare', '', null)).status).toBe(200)
    expect(log.values()).toEqual(['{"event_type":"bare"}'])
  })

  test('a refused object is answered with its error', async () => {
    const { port, log } = await start()
    expect(codeOf(await post(port, '/strict', '{"level":5.7}'))).toBe('EVENT_INVALID')
    expect(codeOf(await post(port, '/bare', '5'))).toBe('EVENT_MALFORMED')
    expect(codeOf(await post(port, '/bare', '{"a":'))).toBe('EVENT_MALFORMED')
    expect((await post(port, '/strict', '{"level":5.0,"big":9223372036854775807}')).status).toBe(
      200,
    )
    expect((await post(port, '/strict', '{"level":5,"big":9223372036854775808}')).status).toBe(400)
    expect(log.records).toHaveLength(1)
  })

  test('an event_id of a JSON event goes into the record header', async () => {
    const { port, log } = await start()
    await post(
      port,
      '/bare',
      '{"event_id":"e-1"}\n{"event_id":7}\n{"event_id":"x","event_id":"y"}',
      ndjson,
    )
    const ids = log.records.map(({ record }) => record.headers.map(({ value }) => String(value)))
    expect(ids).toEqual([['e-1'], [], ['x']])
  })
})

describe('content encodings', () => {
  test.each([
    ['gzip', gzipSync],
    ['x-gzip', gzipSync],
    ['deflate', deflateSync],
    ['deflate', deflateRawSync],
    ['br', brotliCompressSync],
  ] as const)('%s is read', async (name, compress) => {
    const { port, log } = await start()
    const lines = Array.from({ length: 5_000 }, (_, n) => `{"event_type":"bare","n":${n}}`)
    const answer = await post(port, '/events', compress(Buffer.from(lines.join('\n'))), ndjson, {
      'Content-Encoding': name,
    })
    expect(resultsOf(answer)).toMatchObject({ kept: 5_000, refused: 0 })
    expect(log.values()).toEqual(lines)
  })

  test('what is not of the encoding, or cut off, is refused', async () => {
    const { port, log, collector } = await start()
    const whole = gzipSync(Buffer.from(sword))
    for (const body of [sword, whole.subarray(0, -3), whole.subarray(0, 12)]) {
      const answer = await post(port, '/events', body, 'application/json', {
        'Content-Encoding': 'gzip',
      })
      expect([answer.status, codeOf(answer)]).toEqual([400, 'REQUEST_MALFORMED'])
    }
    const unknown = await post(port, '/events', sword, 'application/json', {
      'Content-Encoding': 'zstd',
    })
    expect(unknown.status).toBe(415)
    expect(log.records).toHaveLength(0)
    expect(collector.counters().bodyBytesHeld).toBe(0)
  })
})

test('a Content-Type that is not for events is refused', async () => {
  const { port } = await start()
  const answer = await post(port, '/bare', 'x', 'image/png')
  expect([answer.status, codeOf(answer)]).toEqual([415, 'MEDIA_TYPE_UNSUPPORTED'])
})

test('any object posted to a route becomes compact JSON with unique names and the type of the route', async () => {
  const { port, log } = await start()
  const name = fc.oneof(
    fc.string({ maxLength: 5 }),
    fc.constantFrom(
      'event_type',
      'Event_Type',
      'description',
      'Description',
      'host',
      'Host',
      '__proto__',
      '',
    ),
  )
  const body = fc.array(fc.tuple(name, fc.jsonValue({ maxDepth: 2 })), { maxLength: 5 })
  await fc.assert(
    fc.asyncProperty(body, fc.boolean(), async (members, spaced) => {
      const gap = spaced ? ' ' : ''
      const text = `{${members.map(([key, value]) => `${JSON.stringify(key)}:${gap}${JSON.stringify(value)}`).join(',')}}`
      const answer = await post(port, '/purchase_a_knife', text)
      expect(answer.status).toBe(200)
      const value = log.values().at(-1) ?? ''
      const event = JSON.parse(value) as Record<string, unknown>
      expect(JSON.stringify(event)).toHaveLength(value.length) // compact, and no name twice
      const names = Object.keys(event)
      const server = ['event_type', 'description', 'host']
      for (const own of server)
        expect(names.filter((key) => key.toLowerCase() === own)).toHaveLength(1)
      expect(event).toMatchObject({
        event_type: 'purchase_knife',
        description: 'very sharp knife',
        Host: 'game',
      })
      for (const [key, given] of members) {
        if (
          server.includes(key.toLowerCase()) ||
          ['connection', 'content-type'].includes(key.toLowerCase())
        )
          continue
        const first = members.find(([other]) => other === key)
        if (first?.[1] === given) expect(JSON.stringify(event[key])).toBe(JSON.stringify(given))
      }
    }),
    { numRuns: 150 },
  )
})
