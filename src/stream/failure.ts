import { asQuestlogError, QuestlogError } from '../core/errors.ts'
import type { Settings } from '../core/settings.ts'
import type { StreamTable } from './stream-table.ts'

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

/** DATA_UNUSABLE when a flush before a change of the definition has left tables, or dead letters, that could not be committed. */
export function requireCommitted(failed: readonly StreamTable[], deadLetters: number): void {
  const [first] = failed
  const change = "the definition can't change while"
  if (first?.failure)
    throw new QuestlogError(
      'DATA_UNUSABLE',
      `${change} table ${first.definition.name} can't be committed: ${first.failure.reason}`,
    )
  if (deadLetters > 0)
    throw new QuestlogError(
      'DATA_UNUSABLE',
      `${change} the dead letters can't be committed; see \`questlog logs lake\``,
    )
}
