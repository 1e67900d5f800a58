/** Time and randomness come in by parameter, so that one seed replays a run. */
export interface Clock {
  /** Wall time, milliseconds since 1970-01-01 UTC. May jump. */
  nowMs(): number
  /** A time that never goes back, milliseconds, with a fraction. For durations. */
  monotonicMs(): number
  /** Resolves after `delayMs`, or at once when the signal aborts. Never rejects. */
  sleep(delayMs: number, signal?: AbortSignal): Promise<void>
  /** Calls `work` after `delayMs`, unless the function that it returns is called before. Costs much less than a `sleep` with a signal of its own. */
  after(delayMs: number, work: () => void): () => void
}

export const realClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  sleep: (delayMs, signal) =>
    new Promise((resolve) => {
      if (signal?.aborted) return resolve()
      const done = () => {
        clearTimeout(timer)
        signal?.removeEventListener('abort', done)
        resolve()
      }
      const timer = setTimeout(done, delayMs)
      signal?.addEventListener('abort', done, { once: true })
    }),
  after: (delayMs, work) => {
    const timer = setTimeout(work, delayMs)
    return () => clearTimeout(timer)
  },
}
