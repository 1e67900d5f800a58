import { createHash, timingSafeEqual } from 'node:crypto'

/** The keys of which every event needs one. Compared by digest, so that the time says nothing about a key or its length. */
export class WriteKeys {
  readonly #digests: readonly Buffer[]

  constructor(keys: readonly string[]) {
    this.#digests = keys.map(digest)
  }

  /** False when no keys are set: then every request is accepted. */
  get required(): boolean {
    return this.#digests.length > 0
  }

  /** Whether one of the given texts is a key. `authorization` is the whole header. */
  accept(
    authorization: string | undefined,
    header: string | undefined,
    parameter: string | undefined,
  ): boolean {
    const bearer = /^bearer +(\S+) *$/i.exec(authorization ?? '')?.[1]
    const given = [bearer, header, parameter].filter((text) => text !== undefined).map(digest)
    let accepted = false
    for (const candidate of given)
      for (const key of this.#digests) if (timingSafeEqual(candidate, key)) accepted = true
    return accepted
  }
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}
