import { homedir } from 'node:os'
import { execFileSync } from 'node:child_process'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  formatAddress,
  formatBytes,
  formatCount,
  formatDuration,
  formatMany,
  formatPath,
  quoteShell,
} from '../../src/app/words.ts'

test('counts are grouped by thousands', () => {
  expect([0, 999, 1000, 41220, 1234567].map(formatCount)).toEqual([
    '0',
    '999',
    '1,000',
    '41,220',
    '1,234,567',
  ])
  expect(formatMany(1, 'event')).toBe('1 event')
  expect(formatMany(0, 'event')).toBe('0 events')
})

test('sizes and times are short', () => {
  expect([0, 999, 1000, 12_300_000, 999_960, 5e12].map(formatBytes)).toEqual([
    '0 B',
    '999 B',
    '1.0 kB',
    '12.3 MB',
    '1.0 MB',
    '5.0 TB',
  ])
  expect([120, 9_900, 61_000, 180_000, 10_000_000, 200_000_000].map(formatDuration)).toEqual([
    '0.1 s',
    '9.9 s',
    '61 s',
    '3 min',
    '2 h',
    '2 d',
  ])
})

test('paths are as a person would type them', () => {
  expect(formatPath('/a/b/c', '/a')).toBe('./b/c')
  expect(formatPath('/a', '/a')).toBe('.')
  expect(formatPath(`${homedir()}/data`, '/elsewhere')).toBe('~/data')
  expect(formatPath('/var/data', '/elsewhere')).toBe('/var/data')
  expect(formatAddress('::1', 80)).toBe('[::1]:80')
})

test('a quoted word is read back by the shell as it was', () => {
  const word = fc.string().filter((text) => !text.includes('\0'))
  fc.assert(
    fc.property(fc.array(word, { minLength: 1, maxLength: 20 }), (words) => {
      const script = `printf '%s\\0' ${words.map(quoteShell).join(' ')}`
      expect(execFileSync('sh', ['-c', script]).toString()).toBe(
        words.map((text) => `${text}\0`).join(''),
      )
    }),
    { numRuns: 20 },
  )
})
