import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decodeHeaderValue, splitFields, splitTarget } from '../../src/collect/fields.ts'
import { canonicalName } from '../../src/collect/header-fragment.ts'

const latin1 = (text: string) => Buffer.from(text, 'utf8').toString('latin1')

describe('query and form fields', () => {
  test('are what the WHATWG parser makes of the same text', () => {
    const text = fc.oneof(
      fc.stringMatching(/^[a-c=&+%0-9A-F;]{0,30}$/),
      fc.string({ unit: 'grapheme', maxLength: 20 }),
    )
    fc.assert(
      fc.property(text, (source) => {
        const expected = [...new URLSearchParams(`${source}&`)].flat()
        // URLSearchParams takes off a leading question mark; a query has lost its own already.
        fc.pre(!source.startsWith('?'))
        expect(splitFields(latin1(source))).toEqual(expected)
      }),
      { numRuns: 1000 },
    )
  })

  test('keep bad percent-escapes and replace what is not UTF-8', () => {
    expect(splitFields('a=%zz&b=%&c=%4&d=%ff&e=%ed%a0%80&%f0%9f=x')).toEqual([
      'a',
      '%zz',
      'b',
      '%',
      'c',
      '%4',
      'd',
      '\ufffd',
      'e',
      '\ufffd\ufffd\ufffd',
      '\ufffd',
      'x',
    ])
  })

  test('keep empty values and names', () => {
    expect(splitFields('a&b=&=c&&')).toEqual(['a', '', 'b', '', '', 'c'])
    expect(splitFields('')).toEqual([])
  })

  test('come out as they went in through URLSearchParams', () => {
    const pairs = fc.array(
      fc.tuple(fc.string({ unit: 'grapheme' }), fc.string({ unit: 'grapheme' })),
    )
    fc.assert(
      fc.property(pairs, (list) => {
        expect(splitFields(new URLSearchParams(list).toString())).toEqual(list.flat())
      }),
    )
  })
})

test('a header value is UTF-8 if its bytes are, else one character a byte', () => {
  expect(decodeHeaderValue('plain')).toBe('plain')
  expect(decodeHeaderValue(latin1('Übung ⚔'))).toBe('Übung ⚔')
  expect(decodeHeaderValue('\u00dcbung')).toBe('Übung')
})

test('header names have one spelling', () => {
  expect(
    ['user-agent', 'USER-AGENT', 'User-agent', 'dnt', 'event_type', '-a-'].map(canonicalName),
  ).toEqual(['User-Agent', 'User-Agent', 'User-Agent', 'Dnt', 'Event_type', '-A-'])
})

test('a target is split into path and query, also when it is absolute', () => {
  expect(splitTarget('/a?b=c?d')).toEqual({ path: '/a', query: 'b=c?d' })
  expect(splitTarget('http://game:5000/a?b')).toEqual({ path: '/a', query: 'b' })
  expect(splitTarget('http://game')).toEqual({ path: '/', query: '' })
  expect(splitTarget('*')).toEqual({ path: '*', query: '' })
})
