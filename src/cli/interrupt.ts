/** Aborts with the first Ctrl-C or SIGTERM; a second one ends the process. */
export function interruptSignal(): AbortSignal {
  const interrupted = new AbortController()
  process.once('SIGINT', () => interrupted.abort())
  process.once('SIGTERM', () => interrupted.abort())
  return interrupted.signal
}
