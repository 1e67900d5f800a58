import type { ColumnRange, Narrowing } from '../lake/pruning.ts'
import { quoteName } from '../plan/columns.ts'
import { isPlainSelect } from './at-once.ts'
import { momentOf } from './moments.ts'
import {
  asNode,
  listField,
  locationOf,
  nodeField,
  textField,
  walk,
  type SyntaxNode,
} from './syntax-tree.ts'

/** The one table of a statement, and what it may want of it. */
export interface NarrowedTable {
  /** As the statement spells it, without a schema. */
  readonly name: string
  readonly wanted: Narrowing
  /** The statement, or what begins with it, with the rows of a SELECT in place of the table. */
  readonly readFrom: (scan: string, statement: string) => string
}

/**
 * What a SELECT of one table asks of it: the columns that it names, and the whole numbers and moments that its WHERE compares them to. A view binds all its columns, and all files, which costs
 * several times what a look-up does. Undefined when it is another statement, or may ask for what it does not name.
 */
export function readNarrowing(
  tree: SyntaxNode,
  sql: string,
  nowMs: number,
): NarrowedTable | undefined {
  const from = nodeField(tree, 'from_table')
  const name = textField(from, 'table_name')
  const isPlain =
    isPlainSelect(tree) &&
    from?.['type'] === 'BASE_TABLE' &&
    from['at_clause'] === null &&
    listField(from, 'column_name_alias').length === 0 &&
    textField(from, 'schema_name') === '' &&
    textField(from, 'catalog_name') === ''
  if (!isPlain) return undefined
  const placeOf = placesIn(sql)
  const start = placeOf(from)
  const end = start + (matchAt(spelledName, sql, start)?.length ?? 0)
  if (end === start) return undefined
  const alias = textField(from, 'alias')
  const columns = namedColumns(tree, new Set([lower(name), lower(alias)]))
  if (columns === undefined) return undefined
  const conditions = conjuncts(nodeField(tree, 'where_clause'))
  const numberOf = (node: SyntaxNode) =>
    node['class'] === 'CONSTANT' ? numberAt(sql, placeOf(node)) : undefined
  const ranges = conditions.flatMap(
    (condition) => rangeOf(condition, (node) => valueOf(node, numberOf, nowMs)) ?? [],
  )
  const as = alias === '' ? ` AS ${quoteName(name)}` : ''
  return {
    name,
    wanted: { columns, ranges },
    readFrom: (scan, statement) =>
      `${statement.slice(0, start)}(${scan})${as}${statement.slice(end)}`,
  }
}

const spelledName = /"(?:[^"]|"")+"|[A-Za-z_][\w$]*/y

/** Places of nodes in the text, where the tree gives bytes. Its end for one that is not known. */
function placesIn(sql: string): (node: SyntaxNode) => number {
  if (isAscii.test(sql)) return (node) => Math.min(locationOf(node) ?? sql.length, sql.length)
  if (wideSpace.test(sql)) return () => sql.length
  const bytes = Buffer.from(sql)
  // Nodes are asked for from left to right: counted from the last one on, a long statement is read once, not once for each of them.
  let last = { byte: 0, place: 0 }
  return (node) => {
    const byte = Math.min(locationOf(node) ?? bytes.length, bytes.length)
    const from = byte < last.byte ? { byte: 0, place: 0 } : last
    last = { byte, place: from.place + bytes.toString('utf8', from.byte, byte).length }
    return last.place
  }
}

// oxlint-disable-next-line no-control-regex
const isAscii = /^[\x00-\x7f]*$/

/** DuckDB's parser puts one byte in place of each of these before it counts, unless it stands in quotes. */
const wideSpace = /[\u00a0\u2000-\u200d\u202f\u205f\u2060\u3000\ufeff]/

function matchAt(pattern: RegExp, sql: string, place: number): string | undefined {
  pattern.lastIndex = place
  return pattern.exec(sql)?.[0]
}

const lower = (text: string) => text.toLowerCase()

