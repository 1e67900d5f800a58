import { expect, test } from 'vitest'
import { z } from 'zod'
import { cellText } from '../../src/core/duckdb.ts'
import { summarizeTopic, summarizeUnreadTopic } from '../../src/stream/status.ts'
import { define, World } from './world.ts'

const sword = {
  params: z.object({ color: z.string().optional(), damage: z.number().int().optional() }),
}
const base = {
  events: { purchase_sword: sword, join_guild: {}, purchase_knife: {} },
  tables: {
    events: { from: '*' },
    sword_purchases: { from: 'purchase_sword' },
    join_guilds: { from: 'join_guild' },
  },
}

function summary(world: World) {
  const stream = world.stream
  const topic = stream?.topics[0]
  if (stream === undefined || topic === undefined) throw new Error('no topic')
  return summarizeTopic(topic, stream.reader.watermark())
}

test('an event that was acknowledged is in its tables for the next statement', async () => {
  await using world = await World.open()
  await world.start(define(base))
  await world.append([
    {
      event_type: 'purchase_sword',
      Host: 'user1.comcast.com',
      'User-Agent': 'curl',
      Accept: '*/*',
      color: 'red',
      damage: '5',
    },
  ])
  const rows = await world.query('SELECT * FROM "default".sword_purchases')
  expect(rows).toHaveLength(1)
  expect(Object.keys(rows[0] ?? {})).toEqual([
    'raw_event',
    'timestamp',
    'Accept',
    'Host',
    'User-Agent',
    'event_type',
    'color',
    'damage',
    'event_id',
    '_log_partition',
    '_offset',
    '_timestamp',
  ])
  expect(rows[0]).toMatchObject({
    Host: 'user1.comcast.com',
    color: 'red',
    event_id: 'events/0/0',
    _log_partition: 0,
    _offset: '0',
  })
  expect(rows[0]?.['timestamp']).toMatch(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}$/)
  expect(await world.count('"default".join_guilds')).toBe(0)
  expect(await world.count('"default".events')).toBe(1)
})

test('what is committed and what is fresh never overlap: a count only grows, through commits', async () => {
  await using world = await World.open()
  await world.start(
    define({ ...base, tables: { sword_purchases: { from: 'purchase_sword', trigger: '100ms' } } }),
  )
  let sent = 0
  let last = 0
  const lake = () => world.stream?.tables[0]?.lake.version ?? 0
  const first = lake()
  while (lake() < first + 5) {
    await world.append([{ event_type: 'purchase_sword', n: ++sent }])
    const count = await world.count('"default".sword_purchases')
    expect(count).toBe(sent)
    expect(count).toBeGreaterThanOrEqual(last)
    last = count
    const [counts] = await world.query('SELECT n::INTEGER AS n FROM _counts.sword_purchases')
    expect(counts?.['n']).toBe(sent)
  }
})

test('after a crash every event is in its table once, committed or not', async () => {
  await using world = await World.open()
  const definition = define({
    ...base,
    tables: { ...base.tables, sword_purchases: { from: 'purchase_sword', trigger: '100ms' } },
  })
  await world.start(definition)
  for (let i = 0; i < 50; i++)
    await world.append([
      { event_type: 'purchase_sword', n: i },
      { event_type: 'join_guild', n: i },
    ])
  expect(await world.count('"default".events')).toBe(100)
  const abandoned = world.stream
  world.abandon()
  await world.append([{ event_type: 'purchase_sword', n: 50 }])
  await abandoned?.stop()
  await world.start(definition)
  const rows = await world.query(
    'SELECT count(*)::INTEGER AS n, count(DISTINCT _offset)::INTEGER AS d FROM "default".sword_purchases',
  )
  expect(rows[0]).toEqual({ n: 51, d: 51 })
  expect(await world.count('"default".join_guilds')).toBe(50)
  expect(summary(world)).toMatchObject({ kept: 101, inTables: 101, inFlight: 0, addsUp: true })
})

