import { QuestlogError } from '../core/errors.ts'

/** Most elements of all arrays of one message together. Bounds the memory and the time that decoding a frame takes, whatever its bytes say. */
export const arrayElementsMax = 200_000
/** Longest string of the protocol, bytes: its length is an int16 (also where it is written as a varint). */
export const stringBytesMax = 32_767
/** Chunks at least as long are passed on as they are; shorter ones are copied beside their neighbours. */
const referenceBytesMin = 2_048
const chunkBytesFirst = 512
const chunkBytesMax = 64 * 1024
const high = 2 ** 32

/** The UUID that stands for none. */
export const zeroUuid = '00000000-0000-0000-0000-000000000000'

/**
 * Reads the protocol's primitive types (public protocol guide, "Protocol Primitive Types") from one frame.
 * Every length is checked before it is used.
 *
 * @throws QuestlogError REQUEST_MALFORMED from every method, when the bytes end early or a length is impossible.
 */
export class Reader {
  readonly #bytes: Buffer
  readonly #end: number
  #at: number
  readonly #elementsMax: number
  #elementsLeft: number

  /** `elementsMax`: most elements of all arrays together. */
  constructor(bytes: Buffer, at = 0, end = bytes.length, elementsMax = arrayElementsMax) {
    this.#bytes = bytes
    this.#elementsMax = elementsMax
    this.#elementsLeft = elementsMax
    this.#at = at
    this.#end = end
  }

  /** Position of the next byte. */
  get at(): number {
    return this.#at
  }

  /** Bytes that are left. */
  get left(): number {
    return this.#end - this.#at
  }

  int8(): number {
    return this.#bytes.readInt8(this.#take(1))
  }

  int16(): number {
    return this.#bytes.readInt16BE(this.#take(2))
  }

  int32(): number {
    return this.#bytes.readInt32BE(this.#take(4))
  }

  /** Exact up to 2^53; beyond that the nearest number, which no offset, id or time of this log reaches. */
  int64(): number {
    const at = this.#take(8)
    return this.#bytes.readInt32BE(at) * high + this.#bytes.readUInt32BE(at + 4)
  }

  bool(): boolean {
    return this.#bytes[this.#take(1)] !== 0
  }

  /** As 36 lower-case characters. */
  uuid(): string {
    const at = this.#take(16)
    const hex = this.#bytes.toString('hex', at, at + 16)
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
  }

  /** At most 5 bytes, at most 2^32 - 1. */
  unsignedVarint(): number {
    let value = 0
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.#bytes[this.#take(1)] ?? 0
      value += (byte & 0x7f) * 2 ** shift
      if (byte < 0x80) {
        if (value >= high) break
        return value
      }
    }
    throw malformed('a varint is longer than 32 bits', this.#at)
  }

  /** Length of a string that follows, -1 for null. */
  stringLength(compact: boolean): number {
    return this.#length(
      compact ? this.unsignedVarint() - 1 : this.int16(),
      stringBytesMax,
      'string',
    )
  }

  /** Length of bytes that follow, -1 for null. */
  bytesLength(compact: boolean): number {
    return this.#length(compact ? this.unsignedVarint() - 1 : this.int32(), this.#end, 'bytes')
  }

  /** Elements of an array that follows, -1 for null. `bytesMin`: the fewest bytes that one element takes. */
  arrayLength(compact: boolean, bytesMin: number): number {
    const count = compact ? this.unsignedVarint() - 1 : this.int32()
    if (count === -1) return count
    if (count < 0 || count * bytesMin > this.left) {
      throw malformed(
        `an array of ${count} elements does not fit into ${this.left} bytes`,
        this.#at,
      )
    }
    this.#elementsLeft -= count
    if (this.#elementsLeft < 0) {
      throw malformed(`the message has more than ${this.#elementsMax} elements`, this.#at)
    }
    return count
  }

  text(length: number): string {
    const at = this.#take(length)
    return this.#bytes.toString('utf8', at, at + length)
  }

  /** A view of the frame's memory: valid as long as the frame is not written over, and it keeps the whole frame alive. */
  view(length: number): Buffer {
    const at = this.#take(length)
    return this.#bytes.subarray(at, at + length)
  }

  skip(length: number): void {
    this.#take(length)
  }

  /** The error for what a reader of a whole message finds wrong at this place. */
  malformed(what: string): QuestlogError {
    return malformed(what, this.#at)
  }

  #length(length: number, max: number, what: string): number {
    if (length < -1 || length > max || length > this.left) {
      throw malformed(`${what} of length ${length}: ${this.left} bytes are left`, this.#at)
    }
    return length
  }

  #take(length: number): number {
    const at = this.#at
    if (at + length > this.#end) {
      throw malformed(`${length} bytes are needed, ${this.left} are left`, at)
    }
    this.#at = at + length
    return at
  }
}

