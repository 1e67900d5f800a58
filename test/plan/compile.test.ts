import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { defineConfig, event, table } from '../../src/plan/authoring.ts'
import { compileDefinition } from '../../src/plan/compile.ts'
import { typeText } from '../../src/plan/column-types.ts'
import type { Definition } from '../../src/plan/definition.ts'
import { formatKeyPath } from '../../src/plan/problems.ts'

function compiled(config: unknown): Definition {
  const { definition, problems } = compileDefinition(config)
  expect(problems ?? []).toEqual([])
  if (definition === undefined) throw new Error('no definition')
  return definition
}

function problemsOf(config: unknown): string[] {
  return (compileDefinition(config).problems ?? []).map(
    ({ path, message, fix }) => `${formatKeyPath(path)}: ${message} — ${fix}`,
  )
}

/** The declared columns of the first table: those between the leading and the system ones. */
function ownColumns(definition: Definition, index = 0): string[] {
  return (definition.tables[index]?.columns ?? [])
    .slice(6, -4)
    .map((column) => `${column.name} ${typeText(column.type)}`)
}

describe('every default is filled in', () => {
  test('of an event and its topic', () => {
    const definition = compiled({ events: { hit: {} } })
    expect(definition).toEqual({
      formatVersion: 1,
      namespace: 'default',
      topics: [{ name: 'events', partitions: 1, configs: {} }],
      events: [
        {
          type: 'hit',
          topic: 'events',
          routes: [],
          fixed: {},
          params: [],
          required: [],
          schema: null,
          headers: true,
          key: null,
          onInvalid: 'set-aside',
        },
      ],
      tables: [],
      settings: {},
    })
  })

  test('of a table, with its columns in order', () => {
    const { tables } = compiled({ events: { hit: {} }, tables: { hits: { from: 'hit' } } })
    expect(tables[0]?.columns.map(({ name }) => name)).toEqual(
      'raw_event timestamp Accept Host User-Agent event_type event_id _log_partition _offset _timestamp'.split(
        ' ',
      ),
    )
    expect(tables[0]).toMatchObject({
      topic: 'events',
      events: ['hit'],
      where: null,
      set: {},
      triggerMs: 10_000,
      from: 'earliest',
    })
  })

  test('a definition is plain data: JSON gives it back', () => {
    const definition = compiled({
      events: {
        a: { route: 'POST /a', params: z.object({ b: z.iso.date() }), fixed: { c: 1.5 } },
      },
      tables: { t: { from: '*' } },
      settings: { durability: 'os', corsOrigins: ['*'] },
    })
    expect(JSON.parse(JSON.stringify(definition))).toEqual(definition)
  })
})