test('one bad record never stops its neighbours: it is set aside with its reason and its bytes', async () => {
  await using world = await World.open()
  await world.start(define(base))
  const bad: [string | Uint8Array, string][] = [
    ['not json', 'malformed JSON'],
    ['{"event_type":', 'malformed JSON'],
    ['[1,2]', 'not a JSON object'],
    ['"text"', 'not a JSON object'],
    ['{"Host":"x"}', 'event_type is missing'],
    ['{"event_type":"nobody"}', 'event_type is not declared: nobody'],
    ['{"event_type":5}', 'event_type is not declared: 5'],
    [new Uint8Array([0x7b, 0xff, 0x7d]), 'not valid UTF-8'],
    [
      `{"event_type":"join_guild","a":${'['.repeat(10_000)}${']'.repeat(10_000)}}`,
      'nested deeper than 64 levels',
    ],
    ['', 'empty record'],
  ]
  const good = { event_type: 'join_guild' }
  for (const [value] of bad) await world.append([good, value, good])
  expect(await world.count('"default".join_guilds')).toBe(bad.length * 2)
  const rows = await world.query(
    'SELECT reason, "table", raw FROM questlog.dead_letters ORDER BY "offset"',
  )
  expect(rows.map((row) => cellText(row, 'reason').slice(0, 40))).toEqual(
    bad.map(([, reason]) => expect.stringContaining(reason.slice(0, 40)) as string),
  )
  expect(rows.every((row) => row['table'] === null)).toBe(true)
  expect(summary(world)).toMatchObject({
    kept: bad.length * 3,
    inTables: bad.length * 2,
    deadLetters: bad.length,
    addsUp: true,
    inFlight: 0,
  })
})

test('a declared parameter that does not fit sets the event aside for the table; values that fit stay exact', async () => {
  await using world = await World.open()
  await world.start(
    define({
      events: {
        purchase_sword: {
          params: z.object({ damage: z.number().int().optional(), ok: z.boolean().optional() }),
        },
      },
      tables: { sword_purchases: { from: 'purchase_sword' } },
    }),
  )
  const event = (damage: string) => `{"event_type":"purchase_sword","damage":${damage}}`
  await world.append(['5', '"5"', '5.0', '1e3', 'null', '9007199254740993'].map(event))
  await world.append(
    ['5.7', 'true', '"x"', '""', '99999999999999999999', '"0x10"', '[1]'].map(event),
  )
  await world.append([
    '{"event_type":"purchase_sword","ok":"yes"}',
    '{"event_type":"purchase_sword","ok":"1"}',
  ])
  const rows = await world.query('SELECT damage FROM "default".sword_purchases ORDER BY _offset')
  expect(rows.map((row) => row['damage'])).toEqual([
    '5',
    '5',
    '5',
    '1000',
    null,
    '9007199254740993',
    null,
  ])
  const aside = await world.query(
    'SELECT reason, path, "table" FROM questlog.dead_letters ORDER BY "offset"',
  )
  expect(aside).toHaveLength(8)
  expect(aside[0]).toEqual({
    reason: 'damage does not fit long: 5.7',
    path: 'damage',
    table: 'sword_purchases',
  })
  expect(aside.at(-1)).toMatchObject({ path: 'ok' })
})

test('a lone surrogate and duplicate keys harm nobody', async () => {
  await using world = await World.open()
  await world.start(
    define({
      events: { purchase_sword: sword },
      tables: { sword_purchases: { from: 'purchase_sword' } },
    }),
  )
  await world.append([
    '{"event_type":"purchase_sword","color":"\\ud800x"}',
    '{"event_type":"purchase_sword","color":"a","color":"b"}',
    '{"event_type":"purchase_sword","color":"nul\\u0000"}',
  ])
  const rows = await world.query(
    'SELECT color, raw_event FROM "default".sword_purchases ORDER BY _offset',
  )
  expect(rows.map((row) => row['color'])).toEqual(['\ufffdx', 'a', 'nul\u0000'])
  expect(rows[0]?.['raw_event']).toBe('{"event_type":"purchase_sword","color":"\\ud800x"}')
})

