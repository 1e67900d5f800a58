import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { KeyPath } from '../../src/plan/problems.ts'
import { findKeyPlace } from '../../src/plan/source-place.ts'

/** The text that begins at the place found. */
function found(source: string, path: KeyPath): string {
  const { line, column } = findKeyPlace(source, path)
  return (source.split('\n')[line - 1] ?? '').slice(column - 1)
}

const config = `
// export default { events: { trap: 1 } }
import { defineConfig, event } from 'questlog' /* { events: */
const sword: Record<string, { a: 1 }> = z.object({
  color: z.string(), // color: no
  damage: z.number(),
})
const half = 4 / 2 / 1
const pattern = /[/}'"]\\/{/g
const text = \`{ events: \${ { a: '}' }.a } \`

export default defineConfig({
  topics: { 'video-books': { partitions: 0 } },
  events: {
    default: event({ route: 'GET /', reply: 'a, b: { c' }),
    'purchase sword': event({
      route: ['GET /a', 'GET /b'],
      params: sword.extend({ more: z.any() }),
      fixed: { "deep": { key: 1 } },
      reply: pattern.test(text) ? 'x' : 'y',
    }),
    ['join_guild']: event({
      route: { 'GET /join': 'a', 'GET /join2': \`b\` },
      params: { type: 'object', properties: { level: { type: 'null' } } },
    }),
    base: event({ params: sword }),
    shared,
  },
  tables: makeTables(),
})

const shared = event({ reply: 5 })

function makeTables() {
  return { never: { from: 'x' } }
}
`

describe('the place of a key is found', () => {
  test.each<[KeyPath, string]>([
    [['topics', 'video-books', 'partitions'], 'partitions: 0'],
    [['events', 'default', 'reply'], "reply: 'a, b"],
    [['events', 'purchase sword'], "'purchase sword': event"],
    [['events', 'purchase sword', 'route', 1], "'GET /b']"],
    [['events', 'purchase sword', 'params', 'more'], 'more: z.any'],
    [['events', 'purchase sword', 'fixed', 'deep', 'key'], 'key: 1'],
    [['events', 'purchase sword', 'reply'], 'reply: pattern'],
    [['events', 'join_guild', 'route', 'GET /join2'], "'GET /join2': "],
    [['events', 'join_guild', 'params', 'level'], 'level: { type'],
    [['events', 'base', 'params', 'damage'], 'damage: z.number'],
    [['events', 'shared', 'reply'], 'reply: 5'],
  ])('%j', (path, expected) => {
    expect(found(config, path)).toMatch(
      new RegExp(`^${expected.replace(/[[\]().{}?*+|\\]/g, '\\$&')}`),
    )
  })
})

describe('where the path ends, the nearest key around it is shown', () => {
  test.each<[KeyPath, string]>([
    [['events', 'default', 'nothing'], 'default: event'],
    [['events', 'nothing', 'route'], 'events: {'],
    [['tables', 'never', 'trigger'], 'tables: makeTables()'],
    [['settings'], 'defineConfig('],
    [[], 'defineConfig('],
  ])('%j', (path, expected) => {
    expect(found(config, path)).toMatch(new RegExp(`^${expected.replace(/[().{}]/g, '\\$&')}`))
  })
})

test('a default export by name, module.exports and JSON are read too', () => {
  const named = 'const a = { x: 1 }\nconst config = {\n  events: 5,\n}\nexport default config\n'
  expect(findKeyPlace(named, ['events'])).toEqual({ line: 3, column: 3 })
  expect(findKeyPlace('module.exports = {\n events: 1 }', ['events'])).toEqual({
    line: 2,
    column: 2,
  })
  expect(findKeyPlace('{\n  "events": {\n    "a": [] } }', ['events', 'a'])).toEqual({
    line: 3,
    column: 5,
  })
})

test('any text is looked through without an exception and without end', () => {
  const pieces = fc.constantFrom(
    '{',
    '}',
    '[',
    ']',
    '(',
    ')',
    ',',
    ':',
    '`',
    '${',
    '"',
    "'",
    '/',
    '//',
    '/*',
    '*/',
    '\n',
    'a',
    'const',
    'export',
    'default',
    '=',
    '5',
    ';',
    '\\',
    '=>',
    '...',
  )
  fc.assert(
    fc.property(fc.array(pieces, { maxLength: 60 }), (parts) => {
      const source = parts.join(' ')
      const place = findKeyPlace(source, ['a', 0, 'a', 'b'])
      expect(place.line).toBeGreaterThan(0)
      expect(place.line).toBeLessThanOrEqual(source.split('\n').length)
    }),
    { numRuns: 2000 },
  )
})
