/** All further paths, once as many as are counted by name are known. */
export const otherPaths = '(other)'

/** Requests to paths that no route has: a game may call a route before the definition has it. */
export class UnknownPaths {
  readonly #pathsMax: number
  readonly #counts = new Map<string, number>()
  #total = 0

  constructor(pathsMax: number) {
    this.#pathsMax = pathsMax
  }

  get total(): number {
    return this.#total
  }

  count(path: string): void {
    this.#total += 1
    const known = this.#counts.get(path)
    const name = known === undefined && this.#counts.size >= this.#pathsMax ? otherPaths : path
    this.#counts.set(name, (known ?? this.#counts.get(name) ?? 0) + 1)
  }

  /** A path that has a route now needs no look any more. It stays in the total. */
  forget(path: string): void {
    this.#counts.delete(path)
  }

  /** Most frequent first. */
  list(): { path: string; count: number }[] {
    return [...this.#counts]
      .map(([path, count]) => ({ path, count }))
      .sort((a, b) => b.count - a.count || (a.path < b.path ? -1 : 1))
  }
}