test('where filters, set replaces, and an expression that fails sets only its own event aside', async () => {
  await using world = await World.open()
  await world.start(
    define({
      events: { purchase_sword: sword },
      tables: {
        strong: {
          from: 'purchase_sword',
          where: 'CAST(color AS INTEGER) > 1',
          set: { Host: "'moe'" },
        },
      },
    }),
  )
  await world.append(
    ['1', '2', 'red', '3'].map((color) => ({ event_type: 'purchase_sword', color, Host: 'h' })),
  )
  expect(await world.query('SELECT color, "Host" FROM "default".strong ORDER BY _offset')).toEqual([
    { color: '2', Host: 'moe' },
    { color: '3', Host: 'moe' },
  ])
  expect(await world.query('SELECT "offset", path FROM questlog.dead_letters')).toEqual([
    { offset: '2', path: 'where' },
  ])
  expect(summary(world)).toMatchObject({
    kept: 4,
    inTables: 2,
    filtered: 1,
    deadLetters: 1,
    addsUp: true,
  })
})

test('a table that is added later fills itself from the beginning and joins the others', async () => {
  await using world = await World.open()
  const stream = await world.start(
    define({ ...base, tables: { sword_purchases: base.tables.sword_purchases } }),
  )
  await world.append(
    Array.from({ length: 500 }, (_, n) => ({
      event_type: n % 5 === 0 ? 'purchase_knife' : 'purchase_sword',
      n,
    })),
  )
  expect(await world.count('"default".sword_purchases')).toBe(400)
  expect(summary(world)).toMatchObject({ kept: 500, inTables: 400, unrouted: 100, addsUp: true })
  await stream.activate(
    define({
      ...base,
      tables: { sword_purchases: base.tables.sword_purchases, knives: { from: 'purchase_knife' } },
    }),
  )
  await world.append([{ event_type: 'purchase_knife' }])
  expect(await world.count('"default".knives')).toBe(101)
  expect(summary(world)).toMatchObject({
    kept: 501,
    inTables: 501,
    unrouted: 0,
    inFlight: 0,
    addsUp: true,
  })
})

test('a field that is added later is a nullable column: old rows have NULL, old files are untouched', async () => {
  await using world = await World.open()
  const before = {
    events: { purchase_sword: {} },
    tables: { sword_purchases: { from: 'purchase_sword' } },
  }
  const stream = await world.start(define(before))
  await world.append([{ event_type: 'purchase_sword', color: 'red' }])
  expect(await world.count('"default".sword_purchases')).toBe(1)
  await stream.activate(define({ ...before, events: { purchase_sword: sword } }))
  const files = await stream.tables[0]?.lake.liveFiles()
  await world.append([{ event_type: 'purchase_sword', color: 'blue', damage: 7 }])
  expect(
    await world.query('SELECT color, damage FROM "default".sword_purchases ORDER BY _offset'),
  ).toEqual([
    { color: null, damage: null },
    { color: 'blue', damage: '7' },
  ])
  expect(files).toHaveLength(1)
})

test('a field that is no longer declared keeps its column and its values', async () => {
  await using world = await World.open()
  const tables = { sword_purchases: { from: 'purchase_sword' } }
  const stream = await world.start(define({ events: { purchase_sword: sword }, tables }))
  await world.append([{ event_type: 'purchase_sword', color: 'red' }])
  expect(await world.count('"default".sword_purchases')).toBe(1)
  await stream.activate(define({ events: { purchase_sword: {} }, tables }))
  await world.append([{ event_type: 'purchase_sword', color: 'blue' }])
  const colors = () => world.query('SELECT color FROM "default".sword_purchases ORDER BY _offset')
  expect(await colors()).toEqual([{ color: 'red' }, { color: null }])
  await stream.activate(define({ events: { purchase_sword: sword }, tables }))
  expect(await colors()).toEqual([{ color: 'red' }, { color: null }])
})

