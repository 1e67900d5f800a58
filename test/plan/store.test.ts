import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { realFiles } from '../../src/core/files.ts'
import { compileDefinition } from '../../src/plan/compile.ts'
import type { Definition } from '../../src/plan/definition.ts'
import {
  activeVersion,
  readDefinition,
  setActiveVersion,
  storeDefinition,
} from '../../src/plan/store.ts'

let data = ''
beforeEach(async () => {
  data = await mkdtemp(join(tmpdir(), 'questlog-store-'))
})
afterEach(() => rm(data, { recursive: true }))

function definitionWith(reply: string): Definition {
  const { definition } = compileDefinition({
    events: { a: { route: 'GET /a', reply, fixed: { x: 1, y: 'two' } } },
    tables: { t: { from: '*' } },
  })
  if (definition === undefined) throw new Error('no definition')
  return definition
}

test('a stored definition is read back as it was, under a number that never changes its content', async () => {
  const first = definitionWith('one')
  const second = definitionWith('two')
  expect(await storeDefinition(realFiles, data, first)).toBe(1)
  expect(await storeDefinition(realFiles, data, first)).toBe(1)
  expect(await storeDefinition(realFiles, data, second)).toBe(2)
  expect(await storeDefinition(realFiles, data, first)).toBe(3)
  expect(await readDefinition(realFiles, data, 1)).toEqual(first)
  expect(await readDefinition(realFiles, data, 2)).toEqual(second)
  expect(await readDefinition(realFiles, data, 3)).toEqual(first)
  expect(await readdir(join(data, 'definitions'))).toEqual(['1.json', '2.json', '3.json'])
})

test('the numbers go on after nine', async () => {
  for (let n = 1; n <= 11; n++)
    expect(await storeDefinition(realFiles, data, definitionWith(`${n}`))).toBe(n)
  expect(await storeDefinition(realFiles, data, definitionWith('11'))).toBe(11)
})

test('the active version is what was set last, and nothing before that', async () => {
  expect(await activeVersion(realFiles, data)).toBeUndefined()
  await storeDefinition(realFiles, data, definitionWith('one'))
  expect(await activeVersion(realFiles, data)).toBeUndefined()
  await setActiveVersion(realFiles, data, 1)
  expect(await activeVersion(realFiles, data)).toBe(1)
  await setActiveVersion(realFiles, data, 12)
  expect(await activeVersion(realFiles, data)).toBe(12)
  expect(await readFile(join(data, 'definitions', 'active'), 'utf8')).toBe('12\n')
})

test('a version that a crash left half-written is passed over', async () => {
  await storeDefinition(realFiles, data, definitionWith('one'))
  await writeFile(join(data, 'definitions', '2.json'), '{"formatVersion":1,"names')
  expect(await storeDefinition(realFiles, data, definitionWith('one'))).toBe(3)
  await expect(readDefinition(realFiles, data, 2)).rejects.toMatchObject({ code: 'DATA_UNUSABLE' })
})

test('a version of a newer questlog is refused, and left as it is', async () => {
  await storeDefinition(realFiles, data, definitionWith('one'))
  const path = join(data, 'definitions', '2.json')
  await writeFile(path, '{"formatVersion":2}')
  await expect(readDefinition(realFiles, data, 2)).rejects.toMatchObject({
    code: 'FORMAT_UNKNOWN',
    facts: { format: 2 },
  })
  expect(await storeDefinition(realFiles, data, definitionWith('one'))).toBe(3)
  expect(await readFile(path, 'utf8')).toBe('{"formatVersion":2}')
})

test('a missing or foreign file is refused', async () => {
  await expect(readDefinition(realFiles, data, 7)).rejects.toMatchObject({ code: 'DATA_UNUSABLE' })
  await storeDefinition(realFiles, data, definitionWith('one'))
  await writeFile(join(data, 'definitions', 'active'), 'latest')
  await expect(activeVersion(realFiles, data)).rejects.toMatchObject({ code: 'DATA_UNUSABLE' })
})
