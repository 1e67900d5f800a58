import { quoteText } from '../plan/columns.ts'
import { requireReading } from './allowed.ts'
import { excerpt, type Excerpt } from './excerpt.ts'
import type { Part, Token } from './lexer.ts'
import { placeAt, SqlError } from './sql-error.ts'
import {
  asNode,
  listField,
  namedTables,
  nodeField,
  textField,
  type NamedTables,
  type SyntaxNode,
} from './syntax-tree.ts'

/** One statement, found fit to run. */
export type Plan =
  | {
      /** Rows of a SELECT; `tree` is its syntax tree. */
      readonly kind: 'select'
      readonly source: Excerpt
      readonly tree: SyntaxNode
      readonly named: NamedTables
    }
  | {
      /** The plan of a SELECT, as text. */
      readonly kind: 'explain'
      readonly source: Excerpt
      readonly named: NamedTables
    }
  | {
      /** Names and types of the columns that `source`, a SELECT, would have. */
      readonly kind: 'describe'
      readonly source: Excerpt
      readonly tree: SyntaxNode
      readonly named: NamedTables
    }
  | {
      /** A list of names under one header, made by `sql`. */
      readonly kind: 'show'
      readonly sql: string
      readonly header: string
    }

/** What planning needs to know of the engine. */
export interface Planner {
  readonly namespace: string
  /** DuckDB's own parser: the answer of `json_serialize_sql`, parsed. */
  readonly serialize: (sql: string) => Promise<unknown>
}

/** The namespace of tables that questlog itself fills: set-aside events. */
export const ownNamespace = 'questlog'

/**
 * Decides what one statement of a script is, and refuses it unless all it does is read. The decision rests on the syntax
 * tree that DuckDB's parser makes of exactly the text that will run; words are looked at only for the forms that DuckDB
 * does not have itself (SHOW COLUMNS) or that run what stands behind them (EXPLAIN).
 * Throws SQL_INVALID and SQL_REFUSED.
 */
export async function planStatement(whole: string, part: Part, planner: Planner): Promise<Plan> {
  const end = part.offset + part.text.length
  const first = part.tokens[0]
  const second = part.tokens[1]
  switch (first?.kind === 'word' ? first.value : '') {
    case 'show':
      return planShow(whole, part, planner)
    case 'describe':
    case 'desc':
      return planDescribe(whole, part.tokens.slice(1), end, planner)
    case 'explain': {
      const body = explainedTokens(part.tokens)
      if (body[0] === undefined) throw unexpectedEnd(whole, end)
      const inner = excerpt(whole, { start: body[0].start, end, tokens: body })
      const tree = await parseSelect(inner, body, planner, 'EXPLAIN of ')
      const head = part.tokens.slice(0, part.tokens.length - body.length)
      const prefix = `${head.map((token) => explainPart(whole, token)).join(' ')} `
      const source = excerpt(whole, { start: body[0].start, end, tokens: body, prefix })
      return { kind: 'explain', source, named: namedTables(tree) }
    }
    case 'summarize':
      if (second === undefined) throw unexpectedEnd(whole, end)
  }
  const source = excerpt(whole, { start: part.offset, end, tokens: part.tokens })
  const tree = await parseSelect(source, part.tokens, planner)
  return { kind: 'select', source, tree, named: namedTables(tree) }
}

/** What follows EXPLAIN, its ANALYZE and its options in parentheses. The parentheses are options unless a query opens in them. */
function explainedTokens(tokens: readonly Token[]): readonly Token[] {
  let rest = tokens.slice(1)
  if (rest[0]?.kind === 'word' && ['analyze', 'analyse'].includes(rest[0].value))
    rest = rest.slice(1)
  const opens = rest[0]?.kind === 'other' && rest[0].value === '('
  const isOption = rest[1]?.kind === 'word' && !queryWords.has(rest[1].value)
  if (!opens || !isOption) return rest
  const close = rest.findIndex((token) => token.kind === 'other' && token.value === ')')
  return close === -1 ? [] : rest.slice(close + 1)
}

/** What stands before the query is not in the tree that is checked: it is written anew, of nothing but words and plain values of options. */
function explainPart(whole: string, token: Token): string {
  const text = whole.slice(token.start, token.end)
  if (/^(?:[A-Za-z_]+|'\w*'|[(),=])$/.test(text)) return text
  throw new SqlError('SQL_INVALID', `unexpected ${text}`, { place: placeAt(whole, token.start) })
}

const queryWords = new Set(['select', 'with', 'from', 'values', 'table', 'pivot', 'unpivot'])

