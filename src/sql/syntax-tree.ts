/** A node of DuckDB's syntax tree, as `json_serialize_sql` gives it. Its shape belongs to DuckDB: read it with the functions below, which take nothing for granted. */
export type SyntaxNode = Readonly<Record<string, unknown>>

export function asNode(value: unknown): SyntaxNode | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as SyntaxNode) // an object of parsed JSON
    : undefined
}

export function nodeField(node: SyntaxNode | undefined, name: string): SyntaxNode | undefined {
  return asNode(node?.[name])
}

export function listField(node: SyntaxNode | undefined, name: string): readonly unknown[] {
  const value = node?.[name]
  return Array.isArray(value) ? value : []
}

export function textField(node: SyntaxNode | undefined, name: string): string {
  const value = node?.[name]
  return typeof value === 'string' ? value : ''
}

/** Byte position in the statement, or undefined when the node has none. */
export function locationOf(node: SyntaxNode): number | undefined {
  const value = node['query_location']
  // DuckDB writes 2^64-1 for "none".
  return typeof value === 'number' && value < Number.MAX_SAFE_INTEGER ? value : undefined
}

/** A tree is looked over by several, and comes again (tree-cache.ts). */
const knownNodes = new WeakMap<SyntaxNode, readonly SyntaxNode[]>()

/** Every object of the tree, the root included, which must not change. */
export function walk(root: SyntaxNode | undefined): readonly SyntaxNode[] {
  if (root === undefined) return []
  let nodes = knownNodes.get(root)
  if (nodes === undefined) knownNodes.set(root, (nodes = listNodes(root)))
  return nodes
}

/** Without recursion, for a tree may be deep. */
function listNodes(root: SyntaxNode): SyntaxNode[] {
  const nodes: SyntaxNode[] = []
  const stack: unknown[] = [root]
  for (let value = stack.pop(); value !== undefined; value = stack.pop()) {
    const node = asNode(value)
    if (node !== undefined) nodes.push(node)
    const children: readonly unknown[] = Array.isArray(value) ? value : Object.values(node ?? {})
    for (const child of children) {
      if (typeof child === 'object' && child !== null) stack.push(child)
    }
  }
  return nodes
}

/** A table as a statement names it; empty text where a part is not given. */
export interface TableReference {
  readonly catalog: string
  readonly schema: string
  readonly name: string
}

export interface NamedTables {
  readonly tables: readonly TableReference[]
  /** Names that the tree defines in WITH, in lower case. */
  readonly defined: ReadonlySet<string>
}

const knownNames = new WeakMap<SyntaxNode, NamedTables>()

/** What a tree reads by name. A name may be both defined in WITH and a table: which one is meant depends on the place. */
export function namedTables(root: SyntaxNode): NamedTables {
  let named = knownNames.get(root)
  if (named === undefined) knownNames.set(root, (named = listNames(root)))
  return named
}

function listNames(root: SyntaxNode): NamedTables {
  const tables: TableReference[] = []
  const defined = new Set<string>()
  for (const node of walk(root)) {
    for (const entry of listField(nodeField(node, 'cte_map'), 'map'))
      defined.add(textField(asNode(entry), 'key').toLowerCase())
    if (node['type'] !== 'BASE_TABLE') continue
    tables.push({
      catalog: textField(node, 'catalog_name'),
      schema: textField(node, 'schema_name'),
      name: textField(node, 'table_name'),
    })
  }
  return { tables, defined }
}