describe('routes', () => {
  test('one, several with one reply, several with a reply each', () => {
    const { events } = compiled({
      events: {
        a: { route: 'GET /', reply: 'A\n' },
        b: { route: ['GET /b', 'POST /b'], reply: 'B\n' },
        c: { route: { 'GET /c': 'C\n', 'GET /d': '' } },
      },
    })
    expect(events.map(({ routes }) => routes)).toEqual([
      [{ method: 'GET', path: '/', reply: 'A\n' }],
      [
        { method: 'GET', path: '/b', reply: 'B\n' },
        { method: 'POST', path: '/b', reply: 'B\n' },
      ],
      [
        { method: 'GET', path: '/c', reply: 'C\n' },
        { method: 'GET', path: '/d', reply: '' },
      ],
    ])
  })

  test.each<[unknown, RegExp]>([
    ['GET', /must be a method and a path — write 'GET \/path'/],
    [5, /is 5, but must be a method and a path/],
    ['PUT /a', /the method "PUT" is not GET or POST — write 'GET \/a' or 'POST \/a'/],
    ['get /a', /the method "get" is not GET or POST/],
    ['GET a', /no slash at its start — write '\/a'/],
    ['GET /a?b=1', /has a query or fragment — parameters need no route/],
    ['GET /a b', /characters that no URL path has/],
    ['GET /schwert-käufe', /characters that no URL path has/],
    ['GET /%zz', /characters that no URL path has/],
    ['GET /a/../b', /has \. or \.\. in it/],
    ['GET /player/:id', /has a placeholder, but paths are exact/],
    ['GET /files/*', /has a placeholder, but paths are exact/],
    ['GET /_questlog', /\/_questlog belongs to questlog itself/],
    ['GET /_questlog/health', /\/_questlog belongs to questlog itself/],
    ['POST /events', /\/events belongs to questlog itself/],
    ['POST /events/x', /\/events belongs to questlog itself/],
  ])('%j is refused', (route, expected) => {
    const problems = problemsOf({ events: { a: { route } } })
    expect(problems).toHaveLength(1)
    expect(problems[0]).toMatch(/^events\.a\.route: /)
    expect(problems[0]).toMatch(expected)
  })

  test('a path that only begins like one of ours is free', () => {
    compiled({ events: { a: { route: ['GET /events2', 'GET /_questlogs', 'GET /a/events'] } } })
  })

  test('a route belongs to one event', () => {
    const route = 'GET /a'
    expect(problemsOf({ events: { a: { route }, b: { route: ['GET /b', route] } } })).toEqual([
      'events.b.route[1]: GET /a belongs to events.a.route already — remove one of the two, or change its path',
    ])
    expect(problemsOf({ events: { a: { route: [route, route] } } })).toHaveLength(1)
    compiled({ events: { a: { route }, b: { route: 'POST /a' } } })
  })

  test('a reply without a route, or beside replies of their own, is refused', () => {
    expect(problemsOf({ events: { a: { reply: 'x' } } })[0]).toContain('no route to reply on')
    expect(problemsOf({ events: { a: { route: { 'GET /a': 'x' }, reply: 'y' } } })[0]).toMatch(
      /^events\.a\.reply: each route has a reply of its own/,
    )
    expect(problemsOf({ events: { a: { route: { 'GET /a': 5 } } } })[0]).toMatch(
      /^events\.a\.route\["GET \/a"\]: is 5, but must be a text/,
    )
  })
})

