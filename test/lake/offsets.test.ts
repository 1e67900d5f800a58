import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { QuestlogError } from '../../src/core/errors.ts'
import { formatOffsets, parseOffsets } from '../../src/lake/offsets.ts'

const offsets = fc
  .array(
    fc.tuple(
      fc.oneof(fc.uuid(), fc.string(), fc.constant('__proto__')),
      fc
        .array(fc.tuple(fc.nat(1000), fc.maxSafeNat()))
        .map((partitions) => new Map<number, number>(partitions)),
    ),
  )
  .map((topics) => new Map(topics))

describe('offsets of a table', () => {
  test('come back as they were written', () => {
    fc.assert(
      fc.property(offsets, (given) => {
        expect(parseOffsets(formatOffsets(given))).toEqual(given)
      }),
    )
  })

  test('have one text, in whatever order they were collected', () => {
    fc.assert(
      fc.property(offsets, (given) => {
        const turned = new Map(
          [...given].reverse().map(([id, parts]) => [id, new Map([...parts].reverse())]),
        )
        expect(formatOffsets(turned)).toBe(formatOffsets(given))
      }),
    )
  })

  test('are decimal strings by partition by topic id', () => {
    const text = formatOffsets(new Map([['topic-id', new Map([[0, 9007199254740991]])]]))
    expect(text).toBe('{"topic-id":{"0":"9007199254740991"}}')
    expect(parseOffsets(undefined)).toEqual(new Map())
  })

  test.each([
    '',
    '[]',
    '{"a":1}',
    '{"a":{"0":5}}',
    '{"a":{"x":"5"}}',
    '{"a":{"0":"-1"}}',
    '{"a":{"0":"99999999999999999999"}}',
  ])('that nobody wrote are refused: %s', (text) => {
    expect(() => parseOffsets(text)).toThrow(QuestlogError)
    expect(() => parseOffsets(text)).toThrow(/questlog\.offsets/)
  })
})
