import { asNode, listField, nodeField, textField, walk, type SyntaxNode } from './syntax-tree.ts'

/** The name of a result column in the tree; null when the column has none of its own; undefined when only DuckDB knows. */
type Name = string | null | undefined

/** A select item: one column, or several whose number the tree does not tell. `names` are theirs if the tree does tell. */
type Item = { readonly name: Name } | { readonly names: readonly Name[] | undefined }

type Definitions = ReadonlyMap<string, SyntaxNode>

/**
 * Names of a statement's result columns, as Trino and Presto give them: an alias or a column's own name in lower case,
 * and `_col<position from 0>` for what has neither. Two columns may have one name.
 * @param duckdbNames DuckDB's names, which hold where the tree does not tell (`*` over a table, joins).
 */
export function resultNames(tree: SyntaxNode, duckdbNames: readonly string[]): string[] {
  const names = namesOf(tree, duckdbNames.length, new Map()) ?? []
  return duckdbNames.map((duckdbName, index) => {
    const name = names.length === duckdbNames.length ? names[index] : undefined
    return name === null ? `_col${index}` : (name ?? duckdbName).toLowerCase()
  })
}

/** One entry a column, or undefined when they can't be matched with `width` columns. */
function namesOf(
  tree: SyntaxNode,
  width: number | undefined,
  outer: Definitions,
): Name[] | undefined {
  const definitions = new Map(outer)
  for (const value of listField(nodeField(tree, 'cte_map'), 'map')) {
    const entry = asNode(value)
    const definition = nodeField(entry, 'value')
    if (definition !== undefined) definitions.set(textField(entry, 'key').toLowerCase(), definition)
  }
  if (tree['type'] === 'SELECT_NODE') {
    const source = nodeField(tree, 'from_table')
    const items = listField(tree, 'select_list').map((item) => itemOf(item, source, definitions))
    return spread(items, width)
  }
  const isByName = textField(tree, 'setop_type').endsWith('BY_NAME')
  const left = nodeField(tree, 'left')
  return left === undefined || isByName ? undefined : namesOf(left, width, definitions)
}

function itemOf(value: unknown, source: SyntaxNode | undefined, definitions: Definitions): Item {
  const item = asNode(value)
  const alias = textField(item, 'alias')
  const isStar = item?.['class'] === 'STAR'
  if (isStar && item?.['columns'] !== true) return { names: starNames(item, source, definitions) }
  if (expands(item)) return { names: undefined }
  if (alias !== '') return { name: alias }
  if (item?.['class'] !== 'COLUMN_REF') return { name: null }
  const last = listField(item, 'column_names').at(-1)
  return { name: typeof last === 'string' ? last : undefined }
}

/** Whether an expression may become several columns: `COLUMNS(…)` and the unnesting of a struct. */
function expands(item: SyntaxNode | undefined): boolean {
  if (textField(item, 'function_name').toLowerCase() === 'unnest')
    return listField(item, 'children').length > 1
  for (const node of walk(item))
    if (node['class'] === 'STAR' && node['columns'] === true) return true
  return false
}

/** Columns of `*` over one subquery, VALUES list or WITH query. Over a table their names are DuckDB's. */
function starNames(
  star: SyntaxNode | undefined,
  source: SyntaxNode | undefined,
  definitions: Definitions,
): Name[] | undefined {
  const isPlain = ['exclude_list', 'replace_list', 'rename_list', 'qualified_exclude_list'].every(
    (list) => listField(star, list).length === 0,
  )
  if (!isPlain) return undefined
  const given = listField(source, 'column_name_alias').filter((name) => typeof name === 'string')
  switch (source?.['type']) {
    case 'EXPRESSION_LIST': {
      const row = listField(source, 'values')[0]
      return Array.isArray(row) ? row.map(() => null) : undefined
    }
    case 'SUBQUERY': {
      const node = nodeField(nodeField(source, 'subquery'), 'node')
      return node && rename(namesOf(node, undefined, definitions), given)
    }
    case 'BASE_TABLE': {
      const name = textField(source, 'table_name').toLowerCase()
      const definition = textField(source, 'schema_name') === '' ? definitions.get(name) : undefined
      const node = nodeField(nodeField(definition, 'query'), 'node')
      if (node === undefined) return undefined
      // Without the name itself, for it may mean the table of that name inside.
      const inner = new Map(definitions)
      inner.delete(name)
      const aliases = listField(definition, 'aliases').filter((alias) => typeof alias === 'string')
      return rename(rename(namesOf(node, undefined, inner), aliases), given)
    }
    default:
      return undefined
  }
}

function rename(names: Name[] | undefined, given: readonly string[]): Name[] | undefined {
  return names?.map((name, index) => given[index] ?? name)
}

/** Lays the items over `width` columns: at most one of them may have a number of columns that the tree does not tell. */
function spread(items: readonly Item[], width: number | undefined): Name[] | undefined {
  const countOf = (item: Item) => ('name' in item ? 1 : item.names?.length)
  const unknownCount = items.filter((item) => countOf(item) === undefined).length
  const known = items.reduce((sum, item) => sum + (countOf(item) ?? 0), 0)
  if (unknownCount > 1 || (unknownCount === 1 && width === undefined)) return undefined
  const room = Math.max(0, (width ?? known) - known)
  return items.flatMap((item) => {
    if ('name' in item) return [item.name]
    return item.names ?? Array<Name>(room).fill(undefined)
  })
}
