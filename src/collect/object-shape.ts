// As in json-scan.ts, and not imported from there: a loop over bytes that compares them with the constants of another module, or with exported ones, takes half as long again.
const quote = 0x22
const backslash = 0x5c
const comma = 0x2c
const colon = 0x3a
const openBrace = 0x7b
const closeBrace = 0x7d
const openBracket = 0x5b
const closeBracket = 0x5d
const minus = 0x2d
const plus = 0x2b
const dot = 0x2e
const zero = 0x30
const nine = 0x39
const smallU = 0x75

/** Characters after a backslash, but `u`. */
const escapes = new Set(Buffer.from('"\\/bfnrt'))
const literals = ['true', 'false', 'null'].map((text) => Buffer.from(text))

/** One more would not fit the bits that say which containers are arrays. */
const depthMost = 30
/** Names are compared each with each. */
const membersMost = 32

/**
 * Reads where the members of one JSON object lie, and makes nothing: that takes a quarter of JSON.parse's time. It knows the whole grammar
 * (RFC 8259), but only objects that need no work before they are kept: without white space outside of strings, of few members, whose names have no escapes
 * and are all different. Reused from object to object.
 */
export class ObjectShape {
  /** Members at the top level. Of each: where name and value begin and end, the quotes of text included in the value and not in the name. */
  members = 0
  readonly nameStarts = new Int32Array(membersMost)
  readonly nameEnds = new Int32Array(membersMost)
  readonly valueStarts = new Int32Array(membersMost)
  readonly valueEnds = new Int32Array(membersMost)
  readonly #depthMax: number
  readonly #valuesMax: number
  #hasEscapes = false

  constructor(limits: { readonly jsonDepthMax: number; readonly jsonValuesMax: number }) {
    this.#depthMax = Math.min(limits.jsonDepthMax, depthMost)
    // JsonScanner counts an empty container twice: what is near the limit is for it to judge.
    this.#valuesMax = limits.jsonValuesMax / 2
  }

  /** Whether the bytes from `start` to `end` are such an object, and nothing else; UTF-8 is the caller's to check. */
  read(bytes: Uint8Array, start: number, end: number): boolean {
    this.members = 0
    if (bytes[start] !== openBrace || this.#depthMax < 1) return false
    if (bytes[start + 1] === closeBrace) return start + 2 === end
    return this.#readMembers(bytes, start + 1, end) === end && this.#namesDiffer(bytes)
  }

  /** The place among the members of the one with this name; -1 when there is none. */
  find(bytes: Uint8Array, name: Uint8Array): number {
    for (let member = 0; member < this.members; member += 1) {
      const start = this.nameStarts[member] ?? 0
      const isLong = (this.nameEnds[member] ?? 0) - start === name.length
      if (isLong && startsWith(bytes, start, name)) return member
    }
    return -1
  }

  /** From the first name of the outermost object to the place after its brace; -1 when it is not such an object. */
  #readMembers(bytes: Uint8Array, start: number, end: number): number {
    let depth = 1
    let arrays = 0 // bit n: the container at depth n is an array
    let values = 1
    let position = start
    let isName = true
    while (position < end) {
      if (isName) {
        position = this.#readName(bytes, position, end, depth === 1)
        if (position < 0) return -1
      }
      values += 1
      const byte = bytes[position]
      if (byte === openBrace || byte === openBracket) {
        depth += 1
        if (depth > this.#depthMax) return -1
        const isArray = byte === openBracket
        arrays = isArray ? arrays | (1 << depth) : arrays & ~(1 << depth)
        position += 1
        if (bytes[position] !== (isArray ? closeBracket : closeBrace)) {
          isName = !isArray
          continue
        }
      } else position = this.#skipScalar(bytes, position, end)
      // After a value, or at the end of an empty container: its end, and that of others around it.
      for (;;) {
        if (position < 0 || position >= end) return -1
        const isArray = ((arrays >>> depth) & 1) === 1
        const next = bytes[position]
        if (next !== (isArray ? closeBracket : closeBrace)) {
          if (next !== comma) return -1
          if (depth === 1) this.valueEnds[this.members - 1] = position
          position += 1
          isName = !isArray
          break
        }
        if (depth === 1) {
          this.valueEnds[this.members - 1] = position
          return values > this.#valuesMax ? -1 : position + 1
        }
        depth -= 1
        position += 1
      }
    }
    return -1
  }

  /** The place of the value that follows the name; -1 when there is none, or no plain name. */
  #readName(bytes: Uint8Array, position: number, end: number, isOutermost: boolean): number {
    if (bytes[position] !== quote) return -1
    this.#hasEscapes = false
    const after = this.#skipString(bytes, position + 1, end)
    if (after < 0 || bytes[after] !== colon) return -1
    if (isOutermost) {
      if (this.#hasEscapes || this.members === membersMost) return -1
      this.nameStarts[this.members] = position + 1
      this.nameEnds[this.members] = after - 1
      this.valueStarts[this.members] = after + 1
      this.members += 1
    }
    return after + 1
  }

  #skipScalar(bytes: Uint8Array, position: number, end: number): number {
    const byte = bytes[position] ?? 0
    if (byte === quote) return this.#skipString(bytes, position + 1, end)
    if (byte === minus || (byte >= zero && byte <= nine)) return skipNumber(bytes, position)
    return skipLiteral(bytes, position)
  }