describe('a problem names its key and the fix', () => {
  const events = {
    sword: { params: z.object({ color: z.string(), damage: z.int32() }) },
    guild: { topic: 'guilds' },
  }
  const topics = { guilds: {} }
  const withTable = (config: unknown) => ({ topics, events, tables: { t: config } })
  test.each<[unknown, string]>([
    [
      undefined,
      ': is missing, but must be the result of defineConfig({ … }) — write the result of defineConfig({ … })',
    ],
    [
      {},
      'events: is missing, but must be an object of events by event_type — write an object of events by event_type',
    ],
    [{ events: {}, evnts: {} }, 'evnts: there is no key evnts here — did you mean events?'],
    [
      { events: {}, zzz: {} },
      'zzz: there is no key zzz here — remove it; the keys are namespace, topics, events, tables, settings',
    ],
    [
      { events: {}, namespace: 'My Game' },
      'namespace: "My Game" is no name for a namespace — use a-z, 0-9 and _, a letter first',
    ],
    [
      { events: {}, namespace: 'questlog' },
      'namespace: questlog is taken by the system — choose another name',
    ],
    [{ events: {}, namespace: 5 }, 'namespace: is 5, but must be a text — write it in quotes'],
    [
      { events: {}, topics: { 'a b': {} } },
      'topics["a b"]: "a b" is no name for a topic — use 1 to 249 characters of a-z, A-Z, 0-9, ".", "_" and "-"',
    ],
    [
      { events: {}, topics: { __x: {} } },
      'topics.__x: names that begin with __ belong to the system — choose another name',
    ],
    [
      { events: {}, topics: { a: { partitions: 0 } } },
      'topics.a.partitions: is 0, but must be a whole number from 1 to 1000 — write a whole number from 1 to 1000',
    ],
    [
      { events: {}, topics: { a: { maxMessageBytes: '5MB' } } },
      'topics.a.maxMessageBytes: is "5MB", but must be a whole number from 1024 to 104857600 — write a whole number from 1024 to 104857600',
    ],
    [
      { events: {}, topics: { a: { retention: 7 } } },
      "topics.a.retention: is 7, but must be a time with its unit — write '90s', '30m', '12h' or '7d'",
    ],
    [
      { events: {}, topics: { a: { retention: '999ms' } } },
      'topics.a.retention: "999ms" is out of range — write from 1s to 36500d',
    ],
    [
      { events: {}, topics: { a: { retentionBytes: -1 } } },
      'topics.a.retentionBytes: is -1, but must be a whole number from 0 to 1125899906842624 — write a whole number from 0 to 1125899906842624',
    ],
    [
      { events: {}, topics: { a: { maxMesageBytes: 1 } } },
      'topics.a.maxMesageBytes: there is no key maxMesageBytes here — did you mean maxMessageBytes?',
    ],
    [
      { events: { a: 5 } },
      "events.a: is 5, but must be event({ route: 'GET /…', … }) — write event({ route: 'GET /…', … })",
    ],
    [
      { events: { a: { replay: 'x' } } },
      'events.a.replay: there is no key replay here — did you mean reply?',
    ],
    [
      { events: { 'a\n': {} } },
      'events["a\\n"]: "a\\n" is no event_type — use 1 to 200 characters without line breaks or spaces around them; * stands for all events',
    ],
    [
      { events: { '*': {} } },
      'events["*"]: "*" is no event_type — use 1 to 200 characters without line breaks or spaces around them; * stands for all events',
    ],
    [
      { events: { a: { topic: 'evnts' } } },
      "events.a.topic: there is no topic evnts — did you mean events? Otherwise add it: topics: { 'evnts': { partitions: 1 } }",
    ],
    [
      { events: { a: { headers: 'no' } } },
      'events.a.headers: is "no", but must be true or false — write true or false',
    ],
    [{ events: { a: { key: '' } } }, "events.a.key: is empty — name a field, such as key: 'Host'"],
    [
      { events: { a: { onInvalid: 'drop' } } },
      "events.a.onInvalid: is \"drop\", but must be 'set-aside' or 'reject' — write 'set-aside' or 'reject'",
    ],
    [
      { events: { a: { params: z.object({ timestamp: z.string() }) } } },
      "events.a.params.timestamp: timestamp is reserved for questlog's own columns — rename it, or leave it out: the field stays in raw_event",
    ],
    [
      { events: { a: { params: z.object({ _x: z.string() }) } } },
      "events.a.params._x: _x is reserved for questlog's own columns — rename it, or leave it out: the field stays in raw_event",
    ],
    [
      { events: { a: { params: z.object({ host: z.string() }) } } },
      'events.a.params.host: host and the column Host differ in case only — write Host for the header, or rename it',
    ],
    [
      { events: { a: { params: z.object({ Host: z.number() }) } } },
      'events.a.params.Host: Host is a text column of every table, but is declared as double — declare it as text, or leave it out: the column is there without it',
    ],
    [
      { events: { a: { fixed: { event_type: 'b' } } } },
      'events.a.fixed.event_type: the event_type is the name of the event — remove it',
    ],
    [
      { events: { a: { fixed: { raw_event: 'b' } } } },
      "events.a.fixed.raw_event: raw_event is reserved for questlog's own columns — rename it, or leave it out: the field stays in raw_event",
    ],
    [
      { events: { a: { fixed: { b: null } } } },
      'events.a.fixed.b: is null, but must be one plain value — write a text, a number, true or false',
    ],
    [
      { events: { a: { fixed: { b: Number.NaN } } } },
      'events.a.fixed.b: is NaN, but must be one plain value — write a text, a number, true or false',
    ],
    [
      { events: { a: { fixed: { b: 'x', B: 'y' } } } },
      'events.a.fixed.B: B and b differ in case only — write b, or rename it',
    ],
    [
      { events: { a: { params: z.object({ b: z.int32() }), fixed: { b: 1.5 } } } },
      'events.a.fixed.b: 1.5 does not fit the declared type int — change the value, or the type under params',
    ],
    [
      { events: {}, settings: { bodyBytesMx: 1 } },
      'settings.bodyBytesMx: there is no setting bodyBytesMx — did you mean bodyBytesMax? Otherwise remove it; docs/reference/settings.md lists all',
    ],
    [
      { events: {}, settings: { bodyBytesMax: 'much' } },
      'settings.bodyBytesMax: setting bodyBytesMax is "much", but must be a whole number from 1 to 1073741824 — see docs/reference/settings.md',
    ],
    [
      { events: {}, settings: { toString: 'x' } },
      'settings.toString: there is no setting toString — remove it; docs/reference/settings.md lists all',
    ],
    [
      { events: {}, settings: { bodyBytesMax: {} } },
      'settings.bodyBytesMax: is an object — write a number, a text or a list of texts',
    ],
    [
      { events: {}, tables: { Swords: { from: '*' } } },
      'tables.Swords: "Swords" is no name for a table — use a-z, 0-9 and _, a letter first',
    ],
    [
      { events: {}, tables: { _x: { from: '*' } } },
      'tables._x: "_x" is no name for a table — use a-z, 0-9 and _, a letter first',
    ],
    [
      withTable({ from: 'swrod' }),
      'tables.t.from: there is no event "swrod" — did you mean sword? Otherwise declare it under events, or name one of sword, guild',
    ],
    [
      withTable({ from: ['sword', 'x'] }),
      'tables.t.from[1]: there is no event "x" — declare it under events, or name one of sword, guild',
    ],
    [withTable({ from: ['*'] }), "tables.t.from[0]: * stands alone — write from: '*'"],
    [
      withTable({}),
      "tables.t.from: the table takes no event — write from: 'sword', or '*' for every event",
    ],
    [
      withTable({ from: [] }),
      "tables.t.from: the table takes no event — write from: 'sword', or '*' for every event",
    ],
    [
      withTable({ from: ['sword', 'guild'] }),
      'tables.t.from: its events lie on several topics: events, guilds — a table reads one topic: make one table for each, or give the events the same topic',
    ],
    [
      withTable({ from: '*' }),
      "tables.t.from: * stands for every event of a topic, but there are several: events, guilds — add topic: 'events'",
    ],
    [
      withTable({ from: '*', topic: 'guild' }),
      'tables.t.topic: no event lies on the topic guild — did you mean guilds? Otherwise name one of events, guilds',
    ],
    [
      withTable({ from: 'sword', topic: 'guilds' }),
      'tables.t.topic: its events lie on events, not on guilds — remove topic',
    ],
    [
      withTable({ from: 'sword', trigger: 'soon' }),
      "tables.t.trigger: is \"soon\", but must be a time with its unit — write '10s', '500ms', '1m' or '1h'",
    ],
    [
      withTable({ from: 'sword', trigger: 10 }),
      "tables.t.trigger: is 10, but must be a time with its unit — write '10s', '500ms', '1m' or '1h'",
    ],
    [
      withTable({ from: 'sword', trigger: '99ms' }),
      'tables.t.trigger: "99ms" is out of range — write from 100ms to 24h',
    ],
    [
      withTable({ from: 'sword', startAt: 'now' }),
      "tables.t.startAt: is \"now\", but must be 'earliest' or 'latest' — write 'earliest' or 'latest'",
    ],
    [
      withTable({ from: 'sword', where: ' ' }),
      'tables.t.where: is empty — write a SQL expression, or remove it',
    ],
    [
      withTable({ from: 'sword', set: { colour: '1' } }),
      'tables.t.set.colour: the table has no column colour — did you mean color? Otherwise declare it under params of one of its events',
    ],
    [
      withTable({ from: 'sword', set: { _offset: '1' } }),
      "tables.t.set._offset: _offset is questlog's own column and stays as it is — remove it",
    ],
    [
      withTable({ from: 'sword', columns: 'color' }),
      "tables.t.columns: is \"color\", not a list of names — write columns: ['damage', 'color']",
    ],
    [
      withTable({ from: 'sword', renamed: { colour: 'hue' } }),
      'tables.t.renamed.colour: the table has no column colour — did you mean color? Otherwise declare it under params of one of its events',
    ],
    [
      withTable({ from: 'sword', renamed: { color: '_offset' } }),
      'tables.t.renamed.color: _offset is in every table and stays — remove it',
    ],
    [
      withTable({ from: 'sword', dropped: ['color'] }),
      'tables.t.dropped[0]: color is a column of the table now — name a former column',
    ],
    [
      withTable({ from: 'sword', renamed: { color: 'hue' }, dropped: ['hue'] }),
      'tables.t.dropped[0]: hue is renamed — drop it or rename it',
    ],
    [
      withTable({ from: 'sword', format: 'parquet' }),
      "tables.t.format: is \"parquet\", but must be 'iceberg' or 'hive' — write 'iceberg' or 'hive'",
    ],
    [
      withTable({ from: 'sword', format: 'hive', renamed: { color: 'hue' } }),
      "tables.t.renamed: programs that read a folder go by the names in its files: no column of a table with format 'hive' can be renamed — declare the new name as a further column, or begin anew with a table of its own",
    ],
    [
      withTable({ from: 'sword', columns: ['colour'] }),
      'tables.t.columns[0]: no event of this table declares colour — did you mean color? Otherwise declare it under params, or remove it',
    ],
  ])('%j', (config, expected) => {
    expect(problemsOf(config)).toEqual([expected])
  })

  test('all problems are told at once', () => {
    const config = {
      namespace: 'log',
      topics: { a: { partitions: -1 } },
      events: { a: { route: 'a' }, b: { params: 5 } },
      tables: { t: { from: 'c', trigger: 'x' } },
      settings: { a: 1 },
    }
    expect(problemsOf(config)).toHaveLength(7)
  })
})

