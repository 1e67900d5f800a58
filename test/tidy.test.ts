import { describe, expect, test } from 'vitest'
import {
  checkFileMap,
  checkFormats,
  checkLinks,
  checkNamedPages,
  checkNames,
  findAnchors,
  findLinks,
} from './support/tidy-docs.ts'
import { diskFormats } from './support/tidy-formats.ts'
import { checkRanks, folderOf, ranks } from './support/tidy-ranks.ts'
import {
  checkBarrels,
  checkDirectives,
  checkLength,
  checkMirror,
  checkRunsAll,
  checkTested,
  checkTexts,
  checkTypes,
  checkVersions,
  checkWorld,
  worldExceptions,
} from './support/tidy-rules.ts'
import { listFiles, readSource, readSources, readText } from './support/tidy-source.ts'

interface LockedPackage {
  readonly dependencies?: Readonly<Record<string, string>>
  readonly devDependencies?: Readonly<Record<string, string>>
  readonly optionalDependencies?: Readonly<Record<string, string>>
}

const sources = readSources('src')
const tests = readSources('test')
const everything = listFiles('')
const texts = everything
  .filter(
    (path) =>
      /(?:\.(?:ts|mjs|js|json|md|sh|ya?ml|sql)|^\.ci\/\w+|^bin\/\w+)$/.test(path) &&
      path !== 'package-lock.json',
  )
  .map(readText)
const pages = texts.filter(({ path }) => path.endsWith('.md'))
const sourcePaths = sources.map(({ path }) => path)
const testPaths = tests.map(({ path }) => path)

describe('the folders of src', () => {
  test('every file of src is looked at, and there are files', () => {
    const counted = everything.filter((path) => path.startsWith('src/') && path.endsWith('.ts'))
    expect(counted.length).toBeGreaterThan(0)
    expect(sourcePaths).toEqual(counted)
    expect(
      everything.filter((path) => /^src\/.*\.(?:js|jsx|tsx|mjs|cjs|mts|cts)$/.test(path)),
    ).toEqual([])
  })

  test('a folder imports only from folders of a lower rank and from itself', () => {
    const { problems, crossings } = checkRanks(sources)
    expect(problems).toEqual([])
    // Had the imports not been found, there would be nothing to complain about either.
    expect(crossings).toBeGreaterThan(sources.length)
    const silent = Object.keys(ranks).filter((folder) => {
      const files = sources.filter(({ path }) => folderOf(path) === folder)
      return files.length > 0 && files.every(({ imports }) => imports.length === 0)
    })
    expect(silent).toEqual([])
  })

  test('time, chance and the file system come in by parameter everywhere but in core', () => {
    expect(checkWorld(sources)).toEqual([])
    expect(Object.keys(worldExceptions).filter((path) => !sourcePaths.includes(path))).toEqual([])
  })

  test('there is one index.ts, that of the public API', () => {
    expect(checkBarrels(sourcePaths)).toEqual([])
    expect(sourcePaths).toContain('src/index.ts')
  })

  test('every export has a name, and nothing silences the compiler', () => {
    expect(checkTypes(sources)).toEqual([])
    expect(tests.flatMap(checkDirectives)).toEqual([])
  })

  test('no file is longer than 600 lines', () => {
    expect(checkLength([...sources, ...tests])).toEqual([])
  })
})

describe('the tests', () => {
  test('none is left out, and none hides the others', () => {
    expect(checkRunsAll(tests)).toEqual([])
  })

  test('each lies where the code that it tries lies', () => {
    expect(checkMirror(testPaths, sourcePaths)).toEqual([])
  })

  test('every folder of src has some', () => {
    expect(checkTested(testPaths, sourcePaths)).toEqual([])
  })
})

describe('the pages', () => {
  test('every link leads somewhere', () => {
    expect(pages.length).toBeGreaterThan(0)
    expect(pages.flatMap(findLinks).length).toBeGreaterThan(0)
    expect(checkLinks(pages)).toEqual([])
  })

  test('every page that the code names exists', () => {
    expect(checkNamedPages(sources)).toEqual([])
  })

  test('every format on disk is described', () => {
    expect(checkFormats(diskFormats, sources, pages)).toEqual([])
  })
})

test('the file map says what every file is for', () => {
  expect(checkFileMap(readText('docs/internals/architecture.md'), sourcePaths)).toEqual([])
})

