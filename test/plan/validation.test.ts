import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { ColumnType } from '../../src/plan/columns.ts'
import { findMisfit, findTypeMisfit, parseExact } from '../../src/plan/validation.ts'

const fits = (type: ColumnType, value: unknown) => findTypeMisfit(type, value, 'x') === undefined

const decimal: ColumnType = { kind: 'decimal', precision: 5, scale: 2 }
const cases: readonly (readonly [ColumnType, readonly unknown[], readonly unknown[]])[] = [
  [{ kind: 'string' }, ['', 'a', 5, true, 1.5], [[], {}]],
  [{ kind: 'boolean' }, [true, false, 'true', 'false', '1', '0', 1, 0], ['yes', 'True', 2, '', {}]],
  [
    { kind: 'int' },
    ['5', 5, 5.0, '5.0', '1e3', 1e3, '-0', '007', '2147483647', -2147483648, '10e-1', '0.0'],
    [
      5.7,
      '5.7',
      true,
      'true',
      '',
      ' 5',
      '5 ',
      '+5',
      '0x10',
      '2147483648',
      '1e10',
      '1e999999999',
      'five',
      '.5',
      [5],
      {},
    ],
  ],
  [
    { kind: 'long' },
    ['9223372036854775807', '-9223372036854775808', 5, '1e18'],
    ['9223372036854775808', '-9223372036854775809', 5.5, 1e19, false],
  ],
  [
    { kind: 'double' },
    ['5', 5.7, '-1.5e-7', 1e300, '007'],
    ['NaN', 'Infinity', '1e400', true, '', '1,5'],
  ],
  [
    decimal,
    ['123.45', 123.45, '-0.10', '1e2', '123.450', 0, '0e99'],
    ['1234', '1.234', '1e3', 'x', true],
  ],
  [
    { kind: 'date' },
    ['2018-07-26', '2020-02-29'],
    ['2018-02-29', '2018-13-01', '2018-7-26', '26.07.2018', 20180726],
  ],
  [
    { kind: 'timestamptz' },
    [
      '2018-07-26T22:36:27Z',
      '2018-07-26 22:36:27.123456',
      '2018-07-26T22:36+02:00',
      '2018-07-26T22:36:27-0530',
      '2018-07-26',
    ],
    [
      '2018-07-26T24:00:00Z',
      '2018-02-30T00:00:00Z',
      '22:36:27',
      1532644587,
      '2018-07-26T22:36:27 Z',
      '',
    ],
  ],
  [{ kind: 'timestamp' }, ['2018-07-26T22:36:27'], ['yesterday', true]],
  [
    { kind: 'uuid' },
    ['1B4E28BA-2fa1-11d2-883f-0016d3cca427'],
    ['1b4e28ba2fa111d2883f0016d3cca427', 'x', 5],
  ],
  [{ kind: 'binary' }, ['', 'AAEC', 'aGk='], ['aGk', 'a-k=', 5, {}]],
  [
    { kind: 'list', element: { kind: 'int' } },
    [[], [1, '2', null]],
    ['[1]', { 0: 1 }, [1, 'x'], 5],
  ],
  [{ kind: 'map', value: { kind: 'int' } }, [{}, { a: 1, b: '2' }], [[], 'x', { a: 'b' }]],
  [
    { kind: 'struct', fields: [{ name: 'a', type: { kind: 'int' } }] },
    [{}, { a: 1 }, { a: null }, { other: 'x' }],
    [[], { a: 'x' }, 'x'],
  ],
]

describe('the types of declared parameters', () => {
  for (const [type, good, bad] of cases) {
    test(`${type.kind} takes what fits and nothing else`, () => {
      for (const value of good) expect([value, fits(type, value)]).toEqual([value, true])
      for (const value of bad) expect([value, fits(type, value)]).toEqual([value, false])
    })
  }

  test('null and absence fit every type', () => {
    for (const [type] of cases) {
      expect(fits(type, null)).toBe(true)
      expect(fits(type, undefined)).toBe(true)
    }
  })

  test('every safe integer fits a long as number and as text', () => {
    fc.assert(
      fc.property(fc.maxSafeInteger(), (value) => {
        expect(fits({ kind: 'long' }, value)).toBe(true)
        expect(fits({ kind: 'long' }, String(value))).toBe(true)
      }),
    )
  })

  test('a 64-bit integer is judged by its digits, beyond what a double tells apart', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -(2n ** 66n), max: 2n ** 66n }), (value) => {
        const read = parseExact(`{"x":${value}}`) as Record<string, unknown>
        expect(fits({ kind: 'long' }, read['x'])).toBe(BigInt.asIntN(64, value) === value)
      }),
    )
  })

  test('any double that is printed as JSON fits a double', () => {
    fc.assert(
      fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (value) => {
        expect(fits({ kind: 'double' }, value)).toBe(true)
        expect(fits({ kind: 'double' }, JSON.stringify(value))).toBe(true)
      }),
    )
  })
})

describe('an event against its declaration', () => {
  const event = {
    required: ['player'],
    params: [
      { name: 'player', type: { kind: 'string' as const } },
      {
        name: 'items',
        type: {
          kind: 'list' as const,
          element: {
            kind: 'struct' as const,
            fields: [{ name: 'id', type: { kind: 'int' as const } }],
          },
        },
      },
    ],
  }

  test('a required parameter must be there and not be null', () => {
    expect(findMisfit(event, {})).toEqual({ path: 'player', expected: 'a value', got: 'nothing' })
    expect(findMisfit(event, { player: null })).toMatchObject({ path: 'player', got: 'null' })
    expect(findMisfit(event, { player: '' })).toBeUndefined()
  })

  test('the path leads to the value that does not fit', () => {
    expect(findMisfit(event, { player: 'a', items: [{ id: 1 }, { id: 5.7 }] })).toEqual({
      path: 'items[1].id',
      expected: 'int',
      got: '5.7',
    })
  })

  test('names of Object.prototype are absent like any other name', () => {
    const declared = {
      required: ['constructor'],
      params: [{ name: 'toString', type: { kind: 'int' as const } }],
    }
    expect(findMisfit(declared, {})).toMatchObject({ path: 'constructor', got: 'nothing' })
    expect(findMisfit({ ...declared, required: [] }, {})).toBeUndefined()
  })

  test('a long value is cut in the message', () => {
    const misfit = findTypeMisfit({ kind: 'int' }, 'x'.repeat(100_000), 'level')
    expect(misfit?.got.length).toBeLessThan(100)
  })

  test('repeated nested names of exactly read JSON do not throw', () => {
    expect(parseExact('{"a":{"b":1,"b":2}}')).toBeDefined()
  })
})
