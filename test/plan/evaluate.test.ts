import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import * as api from '../../src/index.ts'
import { QuestlogError } from '../../src/core/errors.ts'
import { realFiles } from '../../src/core/files.ts'
import { loadConfigFile } from '../../src/plan/evaluate.ts'
import { evaluateInChild } from '../../src/plan/evaluate-in-child.ts'

let folder = ''
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'questlog-config-'))
})
afterAll(() => rm(folder, { recursive: true }))

async function write(source: string, name = 'questlog.config.ts'): Promise<string> {
  const path = join(folder, name)
  await writeFile(path, source)
  return path
}

/** The lines of the error, without the folder. */
async function problemsOf(source: string, name?: string): Promise<string[]> {
  const path = await write(source, name)
  try {
    await loadConfigFile(path)
  } catch (error) {
    if (!(error instanceof QuestlogError)) throw error
    expect(error.code).toBe('DEFINITION_INVALID')
    return error.message.replaceAll(`${folder}/`, '').split('\n')
  }
  throw new Error('the definition was accepted')
}

const imports = `import { defineConfig, event, table } from 'questlog'\nimport { z } from 'zod'\n`

test('a folder without any package can define events, with questlog and zod', async () => {
  const path = await write(
    `${imports}
    const reply: string = 'Hi!\\n'
    type Color = 'red' | 'blue'
    export default defineConfig({
      events: { hit: event({ route: 'GET /', reply, params: z.object({ color: z.enum(['red', 'blue'] satisfies Color[]) }) }) },
    })`,
  )
  const { events } = await loadConfigFile(path)
  expect(events[0]).toMatchObject({
    type: 'hit',
    routes: [{ method: 'GET', path: '/', reply: 'Hi!\n' }],
    params: [{ name: 'color', type: { kind: 'string' } }],
  })
})

test('each call reads the file anew, and the files that it imports', async () => {
  const shared = (reply: string) => write(`export const reply: string = '${reply}'`, 'shared.ts')
  await shared('one')
  const path = await write(
    `${imports}import { reply } from './shared.ts'\nexport default { events: { a: event({ route: 'GET /', reply }) } }`,
  )
  expect((await loadConfigFile(path)).events[0]?.routes[0]?.reply).toBe('one')
  await shared('two')
  expect((await loadConfigFile(path)).events[0]?.routes[0]?.reply).toBe('two')
})

test('JavaScript that is kept is run for the same text alone, and an error has the same line by it', async () => {
  const cacheFolder = join(folder, 'code')
  const load = (file: string) => loadConfigFile(file, realFiles, cacheFolder)
  const shared = (reply: string) => write(`export const reply: string = '${reply}'`, 'shared.ts')
  const path = await write(
    `${imports}import { reply } from './shared.ts'\nexport default { events: { a: event({ route: 'GET /', reply }) } }`,
  )
  for (const reply of ['one', 'one', 'two', 'one']) {
    await shared(reply)
    expect((await load(path)).events[0]?.routes[0]?.reply).toBe(reply)
  }
  expect(await readdir(cacheFolder)).toHaveLength(2)
  const throwing = await write(`interface Unused { a: string }\n\nthrow new Error('no')`, 'bad.ts')
  const failures = await Promise.all([0, 1].map(() => load(throwing).catch(String)))
  expect(failures[0]).toContain('bad.ts:3')
  expect(failures[1]).toBe(failures[0])
})

test('JSON, JavaScript and a promise are definitions too', async () => {
  const json = await write('{ "events": { "a": { "route": "GET /a" } } }', 'questlog.config.json')
  expect((await loadConfigFile(json)).events[0]?.routes[0]?.path).toBe('/a')
  const script = await write(
    `import { event } from 'questlog'\nexport default Promise.resolve({ events: { a: event({}) } })`,
    'questlog.config.mjs',
  )
  expect((await loadConfigFile(script)).events).toHaveLength(1)
  const waits = await write(`await null\nexport default { events: { b: {} } }`)
  expect((await loadConfigFile(waits)).events[0]?.type).toBe('b')
})

test('the module questlog of a definition is the public one', async () => {
  const path = await write(
    `import * as questlog from 'questlog'\nexport default { events: Object.fromEntries(Object.keys(questlog).filter((name) => name !== 'default').map((name) => [name, {}])) }`,
  )
  const { events } = await loadConfigFile(path)
  expect(events.map(({ type }) => type).sort()).toEqual(Object.keys(api).sort())
})

