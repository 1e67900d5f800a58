import { createRequire } from 'node:module'
import { dirname, isAbsolute, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createJiti } from 'jiti'
import { QuestlogError, systemErrorCode } from '../core/errors.ts'
import { realFiles, type Files } from '../core/files.ts'
import { defineConfig, event, table } from './authoring.ts'
import { compileDefinition } from './compile.ts'
import type { Definition } from './definition.ts'
import { formatKeyPath, type DefinitionProblem } from './problems.ts'
import { findKeyPlace, placeOfOffset, type SourcePlace } from './source-place.ts'

/** What `import … from 'questlog'` gives in a definition file. It need not be installed there. */
const questlogModule = { QuestlogError, defineConfig, event, table }

/**
 * Evaluates questlog.config.ts (or .js, .mjs, .json) in this process and compiles it. Every call reads and runs the file anew.
 * Throws DEFINITION_INVALID with one line for each problem: `questlog.config.ts:12:5 events.purchase_sword.route: … — fix: …`.
 * User code may print, hang or end the process: a long-lived process uses `evaluateInChild`.
 */
export async function loadConfigFile(path: string, files: Files = realFiles): Promise<Definition> {
  const file = resolve(path)
  const source = await readSource(file, files)
  const config = await evaluate(file, source)
  const { definition, problems } = compileDefinition(config)
  if (definition !== undefined) return definition
  throw invalid(
    file,
    problems.map((problem) => formatProblem(file, source, problem)),
  )
}

async function readSource(file: string, files: Files): Promise<string> {
  try {
    return (await files.readAll(file)).toString('utf8')
  } catch (error) {
    const missing = systemErrorCode(error) === 'ENOENT'
    const message = missing ? 'there is no such file' : `the file can't be read (${String(error)})`
    const fix = missing ? 'name another with --config, or write one with `questlog init`' : ''
    throw invalid(file, [problemLine(shownPath(file), message, fix)], error)
  }
}

async function evaluate(file: string, source: string): Promise<unknown> {
  if (file.endsWith('.json')) return parseJson(file, source)
  let exported: unknown
  try {
    const module: unknown = await createLoader(file).import(file)
    exported = await defaultExport(module)
  } catch (error) {
    throw invalid(file, [describeFailure(file, source, error)], error)
  }
  if (exported === undefined)
    throw invalid(file, [
      problemLine(
        shownPath(file),
        'the file has no default export',
        'write export default defineConfig({ … })',
      ),
    ])
  return exported
}

function parseJson(file: string, source: string): unknown {
  try {
    return JSON.parse(source)
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    const offset = /at position (\d+)/.exec(message)?.[1]
    const place = offset === undefined ? undefined : placeOfOffset(source, Number(offset))
    const line = problemLine(shownPath(file, place), message, 'correct the JSON')
    throw invalid(file, [line], error)
  }
}

async function defaultExport(module: unknown): Promise<unknown> {
  if (typeof module !== 'object' || module === null || !('default' in module)) return undefined
  return await Promise.resolve(module.default)
}

/**
 * Only the user's own files are transformed; packages are imported as they are, which is what makes it quick. `zod` is the user's own if the
 * folder has one, else ours.
 */
function createLoader(file: string): ReturnType<typeof createJiti> {
  return createJiti(file, {
    fsCache: false,
    moduleCache: false,
    interopDefault: false,
    nativeModules: ['zod'],
    virtualModules: { questlog: questlogModule },
    alias: hasOwnZod(file) ? {} : { zod: ownZodFolder() },
  })
}

function hasOwnZod(file: string): boolean {
  try {
    createRequire(file).resolve('zod')
    return true
  } catch {
    return false
  }
}

function ownZodFolder(): string {
  return dirname(createRequire(import.meta.url).resolve('zod'))
}

/** A syntax error or an exception of user code as one line with its place. */
function describeFailure(file: string, source: string, error: unknown): string {
  const message = error instanceof Error ? error.message : String(error)
  const syntax = /^ParseError: (.*?)\s*\n\s*(.+):(\d+):(\d+)$/s.exec(message)
  if (syntax !== null) {
    const [, text = '', at = file, line, column] = syntax
    // The parser counts columns from 0.
    const place = { line: Number(line), column: Number(column) + 1 }
    return problemLine(shownPath(at, place), `syntax error: ${text}`, 'correct the syntax')
  }
  const missing = /Cannot find (?:module|package) '([^']+)'/.exec(message)?.[1]
  if (missing !== undefined) return describeMissingModule(file, source, missing)
  const name = error instanceof Error ? `${error.name}: ` : ''
  const text = `the file throws ${name}${message.split('\n')[0]}`
  const at = error instanceof Error ? placeInStack(error.stack ?? '', file) : undefined
  return problemLine(at ?? shownPath(file), text, 'correct the code at this line')
}

function describeMissingModule(file: string, source: string, module: string): string {
  const offset = Math.max(source.indexOf(`'${module}'`), source.indexOf(`"${module}"`))
  const place = offset === -1 ? undefined : placeOfOffset(source, offset)
  const fix = /^[./]/.test(module)
    ? 'correct the path'
    : `run npm install ${module} in ${dirname(file)}`
  return problemLine(shownPath(file, place), `there is no module ${module}`, fix)
}

/** The innermost frame that is the user's code: in the definition file, else outside of all packages and of ours. */
function placeInStack(stack: string, file: string): string | undefined {
  const frames = [...stack.matchAll(/\(?((?:file:\/\/)?\/[^()\n]+?):(\d+):(\d+)\)?$/gm)].map(
    ([, at = '', line, column]) => ({
      at: at.startsWith('file://') ? fileURLToPath(at) : at,
      place: { line: Number(line), column: Number(column) },
    }),
  )
  const own = frames.find(({ at }) => at === file)
  const other = frames.find(
    ({ at }) => !at.includes('/node_modules/') && at.startsWith(`${dirname(file)}/`),
  )
  const frame = other ?? own
  return frame === undefined ? undefined : shownPath(frame.at, frame.place)
}

function formatProblem(file: string, source: string, problem: DefinitionProblem): string {
  const place = findKeyPlace(source, problem.path)
  const keys = formatKeyPath(problem.path)
  const where = `${shownPath(file, place)}${keys === '' ? '' : ` ${keys}`}`
  return problemLine(where, problem.message, problem.fix)
}

function problemLine(where: string, message: string, fix: string): string {
  return `${where}: ${message}${fix === '' ? '' : ` — fix: ${fix}`}`
}

/** The path as it is shortest from the current folder, with line and column. */
function shownPath(file: string, place?: SourcePlace): string {
  const near = relative(process.cwd(), file)
  const shown = near.startsWith('..') || isAbsolute(near) ? file : near
  return place === undefined ? shown : `${shown}:${place.line}:${place.column}`
}

function invalid(file: string, lines: readonly string[], cause?: unknown): QuestlogError {
  return new QuestlogError(
    'DEFINITION_INVALID',
    lines.join('\n'),
    { file, problems: lines.length },
    cause === undefined ? {} : { cause },
  )
}