  /** The place after the closing quote; -1 when the text is not as JSON wants it. */
  #skipString(bytes: Uint8Array, start: number, end: number): number {
    for (let position = start; position < end; position += 1) {
      const byte = bytes[position] ?? 0
      if (byte === quote) return position + 1
      if (byte < 0x20) return -1
      if (byte !== backslash) continue
      this.#hasEscapes = true
      position += 1
      const escape = bytes[position] ?? 0
      if (escape === smallU) {
        for (let digit = 1; digit <= 4; digit += 1)
          if (!isHexDigit(bytes[position + digit] ?? 0)) return -1
        position += 4
      } else if (!escapes.has(escape)) return -1
    }
    return -1
  }

  #namesDiffer(bytes: Uint8Array): boolean {
    for (let one = 1; one < this.members; one += 1) {
      for (let other = 0; other < one; other += 1)
        if (this.#isSameName(bytes, one, other)) return false
    }
    return true
  }

  #isSameName(bytes: Uint8Array, one: number, other: number): boolean {
    const start = this.nameStarts[one] ?? 0
    const length = (this.nameEnds[one] ?? 0) - start
    const otherStart = this.nameStarts[other] ?? 0
    if (length !== (this.nameEnds[other] ?? 0) - otherStart) return false
    for (let at = 0; at < length; at += 1)
      if (bytes[start + at] !== bytes[otherStart + at]) return false
    return true
  }
}

function skipNumber(bytes: Uint8Array, start: number): number {
  let position = bytes[start] === minus ? start + 1 : start
  if (bytes[position] === zero) position += 1
  else position = skipDigits(bytes, position)
  if (position >= 0 && bytes[position] === dot) position = skipDigits(bytes, position + 1)
  if (position < 0 || ((bytes[position] ?? 0) | 0x20) !== 0x65) return position
  position += 1
  if (bytes[position] === plus || bytes[position] === minus) position += 1
  return skipDigits(bytes, position)
}

/** At least one digit; otherwise -1. */
function skipDigits(bytes: Uint8Array, start: number): number {
  let position = start
  while (isDigit(bytes[position] ?? 0)) position += 1
  return position === start ? -1 : position
}

function skipLiteral(bytes: Uint8Array, start: number): number {
  for (const literal of literals)
    if (startsWith(bytes, start, literal)) return start + literal.length
  return -1
}

function startsWith(bytes: Uint8Array, start: number, wanted: Uint8Array): boolean {
  for (let at = 0; at < wanted.length; at += 1) if (bytes[start + at] !== wanted[at]) return false
  return true
}

function isDigit(byte: number): boolean {
  return byte >= zero && byte <= nine
}

function isHexDigit(byte: number): boolean {
  const letter = byte | 0x20
  return isDigit(byte) || (letter >= 0x61 && letter <= 0x66)
}
