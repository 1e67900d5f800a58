import { formatCount, formatMany } from '../app/words.ts'
import type { Clock } from '../core/clock.ts'
import type { PlayedRun } from './demo-play.ts'
import { alignRows, type DemoScreen } from './demo-screen.ts'
import type { FoundRow, Verdict } from './demo-verdict.ts'
import { askRowsPatiently, percentile, readNumber, readText } from './demo-watch.ts'

const patienceMs = 30_000
const numbersShown = 8

/** The table of its own that the example's definition gives each event type. */
const ownTables: ReadonlyMap<string, string> = new Map([
  ['default', 'default_hits'],
  ['purchase_sword', 'sword_purchases'],
  ['join_guild', 'join_guilds'],
])

interface Asking {
  readonly endpoint: string
  readonly clock: Clock
  readonly signal: AbortSignal
}

/** Every row of table `events`, by the number that its request carried. A statement waits by itself for all that was answered. */
export async function readEvents(asking: Asking): Promise<FoundRow[]> {
  const sql = "select raw_event ->> 'request', host, event_type from events"
  const rows = await askRowsPatiently(asking.endpoint, sql, { ...asking, patienceMs })
  return rows.map(([request, host, type]) => ({
    request: readNumber(request),
    host: readText(host),
    type: readText(type),
  }))
}

/** The names of those tables of one type that don't hold exactly the rows of this type in `events`. */
export async function findUnequalTables(
  rows: readonly FoundRow[],
  asking: Asking,
): Promise<string[]> {
  const unequal: string[] = []
  for (const [type, table] of ownTables) {
    const sql = `select raw_event ->> 'request' from ${table}`
    const found = await askRowsPatiently(asking.endpoint, sql, { ...asking, patienceMs })
    const wanted = rows.filter((row) => row.type === type).map((row) => row.request)
    const sorted = (numbers: number[]) => numbers.sort((a, b) => a - b).join()
    if (sorted(found.map(([request]) => readNumber(request))) !== sorted(wanted))
      unequal.push(table)
  }
  return unequal
}

/** Everything that was promised, and whether it was kept. */
export interface Outcome {
  readonly run: PlayedRun
  readonly verdict: Verdict
  readonly unequalTables: readonly string[]
}

export function isKept({ run, verdict, unequalTables }: Outcome): boolean {
  const { counts, probes } = run
  return verdict.isEqual && unequalTables.length + counts.broken + probes.missed === 0
}

export function showOutcome(outcome: Outcome, screen: DemoScreen): void {
  screen.line()
  screen.line('Answered with 200, and of exactly those, found by SQL in table events:')
  screen.line()
  for (const line of tableLines(outcome.verdict, screen)) screen.line(line)
  screen.line()
  const facts = [
    ...unansweredFacts(outcome.verdict),
    tablesFact(outcome, screen),
    countsFact(outcome, screen),
    ...freshnessFact(outcome, screen),
    loadFact(outcome.run),
  ]
  for (const line of alignRows(facts, new Set())) screen.line(line)
}

function tableLines(verdict: Verdict, screen: DemoScreen): string[] {
  const answered = verdict.groups.reduce((sum, group) => sum + group.answered, 0)
  const found = verdict.groups.reduce((sum, group) => sum + group.found, 0)
  const lines = alignRows(
    [
      ['host', 'type', 'answered', 'in SQL'],
      ...verdict.groups.map((group) => [
        group.host,
        group.type,
        formatCount(group.answered),
        formatCount(group.found),
      ]),
      ['all', '', formatCount(answered), formatCount(found)],
    ],
    new Set([2, 3]),
  )
  const [header = '', ...rest] = lines
  const missing = verdict.groups.flatMap((group) => group.missing)
  return [
    screen.style('quiet', header),
    ...rest.map((line, index) => {
      const group = verdict.groups[index]
      const isLast = group === undefined
      return `${line}   ${mark(group?.missing ?? missing, isLast ? verdict : undefined, screen)}`
    }),
  ]
}

