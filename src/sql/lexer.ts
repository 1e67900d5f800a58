/** A piece of SQL text. `start` and `end` are UTF-16 positions in the text, `end` exclusive. */
export interface Token {
  readonly kind: 'word' | 'name' | 'text' | 'other'
  /** A word in lower case, a double-quoted name without its quotes, else the characters as they are. */
  readonly value: string
  readonly start: number
  readonly end: number
}

/** To DuckDB a carriage return alone ends a comment as well: what follows it would run, unseen by us. */
const spaceOrLineComment = /(?:\s|--[^\n\r]*)+/y
const word = /[\p{L}_][\p{L}\p{N}\p{M}_$]*/uy
const dollarQuote = /\$(?:[\p{L}_][\p{L}\p{N}\p{M}_]*)?\$/uy
const quoted = /'(?:[^']|'')*'?/y
const escaped = /[eE]'(?:[^'\\]|''|\\[\s\S])*'?/y
const quotedName = /"(?:[^"]|"")*"?/y

/**
 * Cuts SQL into words, quoted names, texts and single other characters; spaces and comments are left out.
 * It never fails: what the SQL means, and whether it is well-formed, is decided by DuckDB's own parser afterwards.
 */
export function tokenize(sql: string): Token[] {
  const tokens: Token[] = []
  let position = 0
  const match = (pattern: RegExp): string | undefined => {
    pattern.lastIndex = position
    return pattern.exec(sql)?.[0]
  }
  const push = (kind: Token['kind'], length: number, value: string) => {
    tokens.push({ kind, value, start: position, end: position + length })
    position += length
  }
  while (position < sql.length) {
    const skipped = match(spaceOrLineComment)?.length ?? blockCommentLength(sql, position)
    if (skipped > 0) {
      position += skipped
      continue
    }
    const text = match(escaped) ?? match(quoted)
    const name = match(quotedName)
    const plain = match(word)
    const fence = match(dollarQuote)
    if (text !== undefined) push('text', text.length, text)
    else if (name !== undefined) push('name', name.length, unquote(name))
    else if (plain !== undefined) push('word', plain.length, plain.toLowerCase())
    else if (fence !== undefined) {
      const close = sql.indexOf(fence, position + fence.length)
      const end = close === -1 ? sql.length : close + fence.length
      push('text', end - position, sql.slice(position, end))
    } else push('other', 1, sql.charAt(position))
  }
  return tokens
}

/** Block comments nest. 0 when there is none at the position. */
function blockCommentLength(sql: string, start: number): number {
  if (!sql.startsWith('/*', start)) return 0
  let depth = 0
  for (let position = start; position < sql.length; position++) {
    if (sql.startsWith('/*', position)) {
      depth++
      position++
    } else if (sql.startsWith('*/', position)) {
      depth--
      position++
      if (depth === 0) return position + 1 - start
    }
  }
  return sql.length - start
}

function unquote(name: string): string {
  const closed = name.length > 1 && name.endsWith('"')
  return name.slice(1, closed ? -1 : undefined).replaceAll('""', '"')
}

/** A part of a text: `text` starts at `offset` of the whole. */
export interface Part {
  readonly text: string
  readonly offset: number
  /** Positions are in the whole text. */
  readonly tokens: readonly Token[]
}

/** The statements of a script: what stands between semicolons that are not inside a text, name or comment. Parts without a token are left out. */
export function splitStatements(sql: string): Part[] {
  const parts: Part[] = []
  let tokens: Token[] = []
  let offset = 0
  const finish = (end: number) => {
    if (tokens.length > 0) parts.push({ text: sql.slice(offset, end), offset, tokens })
    tokens = []
    offset = end + 1
  }
  for (const token of tokenize(sql)) {
    if (token.kind === 'other' && token.value === ';') finish(token.start)
    else tokens.push(token)
  }
  finish(sql.length)
  return parts
}
