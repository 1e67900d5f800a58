import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { lowerBound, upperBound } from '../../src/lake/bounds.ts'

const characters = fc.string({ unit: 'binary', maxLength: 40 })
const highCharacters = fc.string({
  unit: fc.constantFrom('a', '\ud7ff', '\ue000', '\uffff', '\u{10000}', '\u{10ffff}'),
  maxLength: 40,
})

describe('bounds', () => {
  test('of text enclose it in UTF-8 order, with at most 16 characters', () => {
    fc.assert(
      fc.property(fc.oneof(characters, highCharacters), (text) => {
        const value = Buffer.from(text)
        const lower = lowerBound('string', text) ?? Buffer.alloc(0)
        const upper = upperBound('string', text)
        expect(Buffer.compare(lower, value)).toBeLessThanOrEqual(0)
        if (upper !== undefined) expect(Buffer.compare(value, upper)).toBeLessThanOrEqual(0)
        for (const bound of [lower, upper ?? Buffer.alloc(0)]) {
          const shown = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bound)
          expect(Array.from(shown).length).toBeLessThanOrEqual(16)
        }
      }),
    )
  })

  test('of binary enclose it, with at most 16 bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 30 }), (bytes) => {
        const value = Buffer.from(bytes)
        const lower = lowerBound('binary', value.toString('hex')) ?? Buffer.alloc(0)
        const upper = upperBound('binary', value.toString('hex').toUpperCase())
        expect(Buffer.compare(lower, value)).toBeLessThanOrEqual(0)
        expect(lower.length).toBeLessThanOrEqual(16)
        if (upper !== undefined) expect(Buffer.compare(value, upper)).toBeLessThanOrEqual(0)
        expect(upper?.length ?? 0).toBeLessThanOrEqual(16)
      }),
    )
  })

  test('that can not be raised are left out', () => {
    expect(upperBound('string', '\u{10ffff}'.repeat(17))).toBeUndefined()
    expect(upperBound('binary', 'ff'.repeat(17))).toBeUndefined()
    expect(upperBound('string', `a${'\u{10ffff}'.repeat(17)}`)?.toString()).toBe('b')
    expect(upperBound('string', `${'a'.repeat(15)}\ud7ffz`)?.toString()).toBe(
      `${'a'.repeat(15)}\ue000`,
    )
  })

  test.each([
    ['boolean', '1', '01'],
    ['boolean', '0', '00'],
    ['int', '-5', 'fbffffff'],
    ['long', '9007199254740993', '0100000000002000'],
    ['double', '1.5', '000000000000f83f'],
    ['double', '-inf', '000000000000f0ff'],
    ['date', '1969-12-31', 'ffffffff'],
    ['date', '2024-02-29', '464d0000'],
    ['timestamp', '1970-01-01 00:00:00.000001', '0100000000000000'],
    ['timestamp', '1969-12-31 23:59:59.999999', 'ffffffffffffffff'],
    ['timestamptz', '1970-01-01 00:00:01+00', '40420f0000000000'],
    ['timestamptz', '1970-01-01 05:30:01+05:30', '40420f0000000000'],
    ['decimal(10, 2)', '-12.34', 'fb2e'],
    ['decimal(10, 2)', '1.28', '0080'],
    ['decimal(38, 3)', '0.000', '00'],
  ])('of %s %s are %s', (type, text, hex) => {
    expect(lowerBound(type, text)?.toString('hex')).toBe(hex)
    expect(upperBound(type, text)?.toString('hex')).toBe(hex)
  })

  test('treat both zeros as one value', () => {
    for (const zero of ['0.0', '-0.0']) {
      expect(lowerBound('double', zero)?.toString('hex')).toBe('0000000000000080')
      expect(upperBound('double', zero)?.toString('hex')).toBe('0000000000000000')
    }
  })

  test('of times that have no place in the calendar are left out', () => {
    for (const text of ['infinity', '-infinity', '0044-03-15 (BC)', '294246-01-01 00:00:00+00'])
      expect(lowerBound('timestamptz', text)).toBeUndefined()
  })
})
