/** A longer key is met once, or is meant to fill the cache. */
const keyLengthMax = 4096
const bytesMax = 1024 * 1024
/** What an entry takes beside its texts. */
const entryBytes = 512

/** Values by text, bounded in bytes, and so in entries. Clients repeat themselves, so a full cache just begins anew. */
export class TextCache<Value> {
  readonly #values = new Map<string, Value>()
  #bytes = 0

  get(key: string): Value | undefined {
    return this.#values.get(key)
  }

  /** `bytes` is what the key and the value take, about. */
  put(key: string, value: Value, bytes: number): void {
    if (key.length > keyLengthMax) return
    this.#bytes += bytes + entryBytes
    if (this.#bytes > bytesMax) {
      this.#values.clear()
      this.#bytes = bytes + entryBytes
    }
    this.#values.set(key, value)
  }
}
