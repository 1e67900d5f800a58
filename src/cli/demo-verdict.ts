import type { Played } from '../sim/play.ts'
import type { SimRequest } from '../sim/rounds.ts'

/** A row that SQL found: the number that the request carried, and where it says it comes from. */
export interface FoundRow {
  readonly request: number
  readonly host: string
  readonly type: string
}

export interface VerdictGroup {
  readonly host: string
  readonly type: string
  readonly answered: number
  /** Of the answered ones, those that SQL finds with this host and type. */
  readonly found: number
  /** Numbers that were answered and that SQL does not find. */
  readonly missing: readonly number[]
}

export interface Verdict {
  readonly groups: readonly VerdictGroup[]
  /** Numbers that SQL finds more than once, answered or not. */
  readonly twice: readonly number[]
  /** Rows of no request that was sent. */
  readonly strange: number
  /** Requests without an answer, and those that were refused (429, 503: their outcome may be unknown). */
  readonly unanswered: { readonly kept: number; readonly notKept: number }
  readonly refused: { readonly kept: number; readonly notKept: number }
  readonly isEqual: boolean
}

/** Holds what was answered beside what SQL finds of exactly those, number by number. */
export function judge(played: readonly Played[], rows: readonly FoundRow[]): Verdict {
  const times = new Map<number, number>()
  for (const { request } of rows) times.set(request, (times.get(request) ?? 0) + 1)
  const sent = new Map(played.map(({ request }) => [request.number, request]))
  const placed = new Set(
    rows.filter((row) => isPlaced(row, sent.get(row.request))).map((row) => row.request),
  )
  const groups = new Map<string, { host: string; type: string; numbers: number[] }>()
  for (const { request, outcome } of played) {
    const { host, type, number } = request
    const key = `${host} ${type}`
    const group = groups.get(key) ?? { host, type, numbers: [] }
    groups.set(key, group)
    if (outcome.kind === 'answered') group.numbers.push(number)
  }
  const judged = [...groups.values()].map(({ host, type, numbers }) => {
    const missing = numbers.filter((number) => !placed.has(number)).sort((a, b) => a - b)
    const answered = numbers.length
    return { host, type, answered, found: answered - missing.length, missing }
  })
  judged.sort((a, b) => compareText(a.host, b.host) || compareText(a.type, b.type))
  const twice = [...times].filter(([, count]) => count > 1).map(([number]) => number)
  const strange = rows.filter((row) => !isPlaced(row, sent.get(row.request))).length
  const keptOf = (kind: 'no answer' | 'refused') => {
    const numbers = played.filter(({ outcome }) => outcome.kind === kind)
    const kept = numbers.filter(({ request }) => times.has(request.number)).length
    return { kept, notKept: numbers.length - kept }
  }
  return {
    groups: judged,
    twice: twice.sort((a, b) => a - b),
    strange,
    unanswered: keptOf('no answer'),
    refused: keptOf('refused'),
    isEqual: twice.length === 0 && strange === 0 && judged.every((row) => row.missing.length === 0),
  }
}

/** Whether a row says what its request said. */
function isPlaced(row: FoundRow, request: SimRequest | undefined): boolean {
  return request !== undefined && row.host === request.host && row.type === request.type
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : Number(a > b)
}
