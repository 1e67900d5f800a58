import { durationMs, eventsPerSecond, summarizeFreshness, withoutProbes } from '../freshness-run.ts'
import type { FreshnessRun } from '../freshness-run.ts'
import { atMost, formatNumber, formatSpread, type Findings, type Table } from '../report.ts'
import type { Rounds } from '../rounds.ts'
import type { Latencies } from '../statistics.ts'
import { measureCommits, type CommitFigures } from '../table-commits.ts'
import { MergingInstance, small, statementNames, type StatementTimes } from '../table-merges.ts'

const commitLimitMs = 30
const freshnessLimitMs = 100
const liveFilesLimit = 50

/** What commits cost while files are merged, what merging gains, and what it costs those who wait for fresh rows. */
export async function measureTables(rounds: Rounds): Promise<Findings> {
  const commits = await measureCommits()
  const instance = await MergingInstance.start(rounds.wanted)
  const before = await instance.timeStatements()
  const files = await instance.compact(small.name)
  const after = await instance.timeStatements()
  const quiet: FreshnessRun[] = []
  const merging: FreshnessRun[] = []
  await rounds.run(async (round) => {
    quiet.push(await instance.runQuietly())
    merging.push(await instance.runWhileMerging(round))
  })
  await instance.remove()
  const whileMerging = summarizeFreshness(merging)
  return {
    tables: [
      commitTable(commits),
      statementTable(before, after, files),
      freshnessTable(quiet, merging),
    ],
    bars: [
      atMost('a commit, the last ones, p50', commits.last.p50, commitLimitMs, ' ms'),
      atMost('live files', commits.liveFilesMax, liveFilesLimit),
      atMost('answer to SQL while merging, p99', whileMerging.visible.p99, freshnessLimitMs, ' ms'),
      atMost('answered events that SQL did not find while merging', whileMerging.missing, 0),
    ],
    notes: [
      `commits: 1,000 events of 200 bytes every 115 ms into a table that commits every 100 ms, fsync on; a commit is what its line in the log says: from writing Parquet until SQL shows the new snapshot. ${formatNumber(commits.commits)} commits of ${formatNumber(commits.rowsOfACommit)} rows; meanwhile ${commits.merges} merges of ${formatNumber(commits.mergedFiles)} files. At the end the table named ${commits.snapshots} snapshots in ${formatNumber(commits.metadataBytes / 1000)} kB of metadata; at 10 s a commit it names 360 and the merges of an hour`,
      `small files: ${formatNumber(small.rows)} rows in ${formatNumber(small.files)} files, written at once; each statement nine times before and nine times after \`questlog tables compact\`, the medians of server time`,
      `freshness as in \`freshness\`, one table, ${durationMs / 1000} s a run; first without, then while another table of 4 M rows in 400 files is compacted by command, which takes longer than the run`,
    ],
    rounds: {
      commits,
      statements: { before, after, files },
      quiet: quiet.map(withoutProbes),
      merging: merging.map(withoutProbes),
    },
  }
}

function commitTable({ all, last }: CommitFigures): Table {
  const row = (what: string, { count, p50, p99, max }: Latencies) => [
    what,
    ...[count, p50, p99, max].map(formatNumber),
  ]
  return {
    title: 'Commits, while files are merged',
    columns: ['which', 'commits', 'p50 ms', 'p99 ms', 'max ms'],
    rows: [row('all', all), row('the last ones', last)],
  }
}

function statementTable(
  before: StatementTimes,
  after: StatementTimes,
  files: { readonly before: number; readonly after: number },
): Table {
  const times = (of: StatementTimes) => statementNames.map((name) => formatNumber(of[name]))
  return {
    title: 'Small files before and after they are merged, server time, ms',
    columns: ['files', ...statementNames],
    rows: [
      [formatNumber(files.before), ...times(before)],
      [formatNumber(files.after), ...times(after)],
      ['ratio', ...statementNames.map((name) => formatNumber(before[name] / after[name]))],
    ],
  }
}

function freshnessTable(quiet: readonly FreshnessRun[], merging: readonly FreshnessRun[]): Table {
  const row = (what: string, runs: readonly FreshnessRun[]) => {
    const { visible, rate, commits } = summarizeFreshness(runs)
    return [
      what,
      formatNumber(visible.count),
      ...[visible.p50, visible.p99, visible.max].map(formatNumber),
      formatSpread(rate),
      formatNumber(commits),
    ]
  }
  return {
    title: `From the answer to the row in SQL, ${formatNumber(eventsPerSecond)} events a second`,
    columns: ['meanwhile', 'probes', 'p50 ms', 'p99 ms', 'max ms', 'events/s', 'commits'],
    rows: [row('nothing is merged', quiet), row('a big table is merged', merging)],
  }
}
