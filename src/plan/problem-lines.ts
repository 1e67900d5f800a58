import { isAbsolute, relative, resolve } from 'node:path'
import { QuestlogError } from '../core/errors.ts'
import { realFiles, type Files } from '../core/files.ts'
import { formatKeyPath, type DefinitionProblem } from './problems.ts'
import { findKeyPlace, type SourcePlace } from './source-place.ts'

/** One line for each problem, in the order of the file. */
export function formatProblems(
  file: string,
  source: string,
  problems: readonly DefinitionProblem[],
): string[] {
  const placed = problems.map((problem) => ({
    ...problem,
    place: findKeyPlace(source, problem.path),
  }))
  placed.sort((a, b) => a.place.line - b.place.line || a.place.column - b.place.column)
  return placed.map(({ path, message, fix, place }) => {
    const keys = formatKeyPath(path)
    return problemLine(`${shownPath(file, place)}${keys === '' ? '' : ` ${keys}`}`, message, fix)
  })
}

/** `where: message — fix: …` */
export function problemLine(where: string, message: string, fix: string): string {
  return `${where}: ${message}${fix === '' ? '' : ` — fix: ${fix}`}`
}

/** The path as it is shortest from the current folder, with line and column. */
export function shownPath(file: string, place?: SourcePlace): string {
  const near = relative(process.cwd(), file)
  const shown = near.startsWith('..') || isAbsolute(near) ? file : near
  return place === undefined ? shown : `${shown}:${place.line}:${place.column}`
}

/** DEFINITION_INVALID with these lines as its message. */
export function invalidDefinition(
  file: string,
  lines: readonly string[],
  cause?: unknown,
): QuestlogError {
  return new QuestlogError(
    'DEFINITION_INVALID',
    lines.join('\n'),
    { file, problems: lines.length },
    { cause, hint: 'docs/reference/definition.md describes every key' },
  )
}

/** DEFINITION_INVALID for a problem that was found after the file was compiled, such as SQL that the tables refuse, with the place of its key. */
export async function problemInFile(
  path: string,
  problem: DefinitionProblem,
  cause: unknown,
  files: Files = realFiles,
): Promise<QuestlogError> {
  const file = resolve(path)
  const source = (await files.readAll(file)).toString('utf8')
  return invalidDefinition(file, formatProblems(file, source, [problem]), cause)
}