/**
 * Writes the protocol's primitive types into a list of buffers. Nothing is copied when it grows, and large byte
 * strings (a Fetch response's record batches) become elements of the list as they are.
 */
export class Writer {
  readonly #done: Buffer[] = []
  #chunk: Buffer
  #start = 0
  #at = 0
  #doneBytes = 0

  constructor(chunkBytes = chunkBytesFirst) {
    this.#chunk = Buffer.allocUnsafe(chunkBytes)
  }

  /** Bytes written so far. */
  get length(): number {
    return this.#doneBytes + this.#at - this.#start
  }

  /** What was written, in order. The writer must not be used afterwards. */
  chunks(): Buffer[] {
    this.#close()
    return this.#done
  }

  int8(value: number): void {
    const at = this.#room(1)
    this.#chunk.writeInt8(value, at)
  }

  int16(value: number): void {
    const at = this.#room(2)
    this.#chunk.writeInt16BE(value, at)
  }

  int32(value: number): void {
    const at = this.#room(4)
    this.#chunk.writeInt32BE(value, at)
  }

  /** What lies beyond 64 bits is cut to the largest or smallest value. */
  int64(value: number): void {
    const at = this.#room(8)
    const upper = Math.floor(value / high)
    if (upper > 0x7fffffff) {
      this.#chunk.writeInt32BE(0x7fffffff, at)
      this.#chunk.writeUInt32BE(0xffffffff, at + 4)
    } else if (upper < -0x80000000) {
      this.#chunk.writeInt32BE(-0x80000000, at)
      this.#chunk.writeUInt32BE(0, at + 4)
    } else {
      this.#chunk.writeInt32BE(upper, at)
      this.#chunk.writeUInt32BE(value - upper * high, at + 4)
    }
  }

  bool(value: boolean): void {
    this.#byte(value ? 1 : 0)
  }

  /** @throws QuestlogError INTERNAL for a text that is not 32 hexadecimal digits and dashes. */
  uuid(value: string): void {
    const at = this.#room(16)
    if (this.#chunk.write(value.replaceAll('-', ''), at, 16, 'hex') !== 16) {
      throw new QuestlogError('INTERNAL', `"${value}" is no UUID`)
    }
  }

  unsignedVarint(value: number): void {
    let rest = value
    while (rest >= 0x80) {
      this.#byte((rest % 0x80) + 0x80)
      rest = Math.floor(rest / 0x80)
    }
    this.#byte(rest)
  }

  /** -1 is null. */
  stringLength(length: number, compact: boolean): void {
    if (compact) this.unsignedVarint(length + 1)
    else this.int16(length)
  }

  /** -1 is null. Of byte strings and of arrays. */
  length32(length: number, compact: boolean): void {
    if (compact) this.unsignedVarint(length + 1)
    else this.int32(length)
  }

  /** @throws QuestlogError INTERNAL for a string longer than the protocol allows. */
  string(value: string, compact: boolean): void {
    const length = Buffer.byteLength(value)
    if (length > stringBytesMax) {
      throw new QuestlogError(
        'INTERNAL',
        `a string of ${length} bytes does not fit a Kafka message`,
      )
    }
    this.stringLength(length, compact)
    const at = this.#room(length)
    this.#chunk.write(value, at, length, 'utf8')
  }

  /** The bytes as they are, without a length. They must not change until they are sent. */
  raw(bytes: Buffer): void {
    if (bytes.length < referenceBytesMin) {
      const at = this.#room(bytes.length)
      bytes.copy(this.#chunk, at)
      return
    }
    this.#close()
    this.#done.push(bytes)
    this.#doneBytes += bytes.length
  }

  #byte(value: number): void {
    const at = this.#room(1) // may begin a new chunk
    this.#chunk[at] = value
  }

  #room(length: number): number {
    if (this.#at + length > this.#chunk.length) {
      const next = Math.min(chunkBytesMax, this.#chunk.length * 2)
      this.#close()
      this.#chunk = Buffer.allocUnsafe(Math.max(next, length))
      this.#start = 0
      this.#at = 0
    }
    const at = this.#at
    this.#at += length
    return at
  }

  #close(): void {
    if (this.#at === this.#start) return
    this.#done.push(this.#chunk.subarray(this.#start, this.#at))
    this.#doneBytes += this.#at - this.#start
    this.#start = this.#at
  }
}

function malformed(what: string, at: number): QuestlogError {
  return new QuestlogError('REQUEST_MALFORMED', `Kafka message, byte ${at}: ${what}`, { at })
}