/** Undefined when all of them may be meant: by a star, by a position, or by the name of the table, which is a row of it. */
function namedColumns(
  tree: SyntaxNode,
  tables: ReadonlySet<string>,
): ReadonlySet<string> | undefined {
  const columns = new Set<string>()
  for (const node of walk(tree)) {
    if (node['class'] === 'STAR' || node['class'] === 'POSITIONAL_REFERENCE') return undefined
    if (node['class'] !== 'COLUMN_REF') continue
    const parts = partsOf(node)
    if (tables.has(parts.at(-1) ?? '')) return undefined
    for (const part of parts) columns.add(part)
  }
  return columns
}

function partsOf(reference: SyntaxNode): readonly string[] {
  return listField(reference, 'column_names').map((part) => lower(String(part)))
}

/** The conditions that must all be true. */
function conjuncts(condition: SyntaxNode | undefined): readonly SyntaxNode[] {
  if (condition === undefined) return []
  if (condition['type'] !== 'CONJUNCTION_AND') return [condition]
  return listField(condition, 'children').flatMap((child) => conjuncts(asNode(child)))
}

/** What a column is compared to, as far as it is known. */
type Value = Pick<ColumnRange, 'min' | 'max' | 'microseconds'>

function valueOf(
  node: SyntaxNode | undefined,
  numberOf: (node: SyntaxNode) => number | undefined,
  nowMs: number,
): Value | undefined {
  if (node === undefined) return undefined
  const number = numberOf(node)
  if (number !== undefined) return { min: number, max: number }
  const moment = momentOf(node, nowMs, numberOf)
  return moment === undefined ? undefined : { ...moment, microseconds: true }
}

const unbounded = { min: Number.NEGATIVE_INFINITY, max: Number.POSITIVE_INFINITY }

/** By the type of a comparison, the values that are wanted of what stands left of it. Limits belong to them: more is always right. */
const bounds: Readonly<Record<string, (value: Value) => Value>> = {
  COMPARE_EQUAL: (value) => value,
  COMPARE_GREATERTHAN: (value) => ({ ...value, max: unbounded.max }),
  COMPARE_GREATERTHANOREQUALTO: (value) => ({ ...value, max: unbounded.max }),
  COMPARE_LESSTHAN: (value) => ({ ...value, min: unbounded.min }),
  COMPARE_LESSTHANOREQUALTO: (value) => ({ ...value, min: unbounded.min }),
}

/** Only of a column to the left, as it is usually written. */
function rangeOf(
  condition: SyntaxNode,
  valueOf: (node: SyntaxNode | undefined) => Value | undefined,
): ColumnRange | undefined {
  const isBetween = condition['type'] === 'COMPARE_BETWEEN'
  const column = columnOf(nodeField(condition, isBetween ? 'input' : 'left'))
  if (column === undefined) return undefined
  if (isBetween) {
    const lower = valueOf(nodeField(condition, 'lower'))
    const upper = valueOf(nodeField(condition, 'upper'))
    const known = lower ?? upper
    if (known === undefined || known.microseconds !== (upper ?? known).microseconds)
      return undefined
    const min = lower?.min ?? unbounded.min
    return { ...known, column, min, max: upper?.max ?? unbounded.max }
  }
  const value = valueOf(nodeField(condition, 'right'))
  const range = bounds[textField(condition, 'type')]
  return value === undefined || range === undefined ? undefined : { column, ...range(value) }
}

/** The table may be named before it: what has more parts may be a field of a struct. */
function columnOf(node: SyntaxNode | undefined): string | undefined {
  if (node?.['class'] !== 'COLUMN_REF') return undefined
  const parts = partsOf(node)
  return parts.length === 1 ? parts[0] : undefined
}

/** A whole number as the text has it: the tree may be of another text with other digits (tree-cache.ts). */
function numberAt(sql: string, place: number): number | undefined {
  const digits = matchAt(wholeNumber, sql, place)
  return digits === undefined ? undefined : Number(digits)
}

/** Few enough to be exact. */
const wholeNumber = /(?<![\w.])\d{1,15}(?![\w.])/y