/** `equal`, or the numbers that are not there. The last line also says whether something is there too often. */
function mark(missing: readonly number[], all: Verdict | undefined, screen: DemoScreen): string {
  if (all === undefined)
    return missing.length === 0
      ? screen.style('good', 'equal')
      : screen.style('bad', `missing ${formatNumbers(missing)}`)
  const wrong = [
    ...(missing.length === 0 ? [] : [`${formatCount(missing.length)} missing`]),
    ...(all.twice.length === 0 ? [] : [`more than once: ${formatNumbers(all.twice)}`]),
    ...(all.strange === 0 ? [] : [`${formatMany(all.strange, 'row')} of no request that was sent`]),
  ]
  return wrong.length === 0
    ? screen.style('good', 'equal, each of them once')
    : screen.style('bad', wrong.join('; '))
}

function formatNumbers(numbers: readonly number[]): string {
  const shown = numbers.slice(0, numbersShown).join(', ')
  return numbers.length > numbersShown ? `${shown}, … (${formatCount(numbers.length)})` : shown
}

/** A request without an answer may have been kept; neither is wrong. */
function unansweredFacts({ unanswered, refused }: Verdict): string[][] {
  const describe = ({ kept, notKept }: { kept: number; notKept: number }) =>
    `${formatMany(kept + notKept, 'request')}: ${formatCount(kept)} kept, ${formatCount(notKept)} not`
  return [
    ...(unanswered.kept + unanswered.notKept === 0 ? [] : [['no answer', describe(unanswered)]]),
    ...(refused.kept + refused.notKept === 0 ? [] : [['refused', describe(refused)]]),
  ]
}

function tablesFact({ unequalTables }: Outcome, screen: DemoScreen): string[] {
  const names = [...ownTables.values()].join(', ')
  return unequalTables.length === 0
    ? ['tables', `${names}: each holds exactly its part of events`]
    : ['tables', screen.style('bad', `not its part of events: ${unequalTables.join(', ')}`)]
}

function countsFact({ run }: Outcome, screen: DemoScreen): string[] {
  const { asked, broken } = run.counts
  const text = `asked ${formatMany(asked, 'time')} while it grew`
  return broken === 0
    ? ['count(*)', `${text}: never below what was answered, never lower than before`]
    : ['count(*)', screen.style('bad', `${text}: ${formatMany(broken, 'time')} too low`)]
}

function freshnessFact({ run }: Outcome, screen: DemoScreen): string[][] {
  const { latenciesMs, latenciesAwayMs, missed } = run.probes
  const [p50, p99] = [0.5, 0.99].map((part) => percentile(latenciesMs, part))
  const probes = `${formatMany(latenciesMs.length, 'event')} asked for at once`
  const slowest = percentile(latenciesAwayMs, 1)
  const away = slowest === undefined ? '' : `; ${formatMs(slowest)} at most across a kill`
  const text =
    p50 === undefined || p99 === undefined
      ? `no event was asked for at once`
      : `answer → visible in SQL: p50 ${formatMs(p50)}, p99 ${formatMs(p99)} (${probes}${away})`
  return [
    ['freshness', text],
    ...(missed === 0
      ? []
      : [
          [
            '',
            screen.style('bad', `${formatMany(missed, 'first statement')} did not see its event`),
          ],
        ]),
  ]
}

function loadFact({ played, elapsedMs }: PlayedRun): string[] {
  const seconds = elapsedMs / 1000
  const answers = played.filter(({ outcome }) => outcome.kind === 'answered')
  const latencies = answers.map(({ latencyMs }) => latencyMs)
  const [p50 = 0, p99 = 0] = [0.5, 0.99].map((part) => percentile(latencies, part))
  const rate = formatCount(Math.round(played.length / Math.max(seconds, 0.001)))
  return [
    'load',
    `${formatMany(played.length, 'request')} in ${seconds.toFixed(1)} s, ${rate} a second; answered in p50 ${formatMs(p50)}, p99 ${formatMs(p99)}`,
  ]
}

function formatMs(ms: number): string {
  if (ms < 10) return `${ms.toFixed(1)} ms`
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`
}