describe('a problem is shown with file, line, column, key and fix', () => {
  test('of the definition, all of them', async () => {
    expect(
      await problemsOf(`${imports}
const damage = z.any()
const params = z.object({
  color: z.string(),
  damage,
})
export default defineConfig({
  events: {
    purchase_sword: event({
      route: ['GET /purchase_a_sword', 'FETCH /x'],
      params,
    }),
  },
  tables: { swords: table({ from: 'purchase_swrod' }) },
})`),
    ).toEqual([
      'questlog.config.ts:7:3 events.purchase_sword.params.damage: has no type: a column needs one — fix: give it a type, or leave it out (undeclared fields stay in raw_event)',
      "questlog.config.ts:12:40 events.purchase_sword.route[1]: the method \"FETCH\" is not GET or POST — fix: write 'GET /x' or 'POST /x'",
      'questlog.config.ts:16:29 tables.swords.from: there is no event "purchase_swrod" — fix: did you mean purchase_sword? Otherwise declare it under events, or name one of purchase_sword',
    ])
  })

  test('of JSON', async () => {
    expect(
      await problemsOf(
        '{\n  "events": {\n    "a": { "rout": "GET /" } } }',
        'questlog.config.json',
      ),
    ).toEqual([
      'questlog.config.json:3:12 events.a.rout: there is no key rout here — fix: did you mean route?',
    ])
    const [line] = await problemsOf('{\n  "events": }', 'questlog.config.json')
    expect(line).toMatch(
      /^questlog\.config\.json:2:13: Object value expected after ':' — fix: correct the JSON/,
    )
  })

  test('of the syntax', async () => {
    expect(await problemsOf('export default {\n  events: { a: 1 b: 2 },\n}')).toEqual([
      'questlog.config.ts:2:18: syntax error: Unexpected token, expected "," — fix: correct the syntax',
    ])
  })

  test('of the syntax of an imported file', async () => {
    await write('export const x = = 5', 'broken.ts')
    expect(await problemsOf(`import { x } from './broken.ts'\nexport default x`)).toEqual([
      'broken.ts:1:18: syntax error: Unexpected token — fix: correct the syntax',
    ])
  })

  test('of code that throws', async () => {
    const lines = await problemsOf(
      `interface A {\n  b: { c: number }\n}\nconst a = {} as A\nexport default { events: a.b.c }`,
    )
    expect(lines).toEqual([
      "questlog.config.ts:5:1: the file throws TypeError: Cannot read properties of undefined (reading 'c') — fix: correct the code at this line",
    ])
    expect(await problemsOf(`throw 'a text'`)).toEqual([
      'questlog.config.ts: the file throws a text — fix: correct the code at this line',
    ])
  })

  test('of an import that leads nowhere', async () => {
    expect(await problemsOf(`import x from 'no-such-package'\nexport default x`)).toEqual([
      `questlog.config.ts:1:15: there is no module no-such-package — fix: run npm install no-such-package in ${folder}`,
    ])
    expect(await problemsOf(`\nimport x from './none.ts'\nexport default x`)).toEqual([
      'questlog.config.ts:2:15: there is no module ./none.ts — fix: correct the path',
    ])
  })

  test('of a file without a default export, and of no file', async () => {
    expect(await problemsOf('export const config = { events: {} }')).toEqual([
      'questlog.config.ts: the file has no default export — fix: write export default defineConfig({ … })',
    ])
    await expect(loadConfigFile(join(folder, 'none.ts'))).rejects.toThrow(
      /none\.ts: there is no such file — fix: name another with --config/,
    )
    await mkdir(join(folder, 'folder.ts'), { recursive: true })
    await expect(loadConfigFile(join(folder, 'folder.ts'))).rejects.toThrow(/can't be read/)
  })
})

describe('in a child process', () => {
  test('the definition comes back, what the code printed as warnings, with the environment passed through', async () => {
    const path = await write(
      `console.log('to stdout')\nconsole.error('to stderr')\nexport default { events: { [process.env.QUESTLOG_TEST_TYPE ?? 'x']: {} } }\nsetInterval(() => {}, 1000)`,
      'prints.ts',
    )
    const warnings: string[] = []
    process.env.QUESTLOG_TEST_TYPE = 'from_environment'
    const definition = await evaluateInChild(path, { onWarning: (line) => warnings.push(line) })
    delete process.env.QUESTLOG_TEST_TYPE
    expect(definition.events[0]?.type).toBe('from_environment')
    expect(warnings.sort()).toEqual(['to stderr', 'to stdout'])
  })

  test('a problem comes back as the same error', async () => {
    const path = await write(`export default {\n  events: { a: 5 } }`, 'wrong.ts')
    await expect(evaluateInChild(path)).rejects.toMatchObject({
      name: 'QuestlogError',
      code: 'DEFINITION_INVALID',
      message: expect.stringMatching(/wrong\.ts:2:13 events\.a: is 5, but must be event\(/),
      facts: { problems: 1 },
    })
  })

  test('kept JavaScript that is damaged refuses nothing, and goes', async () => {
    const cacheFolder = join(folder, 'damaged')
    const path = await write(`export default { events: { a: { route: 'GET /' } } }`, 'kept.ts')
    await loadConfigFile(path, realFiles, cacheFolder)
    const [name = ''] = await readdir(cacheFolder)
    const kept = await readFile(join(cacheFolder, name))
    await writeFile(join(cacheFolder, name), Buffer.from(kept).fill(0, 0, 20))
    expect((await evaluateInChild(path, { cacheFolder })).events[0]?.type).toBe('a')
    expect(await readdir(cacheFolder)).toEqual([])
  })

  test('code that never ends is ended at the time limit', async () => {
    const path = await write('for (;;) {}', 'hangs.ts')
    await expect(evaluateInChild(path, { timeoutMs: 1200 })).rejects.toThrow(
      /gave no definition within 1\.2 s — fix: remove what waits/,
    )
  })

  test('code that ends the process gives an error, with what it printed', async () => {
    const path = await write(`console.error('going')\nprocess.exit(3)`, 'exits.ts')
    await expect(evaluateInChild(path)).rejects.toMatchObject({
      code: 'DEFINITION_INVALID',
      message: expect.stringContaining('ended (exit code 3) before it gave a definition'),
      facts: { printed: 'going\n' },
    })
  })
})