describe('the columns of a table', () => {
  test('are the union of its events in order of first appearance, then fixed fields', () => {
    const definition = compiled({
      events: {
        a: { params: z.object({ x: z.string(), n: z.int32() }), fixed: { kind: 'a', level: 3 } },
        b: {
          params: z.object({ y: z.number(), n: z.int() }),
          fixed: { rate: 0.5, ok: true, y: 1 },
        },
        c: {},
      },
      tables: { t: { from: '*' }, u: { from: ['b', 'c'] } },
    })
    const fixed = ['rate double', 'ok boolean']
    expect(ownColumns(definition)).toEqual([
      'x string',
      'n long',
      'y double',
      'kind string',
      'level long',
      ...fixed,
    ])
    expect(ownColumns(definition, 1)).toEqual(['y double', 'n long', ...fixed])
    expect(definition.tables.map(({ events }) => events)).toEqual([null, ['b', 'c']])
  })

  test('a declared header column adds nothing, any other header can be declared', () => {
    const definition = compiled({
      events: {
        a: { params: z.object({ Host: z.string(), 'Cache-Control': z.string().optional() }) },
      },
      tables: { t: { from: 'a', set: { Host: "'moe'", 'Cache-Control': "'no-cache'" } } },
    })
    expect(ownColumns(definition)).toEqual(['Cache-Control string'])
    expect(definition.events[0]?.required).toEqual(['Host'])
    expect(definition.tables[0]?.set).toEqual({ Host: "'moe'", 'Cache-Control': "'no-cache'" })
  })

  test('columns chooses and orders them', () => {
    const definition = compiled({
      events: { a: { params: z.object({ x: z.string(), y: z.string(), z: z.string() }) } },
      tables: { t: { from: 'a', columns: ['z', 'x', 'Host'] }, u: { from: 'a', columns: [] } },
    })
    expect(ownColumns(definition)).toEqual(['z string', 'x string'])
    expect(ownColumns(definition, 1)).toEqual([])
  })

  test('a type that differs between events is refused, unless the column is left out', () => {
    const events = {
      a: { params: z.object({ x: z.string() }) },
      b: { params: z.object({ x: z.boolean(), y: z.string() }) },
      c: { params: z.object({ X: z.string() }) },
      d: { fixed: { y: 5, x: true } },
    }
    expect(problemsOf({ events, tables: { t: { from: ['a', 'b'] } } })).toEqual([
      "tables.t.from: column x is string in a and boolean in b — declare the same type in both, or list the table's columns without it: columns: […]",
    ])
    expect(problemsOf({ events, tables: { t: { from: ['a', 'c'] } } })).toEqual([
      'tables.t.from: x of a and X of c are one column: names are compared without regard to case — write both the same way',
    ])
    // A fixed number goes into a text column, as every value of a query does.
    compiled({
      events,
      tables: { t: { from: ['b', 'd'] }, u: { from: ['a', 'b'], columns: ['y'] } },
    })
  })
})

