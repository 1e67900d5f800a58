import * as fc from 'fast-check'
import { afterEach, describe, expect, test } from 'vitest'
import { JsonScanner } from '../../src/collect/json-scan.ts'
import { ObjectShape } from '../../src/collect/object-shape.ts'
import { post, resultsOf, start, stopAll } from './harness.ts'

afterEach(stopAll)

const limits = { jsonDepthMax: 10, jsonValuesMax: 1_000 }
const shape = new ObjectShape(limits)

/** Whether the text alone is read, with others before and behind it as in a body. */
function reads(text: string): boolean {
  const bytes = Buffer.from(text)
  const around = Buffer.concat([Buffer.from('{"'), bytes, Buffer.from('"}]0')])
  const isRead = shape.read(around, 2, 2 + bytes.length)
  expect(shape.read(bytes, 0, bytes.length)).toBe(isRead)
  return isRead
}

const slice = (text: string, start: number | undefined, end: number | undefined) =>
  Buffer.from(text).toString('utf8', start, end)

/** Names and texts of the values, as they were read. */
function membersOf(text: string): [string, string][] {
  expect(shape.read(Buffer.from(text), 0, Buffer.byteLength(text))).toBe(true)
  return Array.from({ length: shape.members }, (_, member) => [
    slice(text, shape.nameStarts[member], shape.nameEnds[member]),
    slice(text, shape.valueStarts[member], shape.valueEnds[member]),
  ])
}

/** What is said of a text that is read holds for JSON.parse and the scanner, too. */
function requireTruth(text: string): void {
  if (!reads(text)) return
  const members = membersOf(text)
  const parsed = JSON.parse(text) as Record<string, unknown>
  expect(Array.isArray(parsed)).toBe(false)
  expect(new Set(members.map(([name]) => name))).toEqual(new Set(Object.keys(parsed)))
  for (const [name, value] of members) expect(JSON.parse(value)).toEqual(parsed[name])
  const scanner = new JsonScanner(limits.jsonDepthMax)
  expect(scanner.scan(Buffer.from(text), 0, Buffer.byteLength(text))).toBe(Buffer.byteLength(text))
  const { members: count, compact, plainNames, tooDeep, values } = scanner
  expect({ count, compact, plainNames, tooDeep }).toEqual({
    count: Object.keys(parsed).length,
    compact: true,
    plainNames: true,
    tooDeep: false,
  })
  expect(values).toBeLessThanOrEqual(limits.jsonValuesMax)
}

const plainName = fc.string({ unit: 'grapheme' }).filter((name) => !/["\\\p{Cc}]/u.test(name))
const plainObject = fc.dictionary(plainName, fc.jsonValue({ maxDepth: 4 }), { maxKeys: 12 })

describe('the shape of an object', () => {
  test('is read of every compact object with plain names', () => {
    fc.assert(
      fc.property(plainObject, (object) => {
        const text = JSON.stringify(object)
        expect(reads(text)).toBe(true)
        requireTruth(text)
      }),
    )
  })

  test('is read of nothing that JSON.parse refuses, or that needs work before it is kept', () => {
    const noise = fc.constantFrom(
      '{',
      '}',
      '[',
      ']',
      '"',
      ',',
      ':',
      '\\',
      ' ',
      '\n',
      '\u0001',
      '\\u12',
      '-',
      '0',
      '1e',
      '.5',
      'tru',
      'null',
    )
    const edit = fc.tuple(fc.nat(), fc.nat(3), noise)
    fc.assert(
      fc.property(plainObject, fc.array(edit, { minLength: 1, maxLength: 3 }), (object, edits) => {
        const text = edits.reduce((before, [at, removed, added]) => {
          const place = at % (before.length + 1)
          return before.slice(0, place) + added + before.slice(place + removed)
        }, JSON.stringify(object))
        requireTruth(text.toWellFormed())
      }),
      { numRuns: 2_000 },
    )
  })

  test('is read to the letter of the grammar', () => {
    const taken = [
      '{}',
      '{"":0}',
      '{"a":-0.5E+10}',
      '{"a":[[],{}],"b":{"a":{}}}',
      '{"é":"\\u00e9\\n"}',
    ]
    for (const text of taken) expect([text, reads(text)]).toEqual([text, true])
    const left = [
      '',
      '{',
      '[]',
      '"a"',
      '1',
      '{}x',
      '{"a"}',
      '{"a":}',
      '{"a":1,}',
      '{,}',
      '{"a":1"b":2}',
      '{"a":01}',
      '{"a":-}',
      '{"a":1.}',
      '{"a":.5}',
      '{"a":1e}',
      '{"a":+1}',
      '{"a":0x1}',
      '{"a":NaN}',
      '{"a":tru}',
      '{"a":nulll}',
      '{"a":"\\x"}',
      '{"a":"\\u12g4"}',
      '{"a":"\t"}',
      '{"a":"b}',
      '{"a":[1}',
      '{"a":[1,]}',
      '{"a":{1:2}}',
      '{a:1}',
      "{'a':1}",
      '{"a":1}}',
      '{"a":1}{"b":2}',
      '{"a":1,"a":2}',
      '{ }',
      '{"a": 1}',
      '{"a":1 }',
      '{"\\u0061":1}',
      `{"a":${'['.repeat(10)}${']'.repeat(10)}}`,
      `{${Array.from({ length: 33 }, (_, index) => `"${index}":0`).join(',')}}`,
    ]
    for (const text of left) expect([text, reads(text)]).toEqual([text, false])
  })
})

describe('an event that is not parsed', () => {
  const names = ['event_type', 'Event_Type', 'event_id', 'created_at', 'description', 'a', 'player']
  const types = [
    '"bare"',
    '"purchase_sword"',
    '"purchase_knife"',
    '"keyed"',
    '"strict"',
    '"b\\u0061re"',
    '"none"',
    '7',
  ]
  const value = fc.oneof(fc.constantFrom(...types), fc.json({ maxDepth: 2 }))
  const members = fc.array(fc.tuple(fc.constantFrom(...names), value), { maxLength: 5 })
  const line = fc
    .tuple(fc.constantFrom(...types), members)
    .map(([type, others]) => [['event_type', type] as const, ...others])

  test('is kept, answered and counted as one that is', async () => {
    const { port, log } = await start()
    await fc.assert(
      fc.asyncProperty(fc.array(line, { minLength: 1, maxLength: 20 }), async (lines) => {
        const texts = lines.map((list) =>
          list.map(([name, text]) => `${JSON.stringify(name)}:${text}`).join(','),
        )
        const keptOf = async (body: string) => {
          const before = log.records.length
          const { results } = resultsOf(await post(port, '/events', body, 'application/x-ndjson'))
          return {
            answers: results.map(({ status, error }) => ({ status, error })),
            records: log.records.slice(before),
          }
        }
        // White space has to be taken out, so that these are parsed.
        const parsed = await keptOf(texts.map((text) => `{ ${text}}`).join('\n'))
        expect(await keptOf(texts.map((text) => `{${text}}`).join('\n'))).toEqual(parsed)
      }),
    )
  })
})
