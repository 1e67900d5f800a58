import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { loadConfigFile } from '../../src/plan/evaluate.ts'
import type { Definition } from '../../src/plan/definition.ts'

const original = fileURLToPath(new URL('../../examples/w205/questlog.config.ts', import.meta.url))

function replies(definition: Definition): Record<string, string> {
  return Object.fromEntries(
    definition.events.flatMap(({ type, routes }) =>
      routes.map(({ method, path, reply }) => [`${method} ${path}`, `${type}: ${reply}`]),
    ),
  )
}

/** The example after an edit, as its reader would make it. */
async function loadEdited(edit: (source: string) => string): Promise<Definition> {
  const folder = await mkdtemp(join(tmpdir(), 'questlog-example-'))
  const path = join(folder, 'questlog.config.ts')
  try {
    await writeFile(path, edit(await readFile(original, 'utf8')))
    return await loadConfigFile(path)
  } finally {
    await rm(folder, { recursive: true })
  }
}

test('the example answers as W1 does: 30, 18, 15 and 22 bytes', async () => {
  const definition = await loadConfigFile(original)
  expect(replies(definition)).toEqual({
    'GET /': 'default: This is the default response!\n',
    'GET /purchase_a_sword': 'purchase_sword: \nSword Purchased!\n',
    'GET /join_guild': 'join_guild: \nGuild joined!\n',
    'GET /join_the_guild': 'join_guild: You Joined the Guild!\n',
  })
  const lengths = definition.events.flatMap(({ routes }) =>
    routes.map(({ reply }) => Buffer.byteLength(reply)),
  )
  expect(lengths).toEqual([30, 18, 15, 22])
})

test('its tables take one type each, but for the one that takes all', async () => {
  const { tables, topics } = await loadConfigFile(original)
  expect(topics).toEqual([{ name: 'events', partitions: 1, configs: {} }])
  expect(tables.map(({ name, events }) => [name, events])).toEqual([
    ['events', null],
    ['default_hits', ['default']],
    ['sword_purchases', ['purchase_sword']],
    ['join_guilds', ['join_guild']],
  ])
  expect(tables.map(({ triggerMs }) => triggerMs)).toEqual([10_000, 10_000, 10_000, 10_000])
  const own = tables.map(({ columns }) => columns.slice(6, -4))
  const damage = [
    { name: 'color', type: { kind: 'string' } },
    { name: 'damage', type: { kind: 'int' } },
  ]
  expect(own).toEqual([damage, [], damage, []])
})

test.each([
  ['W2', 'purchase_sword: You Purchased a Sword!\n', 23],
  ['W3', 'purchase_sword: Sword Purchased!\n', 17],
])('the constant at its top chooses the answers of %s', async (set, expected, bytes) => {
  const definition = await loadEdited((source) => source.replace(`'W3' = 'W1'`, `'W3' = '${set}'`))
  expect(replies(definition)['GET /purchase_a_sword']).toBe(expected)
  expect(Buffer.byteLength(expected.slice('purchase_sword: '.length))).toBe(bytes)
})

test('its knife route and table are there once they are uncommented', async () => {
  const definition = await loadEdited((source) =>
    source.replace(/^( +)\/\/ (?=purchase_knife|knife_purchases| {2}\w|\}\),)/gm, '$1'),
  )
  expect(replies(definition)['GET /purchase_a_knife']).toBe('purchase_knife: Knife Purchased!\n')
  const knives = definition.tables.find(({ name }) => name === 'knife_purchases')
  expect(knives).toMatchObject({ events: ['purchase_knife'], from: 'earliest' })
  expect(knives?.columns.slice(6, -4)).toEqual([{ name: 'description', type: { kind: 'string' } }])
  expect(definition.events.find(({ type }) => type === 'purchase_knife')?.fixed).toEqual({
    description: 'very sharp knife',
  })
})
