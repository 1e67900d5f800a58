import { join } from 'node:path'
import { allDone } from '../src/core/all-done.ts'
import { requestTableWork } from '../src/app/control-client.ts'
import { readInstances } from '../src/app/instance.ts'
import { mergingDefinition } from './definitions.ts'
import { runFreshness, type FreshnessRun } from './freshness-run.ts'
import { BenchInstance } from './instance.ts'
import { writePastTables } from './past-tables.ts'
import { runSql } from './sql.ts'
import { spreadOf } from './statistics.ts'

const type = 'quest'
export const small = { name: 'small_files', rows: 1_000_000, files: 1_000 }
/** As many rows as are merged for longer than freshness is measured. */
const big = { rows: 4_000_000, files: 400 }

const statements = {
  'count(*)': `select count(*) from ${small.name}`,
  'by host': `select host, count(*) from ${small.name} group by host`,
  'filter, avg': `select avg(damage) from ${small.name} where color = 'red'`,
} as const
export type StatementName = keyof typeof statements
export const statementNames = Object.keys(statements) as StatementName[] // an object of these
const repeats = 9

/** Server time of each statement, the median, milliseconds. */
export type StatementTimes = Readonly<Record<StatementName, number>>

/** An instance whose tables are merged only on command: one of small files, and a big one for each round. */
export class MergingInstance {
  readonly #instance: BenchInstance
  readonly #rounds: number

  private constructor(instance: BenchInstance, rounds: number) {
    this.#instance = instance
    this.#rounds = rounds
  }

  static async start(rounds: number): Promise<MergingInstance> {
    const names = Array.from({ length: rounds }, (_, round) => bigName(round))
    const config = mergingDefinition(type, [small.name, ...names])
    const instance = new BenchInstance({ config })
    const tables = [small, ...names.map((name) => ({ name, ...big }))]
    await writePastTables(join(instance.data, 'lake'), tables)
    await instance.up()
    return new MergingInstance(instance, rounds)
  }

  /** Times of statements over the small files, each asked once before. */
  async timeStatements(): Promise<StatementTimes> {
    const times = new Map<StatementName, number[]>(statementNames.map((name) => [name, []]))
    for (let repeat = 0; repeat <= repeats; repeat++)
      for (const name of statementNames) {
        const { rows, serverMs } = await runSql(this.#instance.sqlPort, statements[name])
        if (name === 'count(*)' && Number(rows[0]?.[0]) !== small.rows)
          throw new Error(`count(*) of ${small.name} gave ${JSON.stringify(rows)}`)
        if (repeat > 0) times.get(name)?.push(serverMs)
      }
    const median = (name: StatementName) => spreadOf(times.get(name) ?? []).median
    return {
      'count(*)': median('count(*)'),
      'by host': median('by host'),
      'filter, avg': median('filter, avg'),
    }
  }

  /** `questlog tables compact`: how many files there were and are. */
  async compact(name: string): Promise<{ readonly before: number; readonly after: number }> {
    const [owner] = readInstances(this.#instance.data)
    if (owner === undefined) throw new Error('questlog does not run')
    const { files } = await requestTableWork(owner, { namespace: 'default', name, work: 'compact' })
    return files
  }

  runQuietly(): Promise<FreshnessRun> {
    return runFreshness(this.#instance, [type])
  }

  /** While the big table of a round is merged from beginning to end. Rejects when that was over too soon. */
  async runWhileMerging(round: number): Promise<FreshnessRun> {
    const name = bigName(round % this.#rounds)
    const startMs = performance.now()
    let mergedMs = 0
    const merged = this.compact(name).then(() => void (mergedMs = performance.now() - startMs))
    const [run] = await allDone([runFreshness(this.#instance, [type]), merged])
    const measuredMs = run.load.seconds * 1000
    if (mergedMs < measuredMs)
      throw new Error(`${name} was merged in ${mergedMs} ms, events came for ${measuredMs} ms`)
    const { rows } = await runSql(this.#instance.sqlPort, `select count(*) from ${name}`)
    if (Number(rows[0]?.[0]) !== big.rows)
      throw new Error(`${name} has ${JSON.stringify(rows)} rows after the merge`)
    return run
  }

  remove(): Promise<void> {
    return this.#instance.remove()
  }
}

const bigName = (round: number) => `big_${round + 1}`
