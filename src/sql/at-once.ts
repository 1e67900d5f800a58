import type { Plan } from './statements.ts'
import { asNode, listField, nodeField, textField, walk, type SyntaxNode } from './syntax-tree.ts'

/** Half of what a chunk of DuckDB's holds: rows in memory are no more than those of a stream. */
export const rowsAtOnceMax = 1024

/** A text that gives the rows of a statement, and how many of them it may give. */
export interface AtOnce {
  readonly sql: string
  /** With more rows the text has left some out. */
  readonly rowsMax: number
}

/**
 * How the rows of a SELECT are read at once instead of one chunk after another; undefined when they are not. DuckDB plans a statement over Parquet files twice when it is to be
 * streamed, which costs as much as a small one does in all. Its own LIMIT bounds the rows; otherwise one is put behind it, if leaving off early costs little more than reading on:
 * rows of one table as they come. Statements that first sort, group or join would do all of that again.
 */
export function readAtOnce({
  source,
  tree,
}: Pick<Extract<Plan, { kind: 'select' }>, 'source' | 'tree'>): AtOnce | undefined {
  if (hasSmallLimit(tree)) return { sql: source.sql, rowsMax: rowsAtOnceMax }
  if (!isPlainScan(tree)) return undefined
  return { sql: `${source.sql}\nLIMIT ${rowsAtOnceMax + 1}`, rowsMax: rowsAtOnceMax }
}

function hasSmallLimit(tree: SyntaxNode): boolean {
  const limits = listField(tree, 'modifiers').filter((modifier) =>
    textField(asNode(modifier), 'type').startsWith('LIMIT'),
  )
  const limit = asNode(limits[0])
  const value = nodeField(nodeField(limit, 'limit'), 'value')
  const rows = value?.['value']
  return (
    limits.length === 1 &&
    limit?.['type'] === 'LIMIT_MODIFIER' &&
    nodeField(limit, 'limit')?.['class'] === 'CONSTANT' &&
    // The tree may be of another text with as many digits (tree-cache.ts): that bounds an INTEGER, but not 1e+1.
    nodeField(value, 'type')?.['id'] === 'INTEGER' &&
    typeof rows === 'number' &&
    rows <= rowsAtOnceMax
  )
}

function isPlainScan(tree: SyntaxNode): boolean {
  const grouped = ['modifiers', 'group_expressions', 'group_sets']
  return (
    grouped.every((field) => listField(tree, field).length === 0) &&
    tree['having'] === null &&
    tree['aggregate_handling'] === 'STANDARD_HANDLING' &&
    isPlainSelect(tree)
  )
}

/** Of one table or none, with nothing in it that is a query by itself or looks at the rows around. */
export function isPlainSelect(tree: SyntaxNode): boolean {
  const from = nodeField(tree, 'from_table')
  const isPlain =
    tree['type'] === 'SELECT_NODE' &&
    ['sample', 'qualify'].every((field) => tree[field] === null) &&
    listField(nodeField(tree, 'cte_map'), 'map').length === 0 &&
    (from?.['type'] === 'EMPTY' || (from?.['type'] === 'BASE_TABLE' && from['sample'] === null))
  if (!isPlain) return false
  for (const node of walk(tree))
    if (node['class'] === 'WINDOW' || node['class'] === 'SUBQUERY') return false
  return true
}