test('the pages that lead through the code name only what exists', () => {
  // Pages about formats use the spelling of their specifications.
  const inside = pages.filter(({ path }) =>
    /^docs\/internals\/(?:architecture|path-of-an-event|processes|decisions\/.*)\.md$/.test(path),
  )
  expect(inside.length).toBeGreaterThan(3)
  expect(inside.flatMap((page) => checkNames(page, sources))).toEqual([])
})

describe('the repository', () => {
  test('holds no work that is left over and no path of one machine', () => {
    expect(texts.length).toBeGreaterThan(sources.length)
    expect(checkTexts(texts)).toEqual([])
  })

  test('installs the same versions everywhere', () => {
    const manifest = JSON.parse(readText('package.json').text)
    expect(checkVersions(manifest)).toEqual([])
    const packages: Record<string, LockedPackage> = JSON.parse(
      readText('package-lock.json').text,
    ).packages
    // npm leaves out what it could not reach; tools/complete-lockfile.mjs adds it.
    const optional = Object.values(packages).flatMap((locked) =>
      Object.keys(locked.optionalDependencies ?? {}),
    )
    const locked = Object.keys(packages)
    expect(
      optional.filter((name) => !locked.some((path) => path.endsWith(`node_modules/${name}`))),
    ).toEqual([])
    const { dependencies, devDependencies } = packages[''] ?? {}
    expect({ dependencies, devDependencies }).toEqual({
      dependencies: manifest.dependencies,
      devDependencies: manifest.devDependencies,
    })
  })
})