test.each([
  ['500ms', 500],
  ['10s', 10_000],
  ['1m', 60_000],
  ['1h', 3_600_000],
  ['24h', 86_400_000],
])('trigger %s is %i ms', (trigger, expected) => {
  const { tables } = compiled({ events: { a: {} }, tables: { t: { from: 'a', trigger } } })
  expect(tables[0]?.triggerMs).toBe(expected)
})

test('topics are declared with partitions and the limit as a Kafka config; events is there when something uses it', () => {
  const { topics } = compiled({
    topics: { attempts: { partitions: 3, maxMessageBytes: 5_242_880 } },
    events: { a: { topic: 'attempts' }, b: {} },
    tables: { t: { from: '*', topic: 'attempts' } },
  })
  expect(topics).toEqual([
    { name: 'events', partitions: 1, configs: {} },
    { name: 'attempts', partitions: 3, configs: { 'max.message.bytes': '5242880' } },
  ])
  expect(compiled({ events: {} }).topics).toEqual([])
})

test('retention becomes the Kafka configs of the topic', () => {
  const { topics } = compiled({
    topics: { events: { retention: '7d', retentionBytes: 1_000_000 } },
    events: { a: {} },
  })
  expect(topics[0]?.configs).toEqual({ 'retention.ms': '604800000', 'retention.bytes': '1000000' })
})

