import { afterEach, describe, expect, test } from 'vitest'
import { ask, codeOf, exchangeRaw, FakeLog, start, stopAll } from './harness.ts'

afterEach(stopAll)

/** A GET with exactly these header lines. */
const rawGet = (port: number, target: string, lines: readonly string[], version = '1.0') =>
  exchangeRaw(
    port,
    `GET ${target} HTTP/${version}\r\n${lines.map((line) => `${line}\r\n`).join('')}\r\n`,
  )

describe('a GET on a route', () => {
  test('keeps one event and answers with the reply and its receipt', async () => {
    const { port, log } = await start()
    const answer = await ask(port, '/purchase_a_sword')
    expect(answer.status).toBe(200)
    expect(answer.body).toBe('\nSword Purchased!\n')
    expect(answer.headers).toMatchObject({
      'content-type': 'text/html; charset=utf-8',
      'content-length': '18',
      'cache-control': 'no-store',
      'questlog-receipt': 'events/0/0',
    })
    expect((await ask(port, '/purchase_a_sword')).headers['questlog-receipt']).toBe('events/0/1')
    expect(log.events()).toMatchObject([
      { event_type: 'purchase_sword', Host: 'game' },
      { event_type: 'purchase_sword' },
    ])
  })

  test('answers only after the append is acknowledged', async () => {
    const log = new FakeLog()
    let open = () => {}
    log.gate = new Promise((resolve) => {
      open = resolve
    })
    const { port } = await start({}, { log })
    let answered = false
    const answer = ask(port, '/').then(() => {
      answered = true
    })
    await ask(port, '/_questlog/health')
    expect(answered).toBe(false)
    open()
    await answer
    expect(log.records).toHaveLength(1)
  })

  test('two routes of one event answer each with its own reply', async () => {
    const { port, log } = await start()
    expect((await ask(port, '/join_guild')).body).toBe('\nGuild joined!\n')
    expect((await ask(port, '/join_the_guild')).body).toBe('You Joined the Guild!\n')
    expect(log.events().map((event) => event['event_type'])).toEqual(['join_guild', 'join_guild'])
  })

  test('the value is compact JSON in the order type, fixed fields, headers, parameters', async () => {
    const { port, log } = await start()
    await rawGet(port, '/purchase_a_knife?size=10', [
      'Host: user1.comcast.com',
      'user-agent: ApacheBench/2.3',
    ])
    expect(log.values()).toEqual([
      '{"event_type":"purchase_knife","description":"very sharp knife","Host":"user1.comcast.com","User-Agent":"ApacheBench/2.3","size":"10"}',
    ])
  })

  test('parameters are text, decoded, the first of each name, empty ones kept', async () => {
    const { port, log } = await start()
    await ask(
      port,
      '/bare?color=red&damage=5&color=blue&empty=&flag&sp%20ace=a+b%20c&%E2%9A%94=%C3%9C',
    )
    expect(log.values()).toEqual([
      '{"event_type":"bare","color":"red","damage":"5","empty":"","flag":"","sp ace":"a b c","⚔":"Ü"}',
    ])
  })

  test('bad percent-escapes and invalid UTF-8 never fail a request', async () => {
    const { port, log } = await start()
    await ask(port, '/bare?a=%zz&b=%ff%fe&c=%&%00=%00')
    expect(log.events()).toEqual([
      { event_type: 'bare', a: '%zz', b: '\ufffd\ufffd', c: '%', '\u0000': '\u0000' },
    ])
  })

  test('bytes beyond ASCII in a target are no HTTP: 400, with what to do', async () => {
    const { port, log } = await start()
    const answer = await exchangeRaw(
      port,
      Buffer.from('GET /bare?u=\xff\xfe HTTP/1.0\r\n\r\n', 'latin1'),
    )
    expect(answer).toMatch(/^HTTP\/1\.1 400 /)
    expect(answer).toMatch(/percent-escape/)
    expect(log.records).toHaveLength(0)
  })
})

describe('who wins when names meet', () => {
  test('?event_type= and a header event_type forge nothing', async () => {
    const { port, log } = await start()
    await rawGet(port, '/purchase_a_sword?event_type=join_guild&Event_Type=x&EVENT_TYPE=y', [
      'event_type: join_guild',
      'Event_Type: z',
    ])
    expect(log.values()).toEqual(['{"event_type":"purchase_sword"}'])
  })

  test('a fixed field wins over a header and a parameter', async () => {
    const { port, log } = await start()
    await rawGet(port, '/purchase_a_knife?description=blunt&DESCRIPTION=x', ['Description: dull'])
    expect(log.values()).toEqual([
      '{"event_type":"purchase_knife","description":"very sharp knife"}',
    ])
  })

  test('a header wins over a parameter, without regard to case', async () => {
    const { port, log } = await start()
    await rawGet(port, '/?host=forged&HOST=x&user-agent=y&other=z', [
      'Host: real',
      'User-Agent: ab',
    ])
    expect(log.values()).toEqual([
      '{"event_type":"default","Host":"real","User-Agent":"ab","other":"z"}',
    ])
  })

  test('without merged headers such a parameter stays', async () => {
    const { port, log } = await start()
    await rawGet(port, '/bare?host=me', ['Host: real'])
    expect(log.values()).toEqual(['{"event_type":"bare","host":"me"}'])
  })

  test('?timestamp=1 is a field like any other', async () => {
    const { port, log } = await start()
    await rawGet(port, '/bare?timestamp=1&raw_event=2&_offset=3', [])
    expect(log.events()[0]).toEqual({
      event_type: 'bare',
      timestamp: '1',
      raw_event: '2',
      _offset: '3',
    })
  })

  test('__proto__ and constructor are names', async () => {
    const { port, log } = await start()
    await rawGet(port, '/bare?__proto__=1&constructor=2', [])
    expect(log.values()).toEqual(['{"event_type":"bare","__proto__":"1","constructor":"2"}'])
  })
})