describe('the checks themselves find what they look for', () => {
  const file = (path: string, text: string) => readSource({ path, text })

  test('an import of the same or of a higher rank, in any form', () => {
    const planted = [
      file('src/core/a.ts', `import { x } from '../log/record.ts'`),
      file('src/log/b.ts', `export type { y } from '../lake/table.ts'`),
      file('src/plan/c.ts', `const c = await import(\n  "../cli/main.ts"\n)`),
      file('src/app/d.ts', 'import `../cli/run.ts`'),
      file('src/app/e.ts', `import '../../test/support/x.ts'`),
      file('src/app/f.ts', `import { z } from '../core/files.js'`),
      file('src/app/g.ts', `import { z } from '../index.ts'`),
      file('src/odd/h.ts', ''),
    ]
    expect(checkRanks(planted).problems.map((problem) => problem.split(':')[0])).toEqual(
      planted.map(({ path }) => path),
    )
    const right = [
      file('src/app/a.ts', `import { x } from '../log/record.ts'\nimport { y } from './b.ts'`),
      file('src/index.ts', `export { z } from './cli/run.ts'`),
    ]
    expect(checkRanks(right).problems).toEqual([])
  })

  test('time, chance and files, but not their names in texts and comments', () => {
    const planted = [
      'Date.now()',
      'new Date()',
      'Math .random()',
      'performance.now()',
      `import 'fs'`,
      `import { open } from "node:fs/promises"`,
      '`${Date.now()}`',
      'a / Date.now() / b',
    ]
    for (const text of planted)
      expect(checkWorld([file('src/log/a.ts', text)]), text).toHaveLength(1)
    const right = [
      `// Date.now()`,
      `/* Math.random() */ 'Date.now()'`,
      '`Math.random() ${x}`',
      'new Date(0)',
      '/"/ // Date.now()',
      `'\\'Date.now()'`,
    ]
    for (const text of right) expect(checkWorld([file('src/log/a.ts', text)]), text).toEqual([])
    expect(checkWorld([file('src/core/a.ts', 'Date.now()')])).toEqual([])
  })

  test('what silences the compiler, but not what only looks like it', () => {
    for (const text of [
      'x as any',
      'let x: any',
      'Map<string, any>',
      'export default 1',
      'x!.y',
      'f(x!)',
      'a[0]!',
      '// @ts-ignore',
    ])
      expect(checkTypes([file('src/a.ts', text)]), text).toHaveLength(1)
    expect(checkDirectives(file('test/a.test.ts', '// @ts-expect-error'))).toHaveLength(1)
    expect(checkDirectives(file('test/a.test.ts', '// @ts-expect-error no such key'))).toEqual([])
    for (const text of [
      'if (!x) y',
      'a !== b',
      'a != b',
      '"x!."',
      'const any = (letter: string) => letter',
      'x ?? any(1)',
      'f(any("k"), any)',
    ])
      expect(checkTypes([file('src/a.ts', text)]), text).toEqual([])
  })

  test('tests that hide tests, left-over work, paths of one machine, loose versions', () => {
    for (const call of ['test', 'describe.concurrent', 'it'])
      for (const way of ['only', 'skip'])
        expect(checkRunsAll([file('test/a.test.ts', `${call}.${way}('…')`)])).toHaveLength(1)
    expect(checkRunsAll([file('test/a.test.ts', `test('… .only …')\nresult.skip()`)])).toEqual([])
    const lines = [`// ${'TO'}DO later`, `cd ${'/wo'}rk/x`, `"${'/ho'}me/me/x"`]
    expect(checkTexts([{ path: 'a', text: lines.join('\n') }])).toHaveLength(3)
    expect(checkTexts([{ path: 'a', text: 'https://a.org/home/x ./work/x todo' }])).toEqual([])
    expect(
      checkVersions({ dependencies: { a: '^1.0.0', b: '1.0.0', c: '1.5.6-r.1', d: 'latest' } }),
    ).toHaveLength(2)
  })

  test('tests without a source, folders without a test, barrels, long files', () => {
    const src = ['src/log/segment.ts', 'src/lake/table.ts', 'src/index.ts']
    const found = [
      'test/log/segment.test.ts',
      'test/log/faults.test.ts',
      'test/e2e/kill.test.ts',
      'test/index.test.ts',
      'test/old/a.test.ts',
      'test/b.test.ts',
    ]
    expect(checkMirror(found, src)).toHaveLength(2)
    expect(checkTested(found, src)).toEqual(['src/lake has no test in test/lake'])
    expect(checkBarrels(['src/index.ts', 'src/log/index.ts'])).toEqual(['src/log/index.ts'])
    expect(
      checkLength([
        { path: 'a', text: 'x\n'.repeat(601) },
        { path: 'b', text: 'x\n'.repeat(600) },
      ]),
    ).toEqual(['a: 601 lines'])
  })

  test('links to files and headings that do not exist', () => {
    const page = (text: string) => ({ path: 'docs/a.md', text })
    expect(
      checkLinks([page('[x](../package.json) [y](#one-two) [z](https://a.org/b)\n# One, *two*')]),
    ).toEqual([])
    expect(
      checkLinks([page('[x](../nothing.md) [y](#three) [z](../../x)\n# One two')]),
    ).toHaveLength(3)
    expect(findLinks(page('`[x](y.md)`\n```\n[x](y.md)\n```\n[a](b.md "c")'))).toHaveLength(1)
    expect([...findAnchors('# A `b`: c\n## A b c\n## A b c\n```\n# d\n```')]).toEqual([
      'a-b-c',
      'a-b-c-1',
      'a-b-c-2',
    ])
    expect(
      checkNamedPages([file('src/a.ts', '// docs/nothing.md and docs/internals/../nothing.md')]),
    ).not.toEqual([])
  })

  test('files that the file map lacks, and names that are no files', () => {
    const map = {
      path: 'a.md',
      text: '### log\n| `a.ts` | one; `b.ts` two |\n### cli\n| `commands/*.ts` | `c` |',
    }
    const right = ['src/index.ts', 'src/log/a.ts', 'src/log/b.ts', 'src/cli/commands/up.ts']
    expect(checkFileMap(map, right)).toEqual([])
    expect(checkFileMap(map, [...right.slice(0, 2), 'src/log/c.ts'])).toHaveLength(3)
  })

  test('names of code that does not exist', () => {
    const code = [file('src/a.ts', 'class Log { append() {} #sync() {} }')]
    const page = (text: string) => ({ path: 'a.md', text })
    expect(checkNames(page('`Log.append` `#sync` `x` `a.ts` `questlog.offsets`'), code)).toEqual([])
    expect(checkNames(page('`Log.read` `#write` `pollIntervalMs`'), code)).toHaveLength(3)
  })

  test('formats without a page', () => {
    const undeclared = [file('src/log/odd.ts', 'const magic = 1')]
    expect(checkFormats([], undeclared, [])).toHaveLength(1)
    const row = {
      what: 'odd',
      source: 'src/log/odd.ts',
      page: 'docs/internals/odd.md',
      heading: /odd/i,
    }
    expect(checkFormats([row], undeclared, [])).toHaveLength(1)
    expect(checkFormats([row], undeclared, [{ path: row.page, text: '# Even' }])).toHaveLength(1)
    expect(checkFormats([row], undeclared, [{ path: row.page, text: '# Odd files' }])).toEqual([])
  })
})
