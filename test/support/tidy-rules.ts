import { folderOf, ranks } from './tidy-ranks.ts'
import type { SourceFile, TextFile } from './tidy-source.ts'

/** Files longer than this are split. Functions are measured by the linter. */
export const fileLinesMax = 600

interface CodeRule {
  readonly pattern: RegExp
  readonly problem: string
}

/** What only core may use: the world comes in by parameter, so that one seed replays a run. */
const worldRules: readonly CodeRule[] = [
  { pattern: /\bDate\s*\.\s*now\b/, problem: 'takes the time itself: use a Clock' },
  { pattern: /\bnew\s+Date\s*\(\s*\)/, problem: 'takes the time itself: use a Clock' },
  { pattern: /\bperformance\s*\.\s*now\b/, problem: 'takes the time itself: use a Clock' },
  { pattern: /\bMath\s*\.\s*random\b/, problem: 'makes chance itself: take it by parameter' },
]
const worldModules = new Set(['fs', 'fs/promises', 'node:fs', 'node:fs/promises'])

/** Files above core that may use the world directly, each with its reason. */
export const worldExceptions: Readonly<Record<string, string>> = {}

export function checkWorld(files: readonly SourceFile[]): string[] {
  const bound = files.filter(({ path }) => folderOf(path) !== 'core' && !(path in worldExceptions))
  return bound.flatMap((file) => [
    ...findCode(file, worldRules),
    ...file.imports
      .filter((name) => worldModules.has(name))
      .map((name) => `${file.path}: imports ${name}: use Files or core/host`),
  ])
}

const typeRules: readonly CodeRule[] = [
  { pattern: /\bexport\s+default\b/, problem: 'a default export: name it' },
  { pattern: /(?:\bas|[:<|&])\s*any\b(?!\s*[:?(.])|,\s*any\s*>/, problem: 'the type any' },
  { pattern: /[\w$)\]]!(?=[.,;)\]}[]|\s*$)/m, problem: 'a ! that silences the compiler' },
]

/** The compiler is never silenced, and every export has a name. */
export function checkTypes(files: readonly SourceFile[]): string[] {
  return files.flatMap((file) => [...findCode(file, typeRules), ...checkDirectives(file)])
}

/** Comments that silence the compiler. A test may expect an error of the compiler, with the reason beside it: it fails when there is none. */
export function checkDirectives({ path, comments }: SourceFile): string[] {
  const allowed = path.startsWith('test/') ? /@ts-expect-error +\w/ : /$^/
  return comments
    .filter(
      (comment) => /@ts-(?:ignore|nocheck|expect-error)\b/.test(comment) && !allowed.test(comment),
    )
    .map((comment) => `${path}: ${comment.trim()}`)
}

/** One entry for the public, and no barrels. */
export function checkBarrels(paths: readonly string[]): string[] {
  return paths.filter((path) => /(?:^|\/)index\.[cm]?tsx?$/.test(path) && path !== 'src/index.ts')
}

export function checkLength(files: readonly TextFile[]): string[] {
  return files
    .map(({ path, text }) => ({ path, lines: text.trimEnd().split('\n').length }))
    .filter(({ lines }) => lines > fileLinesMax)
    .map(({ path, lines }) => `${path}: ${lines} lines`)
}

/** Put together here, so that this file does not hold what it looks for. */
const markers = new RegExp(
  `\\b(?:${['TO', 'FIX', 'X', 'HA'].map((start, at) => start + (['DO', 'ME', 'XX', 'CK'][at] ?? '')).join('|')})\\b`,
)
const machinePaths = new RegExp(
  `(?<![\\w.~$}-])/(?:${['work', 'home', 'root', 'Users'].join('|')})/\\w`,
)

/** What must not be in any text of the repository. */
export function checkTexts(files: readonly TextFile[]): string[] {
  return files.flatMap(({ path, text }) =>
    text.split('\n').flatMap((line, index) => {
      const place = `${path}:${index + 1}`
      if (markers.test(line)) return [`${place}: work that is left over: ${line.trim()}`]
      if (machinePaths.test(line)) return [`${place}: a path of one machine: ${line.trim()}`]
      return []
    }),
  )
}

const unfinishedTest = /\b(?:test|it|describe|suite)(?:\.\w+)*\.(?:only|skip|todo|fails)\b/

export function checkRunsAll(files: readonly SourceFile[]): string[] {
  return findAll(files, [{ pattern: unfinishedTest, problem: 'a test that hides tests' }])
}

/** Folders of test that follow something else than the folders of src. */
const ownTestFolders = new Set(['conformance', 'contracts', 'e2e', 'faults', 'slow', 'support'])
/** Tests of the repository as a whole. */
const wholeTests = new Set(['test/tidy.test.ts', 'test/readme.test.ts', 'test/reference.test.ts'])

/** `test/log/segment.test.ts` belongs to `src/log/segment.ts`, or to the folder `src/log`. */
export function checkMirror(paths: readonly string[], sources: readonly string[]): string[] {
  const folders = new Set(sources.flatMap((path) => parents(path)))
  return paths
    .filter((path) => path.endsWith('.test.ts') && !wholeTests.has(path))
    .filter((path) => {
      const parts = path.split('/').slice(1, -1)
      if (ownTestFolders.has(parts[0] ?? '')) return false
      const mirrored = ['src', ...parts].join('/')
      const source = path.replace(/^test\//, 'src/').replace(/\.test\.ts$/, '.ts')
      return parts.length === 0 ? !sources.includes(source) : !folders.has(mirrored)
    })
    .map((path) => `${path}: there is no such folder or file in src`)
}

/** Folders of src with code but without a test of their own. */
export function checkTested(paths: readonly string[], sources: readonly string[]): string[] {
  const tested = new Set(
    paths.filter((path) => path.endsWith('.test.ts')).map((path) => path.split('/')[1]),
  )
  const folders = new Set(sources.map(folderOf).filter((folder) => folder in ranks))
  return [...folders]
    .filter((folder) => !tested.has(folder))
    .map((folder) => `src/${folder} has no test in test/${folder}`)
}

function parents(path: string): string[] {
  const parts = path.split('/')
  return parts.slice(1).map((_, index) => parts.slice(0, index + 1).join('/'))
}

function findAll(files: readonly SourceFile[], rules: readonly CodeRule[]): string[] {
  return files.flatMap((file) => findCode(file, rules))
}

function findCode({ path, code, text }: SourceFile, rules: readonly CodeRule[]): string[] {
  return rules.flatMap(({ pattern, problem }) => {
    const found = pattern.exec(code)
    if (found === null) return []
    const line = code.slice(0, found.index).split('\n').length
    return [`${path}:${line}: ${problem}: ${text.split('\n')[line - 1]?.trim() ?? ''}`]
  })
}

interface Manifest {
  readonly [group: string]: Readonly<Record<string, string>> | undefined
}

/** Versions that could change from one install to the next. */
export function checkVersions(manifest: Manifest): string[] {
  const groups = ['dependencies', 'devDependencies', 'optionalDependencies', 'peerDependencies']
  return groups.flatMap((group) =>
    Object.entries(manifest[group] ?? {})
      .filter(([, version]) => !/^\d+\.\d+\.\d+(?:-[\w.]+)?$/.test(version))
      .map(([name, version]) => `${group}: ${name} ${version}`),
  )
}
