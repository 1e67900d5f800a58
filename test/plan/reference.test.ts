import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { compileDefinition } from '../../src/plan/compile.ts'
import { loadConfigFile } from '../../src/plan/evaluate.ts'

const page = await readFile(
  fileURLToPath(new URL('../../docs/reference/definition.md', import.meta.url)),
  'utf8',
)

test('the example of the reference is a definition', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'questlog-reference-'))
  const blocks = [...page.matchAll(/```ts\n(.*?)```/gs)].map(([, source]) => source ?? '')
  expect(blocks).toHaveLength(1)
  for (const source of blocks) {
    await writeFile(join(folder, 'questlog.config.ts'), source)
    const { tables } = await loadConfigFile(join(folder, 'questlog.config.ts'))
    expect(tables.map(({ name }) => name)).toEqual([
      'events',
      'purchases',
      'strong_swords',
      'attempts',
    ])
  }
  await rm(folder, { recursive: true })
})

test('the reference has a row for every key', () => {
  const unknown = { '?': 1 }
  const { problems = [] } = compileDefinition({
    ...unknown,
    topics: { t: unknown },
    events: { e: unknown },
    tables: { t: { from: '*', ...unknown } },
  })
  const lists = problems.flatMap(
    ({ fix }) => /the keys are (.*)$/.exec(fix)?.[1]?.split(', ') ?? [],
  )
  expect(lists.length).toBeGreaterThan(20)
  for (const key of lists) expect(page).toContain(`| \`${key}\` |`)
})
