/** Names that are compared without regard to case. Most look-ups end at the length, without changing the case. */
export class NameSet {
  readonly #names = new Set<string>()
  /** Bit n is set when a name has a length of n modulo 32. */
  #lengths = 0

  constructor(names: Iterable<string>) {
    for (const name of names) {
      const lower = name.toLowerCase()
      this.#names.add(lower)
      this.#lengths |= 1 << (lower.length & 31)
    }
  }

  has(name: string): boolean {
    return this.mayHave(name.length) && this.#names.has(name.toLowerCase())
  }

  /** False when no name is as long. */
  mayHave(length: number): boolean {
    return ((this.#lengths >>> (length & 31)) & 1) === 1
  }
}