describe('headers', () => {
  test('have one spelling, and repeats are joined', async () => {
    const { port, log } = await start()
    await rawGet(port, '/', ['HOST: a', 'host: b', 'x-tag: 1', 'X-TAG: 2', 'ACCEPT: */*'])
    expect(log.values()).toEqual([
      '{"event_type":"default","Host":"a, b","X-Tag":"1, 2","Accept":"*/*"}',
    ])
  })

  test('that are secrets never come near the log', async () => {
    const { port, log } = await start()
    await rawGet(port, '/?write_key=parameter-secret', [
      'Cookie: cookie-secret',
      'Authorization: Bearer authorization-secret',
      'Proxy-Authorization: proxy-secret',
      'Questlog-Write-Key: header-secret',
      'X-Kept: yes',
    ])
    expect(log.values()).toEqual(['{"event_type":"default","X-Kept":"yes"}'])
  })

  test('with quotes, backslashes and bytes beyond ASCII are escaped right', async () => {
    const { port, log } = await start()
    await exchangeRaw(
      port,
      Buffer.concat([
        Buffer.from(
          'GET / HTTP/1.0\r\nX-A: say "hi" \\ \t</script>\r\nX-Utf: Übung ⚔\r\nX-Latin: ',
        ),
        Buffer.from([0xdc, 0x62]),
        Buffer.from('\r\n\r\n'),
      ]),
    )
    expect(log.events()).toEqual([
      {
        event_type: 'default',
        'X-A': 'say "hi" \\ \t</script>',
        'X-Utf': 'Übung ⚔',
        'X-Latin': 'Üb',
      },
    ])
  })

  test('with control characters are an event that is escaped right, or a 400 without one', async () => {
    const { port, log } = await start()
    for (const code of [0, 1, 8, 11, 27, 127]) {
      const before = log.records.length
      const answer = await rawGet(port, '/', [`X-A: a${String.fromCharCode(code)}b`])
      const kept = answer.startsWith('HTTP/1.1 200 ')
      if (!kept) expect(answer).toMatch(/^HTTP\/1\.1 400 /)
      expect(log.records.length - before).toBe(kept ? 1 : 0)
    }
    for (const event of log.events()) expect(event['event_type']).toBe('default')
  })

  test('of one request do not leak into the next', async () => {
    const { port, log } = await start()
    for (const tag of ['one', 'two', 'one']) await rawGet(port, '/?a=1', [`X-Tag: ${tag}`])
    await rawGet(port, '/', [])
    expect(log.events().map((event) => event['X-Tag'])).toEqual(['one', 'two', 'one', undefined])
  })
})

describe('event ids and keys', () => {
  test('an event_id goes into the record header and stays in the event', async () => {
    const { port, log } = await start()
    await ask(port, '/bare?event_id=%C3%BC-1&event_id=2')
    const headers = log.records[0]?.record.headers.map(({ key, value }) => [key, String(value)])
    expect(headers).toEqual([['event_id', 'ü-1']])
    expect(log.events()).toEqual([{ event_type: 'bare', event_id: 'ü-1' }])
  })

  test('an empty or overlong event_id is a field only', async () => {
    const { port, log } = await start()
    await ask(port, '/bare?event_id=')
    await ask(port, `/bare?event_id=${'x'.repeat(201)}`)
    expect(log.records.map(({ record }) => record.headers)).toEqual([[], []])
  })
})

describe('declared parameters of an event that rejects', () => {
  test.each([
    ['/strict?level=5', 200],
    ['/strict?level=5.0&at=2018-07-26T22:36:27Z&big=9223372036854775807', 200],
    ['/strict?level=5.7', 400],
    ['/strict?level=true', 400],
    ['/strict', 400],
    ['/strict?level=5&at=yesterday', 400],
    ['/strict?level=5&big=9223372036854775808', 400],
  ])('%s is answered %i', async (target, status) => {
    const { port, log } = await start()
    const answer = await ask(port, target)
    expect(answer.status).toBe(status)
    expect(log.records).toHaveLength(status === 200 ? 1 : 0)
    if (status === 400) expect(codeOf(answer)).toBe('EVENT_INVALID')
  })
})
