import { asQuestlogError } from '../core/errors.ts'
import type { Settings } from '../core/settings.ts'

/** Why something is not done at the moment, how often it was tried, and when it is tried again (monotonic milliseconds). */
export interface Failure {
  readonly reason: string
  readonly attempts: number
  readonly retryAtMs: number
}

const retryDelayMaxMs = 60_000

/** The failure after one more attempt: the delay begins with `commitRetryDelayMs` and doubles, up to a minute. */
export function failedAgain(
  before: Failure | null | undefined,
  error: unknown,
  nowMs: number,
  settings: Pick<Settings, 'commitRetryDelayMs'>,
): Failure {
  const attempts = (before?.attempts ?? 0) + 1
  const delayMs = Math.min(settings.commitRetryDelayMs * 2 ** (attempts - 1), retryDelayMaxMs)
  const known = asQuestlogError(error)
  const reason = `${known.code}: ${known.message.split('\n')[0] ?? ''}`.slice(0, 300)
  return { reason, attempts, retryAtMs: nowMs + delayMs }
}
