import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { runUnderBatches } from '../batch-round.ts'
import { batchDefinition } from '../definitions.ts'
import { writeEvents } from '../events.ts'
import { BenchInstance, componentNames } from '../instance.ts'
import { atEnd, pause } from '../processes.ts'
import { atMost, formatNumber, formatSpread, type Findings } from '../report.ts'
import type { Rounds } from '../rounds.ts'
import { runSql } from '../sql.ts'
import { spreadOf } from '../statistics.ts'

const loadMs = 3_000
const underLoadMs = 6_000
const idleMs = 2_000
const MB = 1_000_000

type Memory = ReturnType<BenchInstance['memory']>

/** Time from the command until all is ready, and memory of the processes. */
export async function measureStart(rounds: Rounds): Promise<Findings> {
  const folder = mkdtempSync(join(tmpdir(), 'questlog-bench-'))
  atEnd(async () => rmSync(folder, { recursive: true, force: true }))
  const eventsFile = join(folder, 'events.ndjson')
  writeEvents(eventsFile)
  const instance = await BenchInstance.start({ config: batchDefinition })
  await pause(idleMs)
  const idle = instance.memory()
  const cleanMs: number[] = []
  const killedMs: number[] = []
  const levelMs: number[] = []
  await rounds.run(async () => {
    await instance.down()
    cleanMs.push(await instance.up())
    await runUnderBatches(instance, eventsFile, loadMs)
    await instance.kill()
    const startMs = performance.now()
    killedMs.push(await instance.up())
    await runSql(instance.sqlPort, 'select count(*) from purchases')
    levelMs.push(performance.now() - startMs)
  })
  const underLoad = (await runUnderBatches(instance, eventsFile, underLoadMs)).largest
  await instance.level()
  await pause(idleMs)
  const afterwards = instance.memory()
  const events = (await instance.status()).topics.reduce((sum, topic) => sum + topic.kept, 0)
  const supervisor = afterwards.supervisor.resident
  return {
    tables: [
      {
        title: 'Start',
        columns: ['after', 'ready, s'],
        rows: [
          ['a clean stop', formatSpread(spreadOf(cleanMs), 1 / 1000)],
          ['kill -9 of all processes under load', formatSpread(spreadOf(killedMs), 1 / 1000)],
          ['… until SQL counts every answered event', formatSpread(spreadOf(levelMs), 1 / 1000)],
        ],
      },
      {
        title: 'Memory, MB resident',
        columns: ['when', ...componentNames, 'all', 'all, shared pages once'],
        rows: [
          memoryRow('idle, just started', idle),
          [
            'under batches, at its largest',
            ...[supervisor, underLoad.ingest, underLoad.lake].map((bytes) =>
              formatNumber(bytes / MB),
            ),
            formatNumber((supervisor + underLoad.ingest + underLoad.lake) / MB),
            '',
          ],
          memoryRow('idle, after the batches', afterwards),
        ],
      },
    ],
    bars: [
      atMost('ready after a clean stop', spreadOf(cleanMs).median / 1000, 1.5, ' s'),
      atMost('memory of all processes, idle', total(idle, 'resident') / MB, 300, ' MB'),
    ],
    notes: [
      `ready: from giving the command \`questlog up -d\` until collector and SQL both answer /_questlog/ready with 200; ${cleanMs.length} starts of each kind, in turns, on a log that grows to ${formatNumber(events)} events`,
      `before each kill -9: ${loadMs / 1000} to ${(2 * loadMs) / 1000} s of batches as in the benchmark of batches`,
      'resident pages that processes share (the program itself) count in each of them; "shared pages once" is the sum of proportional set sizes',
    ],
    rounds: { cleanMs, killedMs, levelMs, idle, underLoad, afterwards },
  }
}

function total(memory: Memory, kind: 'resident' | 'proportional'): number {
  return componentNames.reduce((sum, name) => sum + memory[name][kind], 0)
}

function memoryRow(when: string, memory: Memory): string[] {
  return [
    when,
    ...componentNames.map((name) => formatNumber(memory[name].resident / MB)),
    formatNumber(total(memory, 'resident') / MB),
    formatNumber(total(memory, 'proportional') / MB),
  ]
}