test('names of JavaScript itself are names like others', () => {
  const { events } = compiled({ events: { constructor: {}, toString: { fixed: { valueOf: 1 } } } })
  expect(events.map(({ type }) => type)).toEqual(['constructor', 'toString'])
})

test('the editor refuses a table of an event that is not declared, and keys that do not exist', () => {
  defineConfig({
    events: { sword: event({}), guild: event({ route: { 'GET /a': 'x' } }) },
    tables: {
      a: table({ from: 'sword' }),
      b: table({ from: ['sword', 'guild'] }),
      c: table({ from: '*', trigger: '500ms' }),
      d: { from: 'guild' },
      // @ts-expect-error no such event
      e: table({ from: 'swrod' }),
      // @ts-expect-error no such event
      f: { from: ['guild', 'swrod'] },
    },
    settings: { durability: 'os', bodyBytesMax: 5 },
  })
  // @ts-expect-error no such key
  event({ replay: 'x' })
  // @ts-expect-error a route has a method
  event({ route: '/a' })
  // @ts-expect-error a trigger has a unit
  table({ from: 'a', trigger: '10' })
  // @ts-expect-error no such setting
  defineConfig({ events: {}, settings: { nothing: 1 } })
  event({ params: z.object({ a: z.string() }) })
  event({ params: { type: 'object', properties: {} } })
  // @ts-expect-error no schema
  event({ params: 5 })
})
