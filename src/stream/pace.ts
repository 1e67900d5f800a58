import type { Settings } from '../core/settings.ts'

/** At most one part in this many plus one of a processor goes to micro-batches that nobody waits for, while there are statements now and then. */
const restFactor = 3
/** The same when there have been none for `quietMs`. */
const quietRestFactor = 9
const quietMs = 1_000

/**
 * How long the stream rests after a look at the log, milliseconds. A micro-batch costs nearly the same whatever it holds: taken less often, it leaves the processors to
 * the collector. A statement ends the rest, so it waits for none of it. `sinceAskedMs` is how long ago the last one began.
 */
export function restAfter(
  tookMs: number,
  sinceAskedMs: number,
  settings: Pick<Settings, 'pollIntervalMs' | 'pollIntervalMsMax'>,
): number {
  const { pollIntervalMs, pollIntervalMsMax } = settings
  const factor = sinceAskedMs < quietMs ? restFactor : quietRestFactor
  return Math.max(pollIntervalMs, Math.min(factor * tookMs, pollIntervalMsMax))
}

/**
 * How long it rests also when statements wait, milliseconds: the statements that come meanwhile share the next micro-batch, instead of paying for one each.
 */
export function restForAll(tookMs: number, settings: Pick<Settings, 'pollIntervalMs'>): number {
  return Math.min(tookMs, settings.pollIntervalMs)
}