/** The syntax tree of the one SELECT that `source` holds, checked by `requireReading`. */
async function parseSelect(
  source: Excerpt,
  tokens: readonly Token[],
  planner: Planner,
  context = '',
): Promise<SyntaxNode> {
  const answer = asNode(await planner.serialize(source.sql))
  if (answer?.['error'] === true) {
    const message = textField(answer, 'error_message')
    if (/^only select/i.test(message)) throw refusal(tokens, context)
    const position = textField(answer, 'position')
    throw new SqlError('SQL_INVALID', message, {
      place: source.place(position === '' ? undefined : Number(position)),
    })
  }
  const statements = listField(answer, 'statements')
  const tree = nodeField(asNode(statements[0]), 'node')
  if (statements.length !== 1 || tree === undefined) throw refusal(tokens, context)
  requireReading(tree, source)
  return tree
}

function refusal(tokens: readonly Token[], context = ''): SqlError {
  const verb = tokens[0]?.kind === 'word' ? tokens[0].value.toUpperCase() : 'this statement'
  return new SqlError('SQL_REFUSED', `${context}${verb} is not served`)
}

function unexpectedEnd(whole: string, end: number): SqlError {
  return new SqlError('SQL_INVALID', 'the statement ends too early', { place: placeAt(whole, end) })
}

async function planDescribe(
  whole: string,
  tokens: readonly Token[],
  end: number,
  planner: Planner,
): Promise<Plan> {
  const first = tokens[0]
  if (first === undefined) throw unexpectedEnd(whole, end)
  const isQuery =
    (first.kind === 'word' && queryWords.has(first.value)) ||
    (first.kind === 'other' && first.value === '(')
  const prefix = isQuery ? '' : 'SELECT * FROM '
  const source = excerpt(whole, { start: first.start, end, tokens, prefix })
  const tree = await parseSelect(source, tokens, planner, 'DESCRIBE of ')
  return { kind: 'describe', source, tree, named: namedTables(tree) }
}

async function planShow(whole: string, part: Part, planner: Planner): Promise<Plan> {
  const end = part.offset + part.text.length
  const words = part.tokens.slice(1)
  const preposition = ['from', 'in'].includes(words[1]?.kind === 'word' ? words[1].value : '')
  const subject = words[0]?.kind === 'word' ? words[0].value : ''
  if (subject === 'columns' && preposition) return planDescribe(whole, words.slice(2), end, planner)
  if (subject !== 'tables' && subject !== 'schemas')
    throw new SqlError('SQL_REFUSED', 'this form of SHOW is not served', {
      hint: 'use `show tables`, `show columns from TABLE` or `show schemas`',
    })
  let rest = words.slice(1)
  let schema = planner.namespace
  if (subject === 'tables' && preposition) {
    schema = namespaceOf(whole, rest[1], end, planner)
    rest = rest.slice(2)
  }
  const like = rest[0]?.value === 'like' ? rest[1] : undefined
  if (like?.kind === 'text') rest = rest.slice(2)
  const extra = rest[0]
  if (extra !== undefined)
    throw new SqlError('SQL_INVALID', `unexpected ${whole.slice(extra.start, extra.end)}`, {
      place: placeAt(whole, extra.start),
    })
  const pattern = like === undefined ? quoteText('%') : like.value
  return subject === 'tables'
    ? { kind: 'show', sql: listTablesSql(schema, pattern), header: 'Table' }
    : { kind: 'show', sql: listSchemasSql(planner.namespace, pattern), header: 'Schema' }
}

function namespaceOf(
  whole: string,
  token: Token | undefined,
  end: number,
  planner: Planner,
): string {
  if (token === undefined) throw unexpectedEnd(whole, end)
  const known = [planner.namespace, ownNamespace]
  const found = known.find((name) => name.toLowerCase() === token.value.toLowerCase())
  if (found === undefined)
    throw new SqlError('SQL_INVALID', `schema ${token.value} does not exist`, {
      place: placeAt(whole, token.start),
      suggestions: known,
    })
  return found
}

function listTablesSql(schema: string, pattern: string): string {
  return `SELECT lower(view_name) AS name FROM duckdb_views() WHERE schema_name = ${quoteText(schema)} AND lower(view_name) LIKE lower(${pattern}) ORDER BY 1`
}

function listSchemasSql(namespace: string, pattern: string): string {
  return `SELECT lower(name) FROM (VALUES (${quoteText(namespace)}), (${quoteText(ownNamespace)})) AS t(name) WHERE lower(name) LIKE lower(${pattern}) ORDER BY 1`
}
