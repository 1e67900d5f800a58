/** Smaller buffers are not worth keeping. */
const pooledBytesMin = 64 * 1024
const sizeStep = 256 * 1024

/**
 * Large buffers that are used again and again: making and collecting one for each answer would cost more than filling it.
 * What is given back must not be used any more.
 */
export class BufferPool {
  readonly #idleBytesMax: number
  #idle: Buffer[] = []
  #idleBytes = 0

  /** Keeps at most so many bytes that nobody uses. */
  constructor(idleBytesMax: number) {
    this.#idleBytesMax = idleBytesMax
  }

  /** A buffer of exactly so many bytes, with anything in it. */
  take(bytes: number): Buffer {
    if (bytes < pooledBytesMin) return Buffer.allocUnsafe(bytes)
    const at = this.#idle.findIndex(({ length }) => length >= bytes && length <= 2 * bytes)
    const [found] = at === -1 ? [] : this.#idle.splice(at, 1)
    if (found === undefined) {
      const whole = Buffer.allocUnsafeSlow(Math.ceil(bytes / sizeStep) * sizeStep)
      return whole.subarray(0, bytes)
    }
    this.#idleBytes -= found.length
    return found.subarray(0, bytes)
  }

  /** Takes back what `take` gave. */
  give(buffer: Buffer): void {
    const bytes = buffer.buffer.byteLength
    if (buffer.length < pooledBytesMin || this.#idleBytes + bytes > this.#idleBytesMax) return
    this.#idle.push(Buffer.from(buffer.buffer, 0, bytes))
    this.#idleBytes += bytes
  }
}
