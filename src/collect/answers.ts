import type { ErrorCode, QuestlogError } from '../core/errors.ts'

/** Seconds after which a client may try again, for the errors that pass. */
const retryAfterSeconds: Partial<Readonly<Record<ErrorCode, number>>> = {
  OVERLOADED: 1,
  OUTCOME_UNKNOWN: 1,
  SHUTTING_DOWN: 2,
  BEHIND: 5,
  PARTITION_OFFLINE: 30,
}

/** What became of one event, as its entry among the results says it. */
export type EventResult = { readonly receipt: string } | { readonly error: QuestlogError }

/** `{"error":{"code","message","hint"}}`. The code is API, the message is not. */
export function formatError(error: QuestlogError): string {
  return `{"error":${errorJson(error)}}\n`
}

/** Header lines that an error adds to its answer. */
export function errorHeaders(error: QuestlogError): string[] {
  const seconds = retryAfterSeconds[error.code]
  return seconds === undefined ? [] : ['Retry-After', String(seconds)]
}

/** `{"kept":n,"refused":m,"results":[…]}`, results in the order of the events. */
export function formatResults(results: readonly EventResult[]): string {
  let kept = 0
  let list = ''
  for (const result of results) {
    if (list !== '') list += ','
    if ('receipt' in result) {
      kept += 1
      list += `{"status":200,"receipt":"${result.receipt}"}`
    } else {
      list += `{"status":${result.error.row.http},"error":${errorJson(result.error)}}`
    }
  }
  return `{"kept":${kept},"refused":${results.length - kept},"results":[${list}]}\n`
}

/** 200 when all were kept, 207 when some were, else the status of the first refusal. */
export function resultsStatus(results: readonly EventResult[]): number {
  const refusal = results.find((result) => 'error' in result)
  if (refusal === undefined || !('error' in refusal)) return 200
  return results.some((result) => 'receipt' in result) ? 207 : refusal.error.row.http
}

/** Headers for the first refusal that passes by itself. */
export function resultsHeaders(results: readonly EventResult[]): string[] {
  for (const result of results) {
    const headers = 'error' in result ? errorHeaders(result.error) : []
    if (headers.length > 0) return headers
  }
  return []
}

function errorJson({ code, message, hint }: QuestlogError): string {
  return JSON.stringify({ code, message, hint })
}
