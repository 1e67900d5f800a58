import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { cleanEvent } from '../../src/collect/clean-event.ts'
import { compactBytes, compactJson, JsonScanner, scanMembers } from '../../src/collect/json-scan.ts'

/** A JSON text twice: written compact, and with white space wherever the grammar allows it. */
interface Written {
  readonly compact: string
  readonly spaced: string
}

const space = fc.stringMatching(/^[ \t\r\n]{0,2}$/)
const stringText = fc.oneof(
  fc.string({ unit: 'grapheme' }).map((text) => JSON.stringify(text)),
  fc.constantFrom(
    '"\\ud800"',
    '"\\u0000"',
    '"a\\/b"',
    '"\\""',
    '"\\\\"',
    '"{[,: ]}"',
    '"event\\u005ftype"',
    '"event_type"',
    '"__proto__"',
  ),
)
const numberText = fc.oneof(
  fc.constantFrom('0', '-0', '12345678901234567890', '1E400', '5.0', '1e-7', '0.1000'),
  fc.integer().map(String),
)
const leaf = fc
  .oneof(stringText, numberText, fc.constantFrom('true', 'false', 'null'))
  .map((text): Written => ({ compact: text, spaced: text }))
const { value: written } = fc.letrec<{ value: Written; list: Written; object: Written }>((tie) => ({
  value: fc.oneof({ depthSize: 'small', withCrossShrink: true }, leaf, tie('list'), tie('object')),
  list: fc.tuple(fc.array(tie('value'), { maxLength: 3 }), space).map(([items, gap]) => ({
    compact: `[${items.map((item) => item.compact).join(',')}]`,
    spaced: `[${gap}${items.map((item) => item.spaced).join(`${gap},${gap}`)}${gap}]`,
  })),
  object: fc
    .tuple(fc.array(fc.tuple(stringText, tie('value')), { maxLength: 3 }), space)
    .map(([members, gap]) => joinObject(members, gap)),
}))
const members = fc.array(fc.tuple(stringText, written), { maxLength: 5 })

function joinObject(list: readonly (readonly [string, Written])[], gap: string): Written {
  return {
    compact: `{${list.map(([name, value]) => `${name}:${value.compact}`).join(',')}}`,
    spaced: `{${gap}${list.map(([name, value]) => `${name}${gap}:${gap}${value.spaced}`).join(`${gap},${gap}`)}${gap}}`,
  }
}

/** What must come out: names decoded and written again, the first of each name, values as they were. */
function expected(list: readonly (readonly [string, Written])[]): string {
  const kept = new Map<string, string>()
  for (const [name, value] of list) {
    const decoded = JSON.parse(name) as string
    if (!kept.has(decoded)) kept.set(decoded, value.compact)
  }
  return `{${[...kept].map(([name, value]) => `${JSON.stringify(name)}:${value}`).join(',')}}`
}

function clean(text: string, depthMax = 64) {
  const bytes = Buffer.from(text)
  const scanner = new JsonScanner(depthMax)
  const end = scanner.scan(bytes, 0, bytes.length)
  expect(end).toBe(bytes.length)
  return cleanEvent(text, bytes, scanner, 1_000)
}

describe('one JSON object', () => {
  test('becomes compact with each name once, every value with the text it had', () => {
    fc.assert(
      fc.property(members, space, (list, gap) => {
        const { compact, spaced } = joinObject(list, gap)
        for (const text of [compact, spaced]) {
          const event = clean(text)
          expect(event.text).toBe(expected(list))
          expect(event.fields).toEqual(JSON.parse(event.text))
          if (event.bytes !== null) expect(Buffer.from(event.bytes).toString()).toBe(event.text)
        }
      }),
      { numRuns: 500 },
    )
  })

  test('keeps its own bytes when it is already so', () => {
    fc.assert(
      fc.property(members, (list) => {
        const text = expected(list)
        // A name that JSON writes with an escape takes the slow way, to the same result.
        fc.pre(
          !/^[^:]*\\/.test(text) &&
            !scanMembers(text).some(({ name }) => JSON.stringify(name).includes('\\')),
        )
        expect(clean(text).bytes).not.toBeNull()
      }),
    )
  })

  test('has the members that JSON.parse sees', () => {
    fc.assert(
      fc.property(members, space, (list, gap) => {
        const found = scanMembers(joinObject(list, gap).spaced)
        expect(found).toEqual(
          list.map(([name, value]) => ({ name: JSON.parse(name) as string, value: value.compact })),
        )
      }),
    )
  })

  test('loses no character but white space when made compact', () => {
    fc.assert(
      fc.property(written, ({ compact, spaced }) => {
        expect(compactJson(spaced)).toBe(compact)
        expect(compactBytes(Buffer.from(spaced)).toString()).toBe(compact)
      }),
    )
  })

  test('is refused when nested deeper than the limit, before it is parsed', () => {
    const deep = (levels: number) => `{"a":${'['.repeat(levels - 1)}${']'.repeat(levels - 1)}}`
    expect(clean(deep(64)).fields).toBeDefined()
    expect(() => clean(deep(65))).toThrow(/too deep/)
    expect(() => clean(deep(10_000))).toThrow(/too deep/)
    expect(() => clean(deep(1_000_000))).toThrow(/too deep/)
  })

  test('brackets inside of strings are no nesting', () => {
    expect(clean(`{"a":"${'['.repeat(1000)}"}`).bytes).not.toBeNull()
  })
})

test('the scan ends within its bounds on any bytes', () => {
  fc.assert(
    fc.property(fc.stringMatching(/^[{}[\]",:\\ a1]{0,40}$/), fc.nat({ max: 5 }), (text, start) => {
      const bytes = Buffer.from(text)
      const end = new JsonScanner(4).scan(bytes, Math.min(start, bytes.length), bytes.length)
      expect(end).toBeLessThanOrEqual(bytes.length)
    }),
  )
})
