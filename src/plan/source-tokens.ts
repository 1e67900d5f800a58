/** A piece of TypeScript or JSON that matters for finding a key: comments, spaces and the inside of templates are left out. */
export interface Token {
  readonly kind: 'name' | 'text' | 'number' | 'mark'
  /** The name, the content of the string, the digits, or the one character. */
  readonly text: string
  /** Where it begins, characters from the start of the source. */
  readonly at: number
}

/** The tokens of a source. Never throws: what it does not know is a mark of one character. */
export function tokensOf(source: string): Token[] {
  const tokens: Token[] = []
  let at = 0
  while (at < source.length) {
    const end = skipBlank(source, at)
    if (end > at) {
      at = end
      continue
    }
    const token = tokenAt(source, at, tokens.at(-1))
    tokens.push(token)
    at = token.end
  }
  return tokens
}

interface ReadToken extends Token {
  readonly end: number
}

const namePattern = /[\p{L}_$][\p{L}\p{N}_$]*/uy
const numberPattern = /\d[\w.]*/y
const regexPattern = /\/(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n[])+\/\w*/y

function tokenAt(source: string, at: number, before: Token | undefined): ReadToken {
  const first = source.charAt(at)
  if (first === '"' || first === "'") return textAt(source, at, first)
  if (first === '`') return { kind: 'text', text: '', at, end: endOfTemplate(source, at) }
  const name = match(namePattern, source, at)
  if (name !== undefined) return { kind: 'name', text: name, at, end: at + name.length }
  const digits = match(numberPattern, source, at)
  if (digits !== undefined) return { kind: 'number', text: digits, at, end: at + digits.length }
  const regex = first === '/' && mayStartValue(before) ? match(regexPattern, source, at) : undefined
  if (regex !== undefined) return { kind: 'text', text: '', at, end: at + regex.length }
  return { kind: 'mark', text: first, at, end: at + 1 }
}

function match(pattern: RegExp, source: string, at: number): string | undefined {
  pattern.lastIndex = at
  return pattern.exec(source)?.[0]
}

/** After a value a slash divides; elsewhere it begins a regular expression. */
function mayStartValue(before: Token | undefined): boolean {
  if (before === undefined) return true
  if (before.kind === 'mark') return before.text !== ')' && before.text !== ']'
  return before.kind === 'name' && before.text === 'return'
}

/** The position after a space or a comment that begins here; the same position when none does. */
function skipBlank(source: string, at: number): number {
  if (/\s/.test(source.charAt(at))) return at + 1
  if (source.startsWith('//', at)) return endAfter(source, '\n', at)
  if (source.startsWith('/*', at)) return endAfter(source, '*/', at + 2)
  return at
}

function endAfter(source: string, text: string, from: number): number {
  const found = source.indexOf(text, from)
  return found === -1 ? source.length : found + text.length
}

function textAt(source: string, at: number, quote: string): ReadToken {
  let end = at + 1
  let text = ''
  while (end < source.length && source.charAt(end) !== quote && source.charAt(end) !== '\n') {
    if (source.charAt(end) === '\\') end++
    text += source.charAt(end)
    end++
  }
  return { kind: 'text', text, at, end: Math.min(end + 1, source.length) }
}

/** The end of a template, also when templates and braces are nested in its `${}`. */
function endOfTemplate(source: string, start: number): number {
  let at = start + 1
  while (at < source.length && source.charAt(at) !== '`') {
    if (source.charAt(at) === '\\') at += 2
    else if (source.startsWith('${', at)) at = endOfHole(source, at + 2)
    else at++
  }
  return Math.min(at + 1, source.length)
}

function endOfHole(source: string, start: number): number {
  let depth = 1
  let at = start
  let before: Token | undefined
  while (at < source.length && depth > 0) {
    const end = skipBlank(source, at)
    if (end > at) {
      at = end
      continue
    }
    const token = tokenAt(source, at, before)
    if (token.kind === 'mark' && token.text === '{') depth++
    if (token.kind === 'mark' && token.text === '}') depth--
    before = token
    at = token.end
  }
  return at
}