test('a table that starts at the latest holds only what comes after it', async () => {
  await using world = await World.open()
  const stream = await world.start(define({ ...base, tables: { events: { from: '*' } } }))
  await world.append([{ event_type: 'join_guild' }])
  expect(await world.count('"default".events')).toBe(1)
  await stream.activate(
    define({
      ...base,
      tables: { events: { from: '*' }, late: { from: 'join_guild', startAt: 'latest' } },
    }),
  )
  await world.append([{ event_type: 'join_guild' }, { event_type: 'join_guild' }])
  expect(await world.count('"default".late')).toBe(2)
})

test('a definition whose SQL is wrong is refused by table and key, and changes nothing', async () => {
  await using world = await World.open()
  const stream = await world.start(define(base))
  const wrong = define({
    ...base,
    tables: { ...base.tables, odd: { from: 'join_guild', where: 'hots = 1' } },
  })
  await expect(stream.activate(wrong)).rejects.toMatchObject({
    code: 'DEFINITION_INVALID',
    message: expect.stringContaining('tables.odd.where') as string,
  })
  await world.append([{ event_type: 'join_guild' }])
  expect(await world.count('"default".join_guilds')).toBe(1)
})

test("a client's event id shows as event_id", async () => {
  await using world = await World.open()
  await world.start(define(base))
  await world.append([{ event_type: 'join_guild' }], 'events', [
    { key: 'event_id', value: Buffer.from('mine') },
  ])
  expect(await world.query('SELECT event_id FROM "default".join_guilds')).toEqual([
    { event_id: 'mine' },
  ])
})

test('names that differ only in case are read by their exact JSON key', async () => {
  await using world = await World.open()
  await world.start(
    define({
      events: {
        a: { params: z.object({ Color: z.string().optional() }) },
        b: { params: z.object({ color: z.string().optional() }) },
      },
      tables: { upper: { from: 'a' }, lower: { from: 'b' } },
    }),
  )
  await world.append([
    { event_type: 'a', Color: 'U', color: 'l' },
    { event_type: 'b', Color: 'U', color: 'l' },
  ])
  expect(await world.query('SELECT "Color" FROM "default".upper')).toEqual([{ Color: 'U' }])
  expect(await world.query('SELECT color FROM "default".lower')).toEqual([{ color: 'l' }])
})

test('what a topic without events or tables holds is in no table, and nothing of it is set aside', async () => {
  await using world = await World.open()
  const stream = await world.start(define({ ...base, topics: { raw: {} } }))
  await world.append(['anything', '{"event_type":"x"}'], 'raw')
  expect(await world.count('questlog.dead_letters')).toBe(0)
  const topic = world.log.topic('raw')
  if (topic === undefined) throw new Error('no topic')
  expect(summarizeUnreadTopic(topic, stream.reader.watermark())).toMatchObject({
    name: 'raw',
    kept: 2,
    unrouted: 2,
    inFlight: 0,
    addsUp: true,
  })
})

test('a table that is free again by the end of the step in which it was held reads on, although no record comes after', async () => {
  await using world = await World.open({ settings: { catchUpTimeoutMs: 2_000 } })
  const stream = await world.start(
    define({
      events: { purchase_sword: sword },
      tables: { sword_purchases: { from: 'purchase_sword', trigger: '1h' } },
    }),
  )
  await world.append([{ event_type: 'purchase_sword' }])
  expect(await world.count('"default".sword_purchases')).toBe(1)
  // As one that has read faster than it was committed, until a commit ends while the step goes on.
  let isHeld = true
  const fresh = stream.tables[0]?.fresh
  if (fresh === undefined) throw new Error('no table')
  Object.defineProperty(fresh, 'totalBytes', {
    get: () => {
      if (isHeld) queueMicrotask(() => (isHeld = false))
      return isHeld ? Number.POSITIVE_INFINITY : 0
    },
  })
  await world.append([{ event_type: 'purchase_sword' }])
  while (isHeld) await new Promise((resolve) => setImmediate(resolve))
  expect(await world.count('"default".sword_purchases')).toBe(2)
})
