/** Lets one piece of work at a time use a resource, in the order of asking. */
export class Exclusive<T> {
  readonly #resource: T
  #last: Promise<unknown> = Promise.resolve()

  constructor(resource: T) {
    this.#resource = resource
  }

  /** Runs `work` when all work asked for before has ended, whatever became of it. */
  run<R>(work: (resource: T) => Promise<R>): Promise<R> {
    const result = this.#last.then(() => work(this.#resource))
    this.#last = result.catch(() => {})
    return result
  }
}
