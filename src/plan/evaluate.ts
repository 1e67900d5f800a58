import { createRequire } from 'node:module'
import { dirname, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createJiti } from 'jiti'
import { QuestlogError, systemErrorCode } from '../core/errors.ts'
import { realFiles, type Files } from '../core/files.ts'
import { defineConfig, event, table } from './authoring.ts'
import { compileDefinition } from './compile.ts'
import type { Definition } from './definition.ts'
import { formatProblems, invalidDefinition, problemLine, shownPath } from './problem-lines.ts'
import { placeOfOffset, type SourcePlace } from './source-place.ts'

/** What `import … from 'questlog'` gives in a definition file. It need not be installed there. */
const questlogModule = { QuestlogError, defineConfig, event, table }

/**
 * Evaluates questlog.config.ts (or .js, .mjs, .json) in this process and compiles it. Every call reads and runs the file anew.
 * Throws DEFINITION_INVALID with one line for each problem: `questlog.config.ts:12:5 events.purchase_sword.route: … — fix: …`.
 * `cacheFolder` keeps the files' JavaScript for the next call: one whose text is the same is run without the compiler, which takes longer than all else.
 * User code may print, hang or end the process: a long-lived process uses `evaluateInChild`.
 */
export async function loadConfigFile(
  path: string,
  files: Files = realFiles,
  cacheFolder?: string,
): Promise<Definition> {
  const file = resolve(path)
  const source = await readSource(file, files)
  const config = await evaluate(file, source, cacheFolder)
  const { definition, problems } = compileDefinition(config)
  if (definition !== undefined) return definition
  throw invalidDefinition(file, formatProblems(file, source, problems))
}

async function readSource(file: string, files: Files): Promise<string> {
  try {
    return (await files.readAll(file)).toString('utf8')
  } catch (error) {
    const missing = systemErrorCode(error) === 'ENOENT'
    const message = missing ? 'there is no such file' : `the file can't be read (${String(error)})`
    const fix = missing ? 'name another with --config, or write one with `questlog init`' : ''
    throw invalidDefinition(file, [problemLine(shownPath(file), message, fix)], error)
  }
}

async function evaluate(
  file: string,
  source: string,
  cacheFolder: string | undefined,
): Promise<unknown> {
  if (file.endsWith('.json')) return parseJson(file, source)
  let exported: unknown
  try {
    const module: unknown = await createLoader(file, cacheFolder).import(file)
    exported = await defaultExport(module)
  } catch (error) {
    throw invalidDefinition(file, [describeFailure(file, source, error)], error)
  }
  if (exported === undefined)
    throw invalidDefinition(file, [
      problemLine(
        shownPath(file),
        'the file has no default export',
        'write export default defineConfig({ … })',
      ),
    ])
  return exported
}

async function parseJson(file: string, source: string): Promise<unknown> {
  try {
    return JSON.parse(source)
  } catch (error) {
    const { message, place } = await placeOfJsonError(source, error)
    throw invalidDefinition(
      file,
      [problemLine(shownPath(file, place), message, 'correct the JSON')],
      error,
    )
  }
}

/** Node's own parser does not always say where: another one does. */
async function placeOfJsonError(
  source: string,
  error: unknown,
): Promise<{ message: string; place?: SourcePlace }> {
  const { parse: parseLossless } = await import('lossless-json')
  let message = messageOf(error)
  try {
    parseLossless(source)
  } catch (second) {
    message = messageOf(second)
  }
  const at = / at position (\d+)/.exec(message)
  if (at === null) return { message: firstLine(message) }
  const place = placeOfOffset(source, Number(at[1]))
  return { message: firstLine(message.replace(at[0], '')), place }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

function firstLine(text: string): string {
  return text.split('\n')[0] ?? ''
}

async function defaultExport(module: unknown): Promise<unknown> {
  if (typeof module !== 'object' || module === null || !('default' in module)) return undefined
  return await Promise.resolve(module.default)
}

/**
 * Only the user's own files are transformed; packages are imported as they are, which is what makes it quick. `zod` is the user's own if the
 * folder has one, else ours.
 */
function createLoader(
  file: string,
  cacheFolder: string | undefined,
): ReturnType<typeof createJiti> {
  return createJiti(file, {
    fsCache: cacheFolder ?? false,
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
  const message = messageOf(error)
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
  const text = `the file throws ${name}${firstLine(message)}`
  const at = error instanceof Error ? placeInStack(error.stack ?? '', file, source) : undefined
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

/** The innermost frame in the folder of the definition. Its line is the source's; its column is not (types are gone), so the line's first character stands for it. */
function placeInStack(stack: string, file: string, source: string): string | undefined {
  for (const [, at = '', line] of stack.matchAll(
    /\(?((?:file:\/\/)?\/[^()\n]+?):(\d+):\d+\)?$/gm,
  )) {
    const path = at.startsWith('file://') ? fileURLToPath(at) : at
    if (path.includes('/node_modules/') || !path.startsWith(`${dirname(file)}/`)) continue
    if (path !== file) return `${shownPath(path)}:${line}`
    const text = source.split('\n')[Number(line) - 1] ?? ''
    return shownPath(file, { line: Number(line), column: text.search(/\S|$/) + 1 })
  }
  return undefined
}
