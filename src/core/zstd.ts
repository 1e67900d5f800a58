import {
  BackwardBits,
  buildTable,
  constantTable,
  MalformedData,
  readHuffman,
  readTable,
  type FseTable,
  type HuffmanTable,
} from './zstd-tables.ts'

// Zstandard: RFC 8878. Written for input that may be hostile: every place and length is checked, the work is bounded by the size of input and output, and
// the output grows as it is made. Dictionaries are not supported; the content checksum is not looked at, a record batch has its own.

/** The output would be larger than allowed. */
export class TooLarge extends Error {
  constructor(bytesMax: number) {
    super(`more than ${bytesMax} bytes`)
    this.name = 'TooLarge'
  }
}

const frameMagic = 0xfd2fb528
const skippableMagic = 0x184d2a50
const blockBytesMax = 128 * 1024
const firstOutputBytes = 64 * 1024

/** What is decompressed; also the window that matches reach back into. */
class Output {
  bytes: Buffer
  length = 0
  readonly #bytesMax: number

  constructor(expectedBytes: number, bytesMax: number) {
    this.#bytesMax = bytesMax
    this.bytes = Buffer.allocUnsafe(Math.min(expectedBytes, bytesMax))
  }

  /** Makes room for so many bytes more. */
  reserve(count: number): void {
    const needed = this.length + count
    if (needed <= this.bytes.length) return
    if (needed > this.#bytesMax) throw new TooLarge(this.#bytesMax)
    const grown = Buffer.allocUnsafe(
      Math.min(this.#bytesMax, Math.max(needed, this.bytes.length * 2)),
    )
    this.bytes.copy(grown, 0, 0, this.length)
    this.bytes = grown
  }
}

/** Decompresses one or more frames. MalformedData; TooLarge beyond `bytesMax`. */
export function decompressZstd(input: Uint8Array, bytesMax: number): Buffer {
  const view = new DataView(input.buffer, input.byteOffset, input.byteLength)
  const output = new Output(Math.max(firstOutputBytes, input.length * 4), bytesMax)
  let at = 0
  while (at < input.length) {
    if (at + 8 > input.length) throw new MalformedData('a frame is cut off')
    const kind = view.getUint32(at, true)
    if (kind === frameMagic) at = new Frame(input, view, output).decode(at + 4)
    else if (kind >>> 4 === skippableMagic >>> 4) at += 8 + view.getUint32(at + 4, true)
    else throw new MalformedData('there is no frame')
  }
  if (at > input.length) throw new MalformedData('a frame is cut off')
  return output.bytes.subarray(0, output.length)
}

/** Literals of a block, or of the compressed bytes that stand for them. */
interface Literals {
  readonly bytes: Uint8Array
  /** Place after them in the input. */
  readonly at: number
}

interface SequenceTables {
  literal: FseTable
  offset: FseTable
  match: FseTable
}

class Frame {
  readonly #input: Uint8Array
  readonly #view: DataView
  readonly #output: Output
  readonly #start: number
  #blockMax = blockBytesMax
  #huffman: HuffmanTable | undefined
  #tables: SequenceTables | undefined
  readonly #repeats: [number, number, number] = [1, 4, 8]

  constructor(input: Uint8Array, view: DataView, output: Output) {
    this.#input = input
    this.#view = view
    this.#output = output
    this.#start = output.length
  }

  /** Decodes the frame whose header is at `at`; gives the place after it. */
  decode(start: number): number {
    const header = this.#readHeader(start)
    let { at } = header
    for (let isLast = false; !isLast;) {
      this.#need(at, 3)
      const head = this.#byte(at) | (this.#byte(at + 1) << 8) | (this.#byte(at + 2) << 16)
      isLast = (head & 1) === 1
      at = this.#decodeBlock((head >> 1) & 3, head >> 3, at + 3)
    }
    const bytes = this.#output.length - this.#start
    if (header.contentBytes !== undefined && bytes !== header.contentBytes)
      throw new MalformedData(`a frame has ${bytes} bytes instead of ${header.contentBytes}`)
    if (header.hasChecksum) this.#need(at, 4)
    return header.hasChecksum ? at + 4 : at
  }

  #readHeader(start: number) {
    const flags = this.#byte(start)
    const isSingle = (flags & 0x20) !== 0
    if ((flags & 0x08) !== 0) throw new MalformedData('a frame has an unknown flag')
    const dictionaryBytes = [0, 1, 2, 4][flags & 3] ?? 0
    const sizeBytes = [isSingle ? 1 : 0, 2, 4, 8][flags >> 6] ?? 0
    let at = start + 1
    this.#need(at, (isSingle ? 0 : 1) + dictionaryBytes + sizeBytes)
    let windowBytes = 0
    if (!isSingle) {
      const descriptor = this.#byte(at++)
      windowBytes = 2 ** (10 + (descriptor >> 3)) * (1 + (descriptor & 7) / 8)
    }
    for (const end = at + dictionaryBytes; at < end; at++)
      if (this.#byte(at) !== 0) throw new MalformedData('a frame needs a dictionary')
    const contentBytes = this.#contentBytes(at, sizeBytes)
    if (isSingle) windowBytes = contentBytes ?? 0
    this.#blockMax = Math.min(blockBytesMax, windowBytes)
    return { at: at + sizeBytes, contentBytes, hasChecksum: (flags & 4) !== 0 }
  }

  #contentBytes(at: number, sizeBytes: number): number | undefined {
    if (sizeBytes === 0) return undefined
    if (sizeBytes === 1) return this.#byte(at)
    if (sizeBytes === 2) return this.#view.getUint16(at, true) + 256
    const low = this.#view.getUint32(at, true)
    return sizeBytes === 4 ? low : low + this.#view.getUint32(at + 4, true) * 2 ** 32
  }

  #decodeBlock(type: number, size: number, at: number): number {
    if (size > this.#blockMax) throw new MalformedData('a block is too large')
    this.#need(at, type === 1 ? 1 : size)
    const output = this.#output
    if (type === 2) {
      this.#decodeCompressed(at, at + size)
      return at + size
    }
    if (type === 3) throw new MalformedData('a block has an unknown type')
    output.reserve(size)
    if (type === 0) output.bytes.set(this.#input.subarray(at, at + size), output.length)
    else output.bytes.fill(this.#byte(at), output.length, output.length + size)
    output.length += size
    return type === 0 ? at + size : at + 1
  }

  #decodeCompressed(start: number, end: number): void {
    const literals = this.#readLiterals(start, end)
    const sequences = this.#readSequenceCount(literals.at, end)
    const blockEnd = this.#output.length + this.#blockMax
    let used = 0
    if (sequences.count > 0) {
      const { tables, at } = this.#readTables(sequences.at, end)
      const bits = new BackwardBits(this.#input, at, end)
      used = this.#runSequences(sequences.count, tables, bits, literals.bytes, blockEnd)
    } else if (sequences.at !== end) throw new MalformedData('bytes follow the literals of a block')
    const rest = literals.bytes.subarray(used)
    if (this.#output.length + rest.length > blockEnd)
      throw new MalformedData('a block is too large')
    this.#output.reserve(rest.length)
    this.#output.bytes.set(rest, this.#output.length)
    this.#output.length += rest.length
  }

  #readLiterals(start: number, end: number): Literals {
    const head = this.#within(start, 0, end)
    const type = head & 3
    const format = (head >> 2) & 3
    if (type >= 2) return this.#readHuffmanLiterals(start, end, type, format)
    const headBytes = format === 1 ? 2 : format === 3 ? 3 : 1
    const word = head | (this.#within(start, headBytes - 1, end) << (8 * (headBytes - 1)))
    const whole = headBytes === 3 ? word | (this.#byte(start + 1) << 8) : word
    const count = whole >> (headBytes === 1 ? 3 : 4)
    const at = start + headBytes
    const inputBytes = type === 0 ? count : 1
    if (count > this.#blockMax || at + inputBytes > end)
      throw new MalformedData('the literals of a block are too long')
    if (type === 0) return { bytes: this.#input.subarray(at, at + count), at: at + count }
    return { bytes: new Uint8Array(count).fill(this.#byte(at)), at: at + 1 }
  }

  #readHuffmanLiterals(start: number, end: number, type: number, format: number): Literals {
    const headBytes = format < 2 ? 3 : format + 2
    const width = [10, 10, 14, 18][format] ?? 0
    let word = 0
    for (let at = headBytes - 1; at >= 0; at--) word = word * 256 + this.#within(start, at, end)
    const sizes = Math.floor(word / 16)
    const count = sizes % 2 ** width
    let at = start + headBytes
    const dataEnd = at + Math.floor(sizes / 2 ** width)
    if (count > this.#blockMax || dataEnd > end)
      throw new MalformedData('the literals of a block are too long')
    if (type === 2) ({ table: this.#huffman, at } = readHuffman(this.#input, at, dataEnd))
    if (this.#huffman === undefined) throw new MalformedData('a Huffman table is missing')
    const bytes = new Uint8Array(count)
    if (format === 0) decodeHuffman(this.#huffman, this.#input, at, dataEnd, bytes)
    else this.#decodeFourStreams(this.#huffman, at, dataEnd, bytes)
    return { bytes, at: dataEnd }
  }

  #decodeFourStreams(table: HuffmanTable, start: number, end: number, target: Uint8Array): void {
    if (start + 6 > end) throw new MalformedData('a block is cut off')
    const part = (target.length + 3) >> 2
    let at = start + 6
    for (let stream = 0; stream < 4; stream++) {
      const size = stream < 3 ? this.#view.getUint16(start + stream * 2, true) : end - at
      const from = Math.min(stream * part, target.length)
      const piece = target.subarray(from, stream < 3 ? from + part : target.length)
      if (at + size > end) throw new MalformedData('a block is cut off')
      decodeHuffman(table, this.#input, at, at + size, piece)
      at += size
    }
  }

  #readSequenceCount(at: number, end: number): { count: number; at: number } {
    const first = this.#within(at, 0, end)
    if (first < 128) return { count: first, at: at + 1 }
    const second = this.#within(at, 1, end)
    if (first < 255) return { count: ((first - 128) << 8) + second, at: at + 2 }
    return { count: second + (this.#within(at, 2, end) << 8) + 0x7f00, at: at + 3 }
  }

  #readTables(start: number, end: number): { tables: SequenceTables; at: number } {
    const modes = this.#within(start, 0, end)
    if ((modes & 3) !== 0) throw new MalformedData('a block has an unknown flag')
    let at = start + 1
    const read = (kind: keyof SequenceTables, mode: number): FseTable => {
      const { standard, ...limits } = codes[kind]
      if (mode === 0) return standard
      if (mode === 1) {
        const symbol = this.#within(at++, 0, end)
        if (symbol > limits.symbolMax) throw new MalformedData('a code is out of range')
        return constantTable(symbol)
      }
      if (mode === 2) {
        const found = readTable(this.#input, at, end, limits)
        ;({ at } = found)
        return found.table
      }
      if (this.#tables === undefined) throw new MalformedData('a table is missing')
      return this.#tables[kind]
    }
    const literal = read('literal', modes >> 6)
    const offset = read('offset', (modes >> 4) & 3)
    this.#tables = { literal, offset, match: read('match', (modes >> 2) & 3) }
    return { tables: this.#tables, at }
  }

  /** Runs the sequences: so many literals, then a match in what came before. Gives how many literals they took. */
  #runSequences(
    count: number,
    { literal, offset, match }: SequenceTables,
    bits: BackwardBits,
    literals: Uint8Array,
    blockEnd: number,
  ): number {
    const output = this.#output
    let literalState = bits.take(literal.accuracyLog)
    let offsetState = bits.take(offset.accuracyLog)
    let matchState = bits.take(match.accuracyLog)
    let used = 0
    for (let left = count; left > 0; left--) {
      const offsetCode = offset.symbols[offsetState] ?? 0
      const matchCode = match.symbols[matchState] ?? 0
      const literalCode = literal.symbols[literalState] ?? 0
      const offsetValue = (1 << offsetCode) + bits.take(offsetCode)
      const matchBytes = (matchBases[matchCode] ?? 0) + bits.take(matchBits[matchCode] ?? 0)
      const literalBytes =
        (literalBases[literalCode] ?? 0) + bits.take(literalBits[literalCode] ?? 0)
      if (left > 1) {
        literalState =
          (literal.bases[literalState] ?? 0) + bits.take(literal.bits[literalState] ?? 0)
        matchState = (match.bases[matchState] ?? 0) + bits.take(match.bits[matchState] ?? 0)
        offsetState = (offset.bases[offsetState] ?? 0) + bits.take(offset.bits[offsetState] ?? 0)
      }
      if (bits.left < 0) throw new MalformedData('a block is cut off')
      const end = output.length + literalBytes + matchBytes
      if (used + literalBytes > literals.length || end > blockEnd)
        throw new MalformedData('a sequence is too long')
      output.reserve(literalBytes + matchBytes)
      for (let at = output.length, to = at + literalBytes; at < to; at++)
        output.bytes[at] = literals[used++] ?? 0
      output.length += literalBytes
      this.#copyMatch(this.#distance(offsetValue, literalBytes === 0), matchBytes)
    }
    if (bits.left !== 0) throw new MalformedData('bits follow the last sequence')
    return used
  }

  #copyMatch(distance: number, count: number): void {
    const { bytes, length } = this.#output
    if (distance < 1 || distance > length - this.#start)
      throw new MalformedData('a match begins before the frame')
    const from = length - distance
    if (distance >= count && count > 32) bytes.copyWithin(length, from, from + count)
    else for (let at = 0; at < count; at++) bytes[length + at] = bytes[from + at] ?? 0
    this.#output.length += count
  }

  /** How far back a match begins: 1 to 3 stand for the distances used last. */
  #distance(value: number, hasNoLiterals: boolean): number {
    const repeats = this.#repeats
    const [first, second, third] = repeats
    const choice = value > 3 ? 3 : value - 1 + (hasNoLiterals ? 1 : 0)
    if (choice === 0) return first
    const distance =
      value > 3 ? value - 3 : choice === 1 ? second : choice === 2 ? third : first - 1
    if (choice > 1) repeats[2] = second
    repeats[1] = first
    repeats[0] = distance
    return distance
  }

  #byte(at: number): number {
    return this.#input[at] ?? 0
  }

  #within(start: number, at: number, end: number): number {
    if (start + at >= end) throw new MalformedData('a block is cut off')
    return this.#byte(start + at)
  }

  #need(at: number, count: number): void {
    if (at + count > this.#input.length) throw new MalformedData('a frame is cut off')
  }
}

/** Decodes a stream of Huffman codes; it must give exactly the bytes of `target`. */
function decodeHuffman(
  { maxBits, symbols, bits }: HuffmanTable,
  input: Uint8Array,
  start: number,
  end: number,
  target: Uint8Array,
): void {
  const stream = new BackwardBits(input, start, end)
  for (let at = 0; at < target.length; at++) {
    const code = stream.peek(maxBits)
    target[at] = symbols[code] ?? 0
    stream.left -= bits[code] ?? 0
    if (stream.left < 0) throw new MalformedData('a stream is cut off')
  }
  if (stream.left !== 0) throw new MalformedData('bits follow the last literal')
}

/** Bits that follow each code, and the values at which the codes begin (RFC 8878, tables 15 and 16). */
const zeros = (length: number) => Array.from({ length }, () => 0)
const literalBits = zeros(16).concat(
  1,
  1,
  1,
  1,
  2,
  2,
  3,
  3,
  4,
  6,
  7,
  8,
  9,
  10,
  11,
  12,
  13,
  14,
  15,
  16,
)
const matchBits = zeros(32).concat(
  1,
  1,
  1,
  1,
  2,
  2,
  3,
  3,
  4,
  4,
  5,
  7,
  8,
  9,
  10,
  11,
  12,
  13,
  14,
  15,
  16,
)
const literalBases = basesOf(literalBits, 0)
const matchBases = basesOf(matchBits, 3)

function basesOf(widths: readonly number[], first: number): number[] {
  let base = first
  return widths.map((width) => {
    const own = base
    base += 2 ** width
    return own
  })
}

/** The three kinds of codes: limits of their tables, and the table that is used when none is given (RFC 8878, section 3.1.1.3.2.2). */
const codes = {
  literal: {
    accuracyMax: 9,
    symbolMax: 35,
    standard: buildTable(
      [
        4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1,
        1, -1, -1, -1, -1,
      ],
      6,
    ),
  },
  offset: {
    accuracyMax: 8,
    symbolMax: 30, // with 31 a match would begin 2 GiB before
    standard: buildTable(
      [1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1],
      5,
    ),
  },
  match: {
    accuracyMax: 9,
    symbolMax: 52,
    standard: buildTable(
      [
        1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
        1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1,
      ],
      6,
    ),
  },
} as const
