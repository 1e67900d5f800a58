// Entropy coding of Zstandard: RFC 8878, sections 4.1 (FSE) and 4.2 (Huffman).

/** The bytes are no valid compressed data. */
export class MalformedData extends Error {
  constructor(reason: string) {
    super(reason)
    this.name = 'MalformedData'
  }
}

/** Number of the highest bit that is set; -1 for 0. */
export function highestBit(value: number): number {
  return 31 - Math.clz32(value)
}

/** Bits that are read from the end of a byte range to its start, the highest first. Before the start there are zeros. */
export class BackwardBits {
  readonly #bytes: Uint8Array
  readonly #start: number
  /** Bits left; negative when more was read than there was. */
  left: number

  /** The last byte of the range has a 1 above the first bit. */
  constructor(bytes: Uint8Array, start: number, end: number) {
    const last = end > start && end <= bytes.length ? (bytes[end - 1] ?? 0) : 0
    if (last === 0) throw new MalformedData('a bit stream has no end')
    this.#bytes = bytes
    this.#start = start
    this.left = (end - start - 1) * 8 + highestBit(last)
  }

  /** The next bits, at most 24 of them, which stay. */
  peek(count: number): number {
    const low = this.left - count
    const mask = (1 << count) - 1
    if (low < 0) return low <= -32 ? 0 : (this.#word(0) << -low) & mask
    return (this.#word(low >>> 3) >>> (low & 7)) & mask
  }

  /** Takes bits, at most 32 of them. */
  take(count: number): number {
    if (count > 16) {
      const high = this.take(count - 16)
      return high * 65_536 + this.take(16)
    }
    const value = this.peek(count)
    this.left -= count
    return value
  }

  #word(at: number): number {
    const from = this.#start + at
    const bytes = this.#bytes
    return (
      (bytes[from] ?? 0) |
      ((bytes[from + 1] ?? 0) << 8) |
      ((bytes[from + 2] ?? 0) << 16) |
      ((bytes[from + 3] ?? 0) << 24)
    )
  }
}

/** A decoding table of FSE: for each state its symbol, and how the next state is made. */
export interface FseTable {
  readonly accuracyLog: number
  readonly symbols: Uint8Array
  readonly bits: Uint8Array
  readonly bases: Uint16Array
}

/** The table in which each state means the same symbol. */
export function constantTable(symbol: number): FseTable {
  return {
    accuracyLog: 0,
    symbols: Uint8Array.of(symbol),
    bits: Uint8Array.of(0),
    bases: Uint16Array.of(0),
  }
}

/** Builds a table from the probabilities of the symbols; -1 = less than one state's worth. They add up to 2^accuracyLog. */
export function buildTable(probabilities: readonly number[], accuracyLog: number): FseTable {
  const size = 1 << accuracyLog
  const symbols = new Uint8Array(size)
  const next = new Uint16Array(probabilities.length)
  let high = size
  for (const [symbol, probability] of probabilities.entries()) {
    next[symbol] = probability === -1 ? 1 : probability
    if (probability === -1) symbols[--high] = symbol
  }
  const step = (size >> 1) + (size >> 3) + 3
  let place = 0
  for (const [symbol, probability] of probabilities.entries())
    for (let count = 0; count < probability; count++) {
      symbols[place] = symbol
      do place = (place + step) & (size - 1)
      while (place >= high)
    }
  const bits = new Uint8Array(size)
  const bases = new Uint16Array(size)
  for (let state = 0; state < size; state++) {
    const symbol = symbols[state] ?? 0
    const nth = next[symbol] ?? 0
    next[symbol] = nth + 1
    const count = accuracyLog - highestBit(nth)
    bits[state] = count
    bases[state] = (nth << count) - size
  }
  return { accuracyLog, symbols, bits, bases }
}

/** Reads the description of an FSE table; gives the table and the place after it. */
export function readTable(
  bytes: Uint8Array,
  start: number,
  end: number,
  { accuracyMax, symbolMax }: { readonly accuracyMax: number; readonly symbolMax: number },
): { table: FseTable; at: number } {
  let bit = 0
  const peek = (count: number) => {
    const from = start + (bit >> 3)
    const word = [0, 1, 2].reduce((sum, at) => sum | ((bytes[from + at] ?? 0) << (8 * at)), 0)
    return (word >>> (bit & 7)) & ((1 << count) - 1)
  }
  const accuracyLog = 5 + peek(4)
  bit += 4
  if (accuracyLog > accuracyMax) throw new MalformedData('a table is too fine')
  let left = 1 << accuracyLog
  const probabilities: number[] = []
  while (left > 0) {
    if (probabilities.length > symbolMax) throw new MalformedData('a table has too many symbols')
    const width = highestBit(left + 1) + 1
    const value = peek(width)
    const low = value & ((1 << (width - 1)) - 1)
    const spare = (1 << width) - 2 - left
    const isShort = low < spare
    bit += isShort ? width - 1 : width
    const coded = isShort ? low : value >> (width - 1) === 0 ? value : value - spare
    probabilities.push(coded - 1)
    left -= Math.abs(coded - 1)
    for (let more = coded === 1; more;) {
      const zeros = peek(2)
      bit += 2
      for (let count = 0; count < zeros; count++) probabilities.push(0)
      more = zeros === 3 && probabilities.length <= symbolMax
    }
  }
  const at = start + ((bit + 7) >> 3)
  if (left < 0 || at > end || probabilities.length > symbolMax + 1)
    throw new MalformedData('a table does not add up')
  return { table: buildTable(probabilities, accuracyLog), at }
}

/** A decoding table of Huffman codes, by the next `maxBits` bits. */
export interface HuffmanTable {
  readonly maxBits: number
  readonly symbols: Uint8Array
  readonly bits: Uint8Array
}

const huffmanBitsMax = 11

/** Reads the description of a Huffman table; gives the table and the place after it. */
export function readHuffman(
  bytes: Uint8Array,
  start: number,
  end: number,
): { table: HuffmanTable; at: number } {
  const head = bytes[start] ?? 0
  const isDirect = head >= 128
  const count = head - 127
  const at = start + 1 + (isDirect ? (count + 1) >> 1 : head)
  if (start >= end || at > end) throw new MalformedData('a Huffman table is cut off')
  const weights = isDirect
    ? Array.from({ length: count }, (_, index) => {
        const pair = bytes[start + 1 + (index >> 1)] ?? 0
        return index % 2 === 0 ? pair >> 4 : pair & 15
      })
    : readWeights(bytes, start + 1, at)
  return { table: buildHuffman(weights), at }
}

/** Weights that are FSE coded, by two states in turn. */
function readWeights(bytes: Uint8Array, start: number, end: number): number[] {
  const limits = { accuracyMax: 6, symbolMax: 255 }
  const { table, at } = readTable(bytes, start, end, limits)
  const stream = new BackwardBits(bytes, at, end)
  const states = [stream.take(table.accuracyLog), stream.take(table.accuracyLog)]
  const weights: number[] = []
  for (let turn = 0; ; turn = 1 - turn) {
    const state = states[turn] ?? 0
    weights.push(table.symbols[state] ?? 0)
    if (weights.length > 254) throw new MalformedData('a Huffman table has too many symbols')
    const count = table.bits[state] ?? 0
    if (stream.left < count) {
      weights.push(table.symbols[states[1 - turn] ?? 0] ?? 0)
      return weights
    }
    states[turn] = (table.bases[state] ?? 0) + stream.take(count)
  }
}

/** The weight of the last symbol is what is missing to a power of two. */
function buildHuffman(given: readonly number[]): HuffmanTable {
  let sum = 0
  for (const weight of given) {
    if (weight > huffmanBitsMax) throw new MalformedData('a Huffman code is too long')
    if (weight > 0) sum += 1 << (weight - 1)
  }
  const maxBits = highestBit(sum) + 1
  const missing = (1 << maxBits) - sum
  if (sum === 0 || maxBits > huffmanBitsMax || (missing & (missing - 1)) !== 0)
    throw new MalformedData('a Huffman table does not add up')
  const weights = [...given, highestBit(missing) + 1]
  const symbols = new Uint8Array(1 << maxBits)
  const bits = new Uint8Array(1 << maxBits)
  let at = 0
  for (let weight = 1; weight <= maxBits; weight++)
    for (const [symbol, own] of weights.entries()) {
      if (own !== weight) continue
      const end = at + (1 << (weight - 1))
      symbols.fill(symbol, at, end)
      bits.fill(maxBits + 1 - weight, at, end)
      at = end
    }
  return { maxBits, symbols, bits }
}
