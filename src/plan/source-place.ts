import type { KeyPath } from './problems.ts'
import { tokensOf, type Token } from './source-tokens.ts'

/** A place in a file as editors count: the first line and column are 1. */
export interface SourcePlace {
  readonly line: number
  readonly column: number
}

/**
 * Where a key of the definition is written in the source of questlog.config.ts (or .json). The path is followed through object and array
 * literals, through calls (`event({ … })`, `z.object({ … })`) and through constants of the same file; where that ends, the place of the last key found.
 */
export function findKeyPlace(source: string, path: KeyPath): SourcePlace {
  const tokens = tokensOf(source)
  let range = rootValue(tokens)
  let place = range.start
  for (const key of path) {
    const found = findKey(tokens, range, key)
    if (found === undefined) break
    place = found.key
    range = found.value
  }
  return placeOfOffset(source, tokens[place]?.at ?? 0)
}

/** Line and column of a character offset. */
export function placeOfOffset(source: string, offset: number): SourcePlace {
  const before = source.slice(0, offset)
  const lineStart = before.lastIndexOf('\n') + 1
  return { line: before.split('\n').length, column: offset - lineStart + 1 }
}

/** Token indexes: from `start` up to, not including, `end`. */
interface Range {
  readonly start: number
  readonly end: number
}

interface FoundKey {
  /** Index of the key's token. */
  readonly key: number
  readonly value: Range
}

function rootValue(tokens: readonly Token[]): Range {
  const end = tokens.length
  for (let index = 0; index < end; index++) {
    if (isName(tokens, index, 'export') && isName(tokens, index + 1, 'default'))
      return statementAt(tokens, index + 2)
    if (
      isName(tokens, index, 'module') &&
      isMark(tokens, index + 1, '.') &&
      isName(tokens, index + 2, 'exports')
    )
      return statementAt(tokens, index + 4)
  }
  return { start: 0, end }
}

function findKey(
  tokens: readonly Token[],
  value: Range,
  key: string | number,
): FoundKey | undefined {
  const open = findLiteral(tokens, value, 0)
  if (open === undefined) return undefined
  if (isMark(tokens, open, '[')) return findElement(tokens, open, key)
  const properties = propertiesOf(tokens, open)
  const found = properties.find((property) => tokens[property.key]?.text === String(key))
  if (found !== undefined) return found
  // A plain JSON Schema keeps its fields one level deeper.
  const nested = properties.find((property) => tokens[property.key]?.text === 'properties')
  return nested === undefined || key === 'properties'
    ? undefined
    : findKey(tokens, nested.value, key)
}

/** The opening brace or bracket of the literal that a value is, or is made from. A lone name leads to the constant of that name. */
function findLiteral(tokens: readonly Token[], value: Range, depth: number): number | undefined {
  for (let index = value.start; index < value.end; index++)
    if (isMark(tokens, index, '{') || isMark(tokens, index, '[')) return index
  const name = tokens[value.start]
  if (name?.kind !== 'name' || depth > 20) return undefined
  for (let index = 0; index + 1 < tokens.length; index++) {
    const declares = ['const', 'let', 'var'].some((word) => isName(tokens, index, word))
    if (!declares || !isName(tokens, index + 1, name.text)) continue
    return findLiteral(tokens, afterEquals(tokens, statementAt(tokens, index + 2)), depth + 1)
  }
  return undefined
}

function statementAt(tokens: readonly Token[], start: number): Range {
  return { start, end: endOfStatement(tokens, start) }
}

/** The value of a declaration, without the type between its name and the equals sign. */
function afterEquals(tokens: readonly Token[], declaration: Range): Range {
  let index = declaration.start
  while (index < declaration.end && !isMark(tokens, index, '=')) index = afterToken(tokens, index)
  return { start: index + 1, end: declaration.end }
}

/** Where a `const` ends: at a semicolon or the next declaration outside of all brackets. */
function endOfStatement(tokens: readonly Token[], start: number): number {
  let index = start
  while (index < tokens.length) {
    const token = tokens[index]
    if (token === undefined || isMark(tokens, index, ';')) return index
    if (token.kind === 'name' && ['const', 'let', 'var', 'export', 'function'].includes(token.text))
      return index
    index = afterToken(tokens, index)
  }
  return tokens.length
}

function findElement(
  tokens: readonly Token[],
  open: number,
  key: string | number,
): FoundKey | undefined {
  let start = open + 1
  for (let position = 0; start < tokens.length && !isMark(tokens, start, ']'); position++) {
    const end = endOfValue(tokens, start)
    if (position === key) return { key: start, value: { start, end } }
    if (!isMark(tokens, end, ',')) return undefined
    start = end + 1
  }
  return undefined
}

function propertiesOf(tokens: readonly Token[], open: number): FoundKey[] {
  const found: FoundKey[] = []
  let index = open + 1
  while (index < tokens.length && !isMark(tokens, index, '}')) {
    const end = endOfValue(tokens, index)
    const key = isMark(tokens, index, '[') ? index + 1 : index // ['computed']: value
    const colon = key === index ? index + 1 : index + 3
    const start = isMark(tokens, colon, ':') ? colon + 1 : key // shorthand: the name is the value
    if (tokens[key]?.kind !== 'mark') found.push({ key, value: { start, end } })
    if (!isMark(tokens, end, ',')) break
    index = end + 1
  }
  return found
}

/** The index of the comma or closing bracket that ends the value. */
function endOfValue(tokens: readonly Token[], start: number): number {
  let index = start
  while (index < tokens.length) {
    if ([',', '}', ']', ')'].some((mark) => isMark(tokens, index, mark))) return index
    index = afterToken(tokens, index)
  }
  return tokens.length
}

/** The index after a token, or after the bracket that closes it. */
function afterToken(tokens: readonly Token[], index: number): number {
  const opens = (at: number) => ['{', '[', '('].some((mark) => isMark(tokens, at, mark))
  if (!opens(index)) return index + 1
  let depth = 0
  for (let at = index; at < tokens.length; at++) {
    if (opens(at)) depth++
    else if (['}', ']', ')'].some((mark) => isMark(tokens, at, mark)) && --depth === 0)
      return at + 1
  }
  return tokens.length
}

function isMark(tokens: readonly Token[], index: number, text: string): boolean {
  const token = tokens[index]
  return token?.kind === 'mark' && token.text === text
}

function isName(tokens: readonly Token[], index: number, text: string): boolean {
  const token = tokens[index]
  return token?.kind === 'name' && token.text === text
}
