import type { Settings } from '../core/settings.ts'

/** At most one part in this many plus one of a processor goes to micro-batches that nobody waits for. */
const restFactor = 3

/**
 * How long the stream rests after a look at the log, milliseconds. A micro-batch costs nearly the same whatever it holds: taken less often, it leaves the processors to
 * the collector. A statement ends the rest, so it waits for none of it.
 */
export function restAfter(
  tookMs: number,
  settings: Pick<Settings, 'pollIntervalMs' | 'pollIntervalMsMax'>,
): number {
  const { pollIntervalMs, pollIntervalMsMax } = settings
  return Math.max(pollIntervalMs, Math.min(restFactor * tookMs, pollIntervalMsMax))
}

/**
 * How long it rests also when statements wait, milliseconds: the statements that come meanwhile share the next micro-batch, instead of paying for one each.
 */
export function restForAll(tookMs: number, settings: Pick<Settings, 'pollIntervalMs'>): number {
  return Math.min(tookMs, settings.pollIntervalMs)
}
