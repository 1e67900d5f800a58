const quote = 0x22
const backslash = 0x5c
const comma = 0x2c
const openBrace = 0x7b
const closeBrace = 0x7d
const openBracket = 0x5b
const closeBracket = 0x5d

/** Space, tab, line feed, carriage return: the white space of JSON (RFC 8259, section 2). */
export function isJsonSpace(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09
}

/**
 * Finds the end of one JSON value and what its shape is, in one pass over the bytes and without making anything.
 * It does not check the grammar: the facts hold for text that JSON.parse accepts. Reused from value to value.
 */
export class JsonScanner {
  /** Names at the top level of an object, repeated ones included. */
  members = 0
  /** No white space outside of strings. */
  compact = true
  /** No escape in a name at the top level. */
  plainNames = true
  /** Nested deeper than the limit: such text is not for JSON.parse. */
  tooDeep = false
  /** Values at every depth, at least: what JSON.parse takes for them grows with their number. */
  values = 0
  readonly #depthMax: number

  constructor(depthMax: number) {
    this.#depthMax = depthMax
  }

  /** Scans the value that starts at `start` (no white space there) and returns the position after it, at most `end`. */
  scan(bytes: Uint8Array, start: number, end: number): number {
    let members = 0
    let values = 1
    let compact = true
    let plainNames = true
    let depth = 0
    let deepest = 0
    let inName = false
    let position = start
    while (position < end) {
      const byte = bytes[position]
      if (byte === quote) {
        for (position += 1; position < end && bytes[position] !== quote; position += 1) {
          if (bytes[position] !== backslash) continue
          if (inName) plainNames = false
          position += 1
        }
        inName = false
      } else if (byte === comma) {
        if (depth === 0) break
        values += 1
        if (depth === 1) {
          members += 1
          inName = true
        }
      } else if (byte === openBrace || byte === openBracket) {
        depth += 1
        values += 1
        inName = depth === 1
        if (depth > deepest) deepest = depth
      } else if (byte === closeBrace || byte === closeBracket) {
        if (depth === 0) break
        depth -= 1
        if (depth === 0) {
          position += 1
          break
        }
      } else if (isJsonSpace(byte)) {
        if (depth === 0) break
        compact = false
      }
      position += 1
    }
    this.members = position - start > 2 ? members + 1 : 0
    this.values = values
    this.tooDeep = deepest > this.#depthMax
    this.compact = compact
    this.plainNames = plainNames
    return Math.min(position, end)
  }
}

/** One member of an object, its value as the text it had, without white space. */
export interface Member {
  readonly name: string
  readonly value: string
}

/** The members of a JSON object in their order, repeated names included. `text` is an object that JSON.parse accepts. */
export function scanMembers(text: string): Member[] {
  const members: Member[] = []
  let position = text.indexOf('{') + 1
  for (;;) {
    const nameStart = text.indexOf('"', position)
    if (nameStart < 0) return members
    const nameEnd = endOfString(text, nameStart)
    const valueStart = text.indexOf(':', nameEnd) + 1
    const valueEnd = endOfMember(text, valueStart)
    members.push({
      name: decodeName(text.slice(nameStart, nameEnd)),
      value: compactJson(text.slice(valueStart, valueEnd)),
    })
    position = valueEnd + 1
  }
}

/** The same JSON in UTF-8 without white space outside of strings. Everything else stays as it was written. */
export function compactBytes(bytes: Uint8Array): Buffer {
  const compact = Buffer.allocUnsafe(bytes.length)
  let length = 0
  let inString = false
  for (let position = 0; position < bytes.length; position += 1) {
    const byte = bytes[position] ?? 0
    if (inString && byte === backslash) {
      compact[length] = byte
      length += 1
      position += 1
      compact[length] = bytes[position] ?? 0
      length += 1
    } else if (inString || !isJsonSpace(byte)) {
      if (byte === quote) inString = !inString
      compact[length] = byte
      length += 1
    }
  }
  return compact.subarray(0, length)
}

/** The same JSON text without white space outside of strings. Everything else stays as it was written. */
export function compactJson(text: string): string {
  let compact = ''
  let kept = 0
  for (let position = 0; position < text.length;) {
    const code = text.charCodeAt(position)
    if (code === quote) {
      position = endOfString(text, position)
    } else {
      if (isJsonSpace(code)) {
        compact += text.slice(kept, position)
        kept = position + 1
      }
      position += 1
    }
  }
  return kept === 0 ? text : compact + text.slice(kept)
}

/** The position after the closing quote of the string that opens at `start`. */
function endOfString(text: string, start: number): number {
  let position = start + 1
  while (position < text.length && text.charCodeAt(position) !== quote)
    position += text.charCodeAt(position) === backslash ? 2 : 1
  return position + 1
}

/** The position of the comma or brace that ends the member whose value starts at `start`. */
function endOfMember(text: string, start: number): number {
  let depth = 0
  for (let position = start; position < text.length;) {
    const code = text.charCodeAt(position)
    if (code === quote) {
      position = endOfString(text, position)
      continue
    }
    if (depth === 0 && (code === comma || code === closeBrace)) return position
    if (code === openBrace || code === openBracket) depth += 1
    if (code === closeBrace || code === closeBracket) depth -= 1
    position += 1
  }
  return text.length
}

function decodeName(text: string): string {
  return text.includes('\\') ? (JSON.parse(text) as string) : text.slice(1, -1) // a JSON string
}
