const sizeBytes = 4
const headBytes = sizeBytes + 2

/** What is known of a request before it is read. */
export interface FrameHead {
  /** Bytes that follow the size. May be anything: it comes from outside. */
  readonly size: number
  readonly apiKey: number
}

/**
 * Cuts the bytes of a connection into requests: a size of 4 bytes, then as many bytes, of which the first two are the API key
 * (public protocol guide, "Common Request and Response Structure"). Memory for a request is taken when `begin` is called.
 */
export class FrameReader {
  readonly #chunks: Buffer[] = []
  #length = 0
  #frame: Buffer | undefined
  #filled = 0

  /** Whether a part of a request is here. */
  get isPartial(): boolean {
    return this.#length > 0 || this.#frame !== undefined
  }

  push(chunk: Buffer): void {
    this.#chunks.push(chunk)
    this.#length += chunk.length
    this.#fill()
  }

  /** The head of the next request; undefined until its first bytes are here, or while one is being read. */
  head(): FrameHead | undefined {
    if (this.#frame !== undefined || this.#length < headBytes) return undefined
    const head = this.#peek(headBytes)
    return { size: head.readInt32BE(0), apiKey: head.readInt16BE(sizeBytes) }
  }

  /** Starts to read the request of this size, which `head` told: at least 2. */
  begin(size: number): void {
    const [first] = this.#chunks
    if (first !== undefined && first.length >= sizeBytes + size) {
      this.#frame = first.subarray(sizeBytes, sizeBytes + size)
      this.#filled = size
      this.#drop(sizeBytes + size)
      return
    }
    this.#drop(sizeBytes)
    this.#frame = Buffer.allocUnsafeSlow(size)
    this.#filled = 0
    this.#fill()
  }

  /** The request that `begin` started, as soon as it is whole. */
  take(): Buffer | undefined {
    const frame = this.#frame
    if (frame === undefined || this.#filled < frame.length) return undefined
    this.#frame = undefined
    return frame
  }

  /** Forgets everything; `release` is told the size of a request that was begun. */
  clear(release: (bytes: number) => void): void {
    this.#chunks.length = 0
    this.#length = 0
    if (this.#frame !== undefined) release(this.#frame.length)
    this.#frame = undefined
  }

  #fill(): void {
    const frame = this.#frame
    if (frame === undefined) return
    while (this.#filled < frame.length) {
      const [first] = this.#chunks
      if (first === undefined) return
      const bytes = Math.min(first.length, frame.length - this.#filled)
      first.copy(frame, this.#filled, 0, bytes)
      this.#filled += bytes
      this.#drop(bytes)
    }
  }

  #peek(bytes: number): Buffer {
    const [first] = this.#chunks
    if (first !== undefined && first.length >= bytes) return first
    return Buffer.concat(this.#chunks.slice(0, bytes)) // chunks are never empty
  }

  #drop(bytes: number): void {
    this.#length -= bytes
    let left = bytes
    while (left > 0) {
      const [first] = this.#chunks
      if (first === undefined) return
      if (first.length > left) {
        this.#chunks[0] = first.subarray(left)
        return
      }
      left -= first.length
      this.#chunks.shift()
    }
  }
}
