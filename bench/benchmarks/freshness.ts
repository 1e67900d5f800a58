import { manyTablesDefinition } from '../definitions.ts'
import {
  durationMs,
  eventsPerSecond,
  probesAtOnceMax,
  probesPerSecond,
  runFreshness,
  summarizeFreshness,
  warmUpMs,
  withoutProbes,
  type FreshnessRun,
} from '../freshness-run.ts'
import { BenchInstance } from '../instance.ts'
import { atLeast, atMost, formatNumber, formatSpread, type Findings } from '../report.ts'
import type { Rounds } from '../rounds.ts'
import { latenciesOf } from '../statistics.ts'

const tableCounts = [1, 10, 50]
const limitsMs: Readonly<Record<number, number>> = { 1: 100, 10: 100, 50: 250 }

/** How long after its answer an event is in SQL, while others come in and tables commit. */
export async function measureFreshness(rounds: Rounds): Promise<Findings> {
  const subjects: Subject[] = []
  for (const tables of tableCounts) subjects.push(await startSubject(tables))
  const runs: FreshnessRun[] = []
  await rounds.run(async () => {
    for (const subject of subjects) runs.push(await runFreshness(subject.instance, subject.types))
  })
  const summaries = tableCounts.map((tables) => ({
    tables,
    ...summarizeFreshness(runs.filter((run) => run.tables === tables)),
  }))
  return {
    tables: [
      {
        title: `${formatNumber(eventsPerSecond)} events a second`,
        columns: [
          'tables',
          'probes',
          'p50 ms',
          'p99 ms',
          'p99.9 ms',
          'max ms',
          'waited p50',
          'waited p99',
          'events/s',
          'commits',
        ],
        rows: summaries.map(({ tables, visible, waited, rate, commits }) => [
          String(tables),
          formatNumber(visible.count),
          ...[visible.p50, visible.p99, visible.p999, visible.max, waited.p50, waited.p99].map(
            formatNumber,
          ),
          formatSpread(rate),
          formatNumber(commits),
        ]),
      },
      {
        title: `The first ${warmUpMs / 1000} s of the load, with programs that have just started`,
        columns: ['tables', 'probes', 'p50 ms', 'p99 ms', 'max ms'],
        rows: runs.slice(0, subjects.length).map(({ tables, early }) => {
          const { count, p50, p99, max } = latenciesOf(early.map(({ visibleMs }) => visibleMs))
          return [String(tables), ...[count, p50, p99, max].map(formatNumber)]
        }),
      },
    ],
    bars: summaries.flatMap(({ tables, visible, rate, missing }) => [
      atMost(`answer to SQL with ${tables} tables, p99`, visible.p99, limitsMs[tables] ?? 0, ' ms'),
      atMost(`answered events that SQL did not find, ${tables} tables`, missing, 0),
      atLeast(
        `events/s with ${tables} tables, of ${eventsPerSecond}`,
        rate.median / eventsPerSecond,
        0.98,
      ),
    ]),
    notes: [
      `load: a tenth of the events alone by GET, the others in bodies of 10 to 50, ${durationMs / 1000} s a run, after ${warmUpMs / 1000} s with the same load and the same statements that are not counted; each table takes one event type and commits every 2 s`,
      `a probe is one more event by GET; as soon as it is answered, a statement asks for it by its offset over POST /sql. Measured is the time until the row is there; "waited" is how much of it the server waited for the event. ${probesPerSecond} probes a second, at most ${probesAtOnceMax} at once`,
      'three instances with 1, 10 and 50 tables take turns; while one is measured the others have nothing to do',
    ],
    rounds: runs.map(withoutProbes),
  }
}

interface Subject {
  readonly types: readonly string[]
  readonly instance: BenchInstance
}

async function startSubject(tables: number): Promise<Subject> {
  const types = Array.from({ length: tables }, (_, index) => `quest_${index + 1}`)
  return { types, instance: await BenchInstance.start({ config: manyTablesDefinition(types) }) }
}
