import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { realClock } from '../../src/core/clock.ts'
import { FailingSync } from '../faults/failing-sync.ts'
import { waitFor } from '../support/commands.ts'
import { seededRandom } from '../support/random.ts'
import { scriptPath, venvPython } from './clients.ts'
import { findAnomalies, type Operation } from './history.ts'
import { QuestlogTarget } from './target.ts'

const partitions = 3
/** So long at least; longer where too little has happened. */
const seconds = 17
/** Without these there would be little to find. */
const enough = { acknowledged: 1_001, polled: 1_001, commit: 1, abort: 1 } as const
const killsMin = 4

describe('producers and consumers of every kind, while ingest is killed again and again', () => {
  let folder: string
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'questlog-history-'))
  })
  afterEach(() => rmSync(folder, { recursive: true, force: true }))

  /** Runs the workload under kills at times that the seed says; resolves to what its clients did and saw. */
  async function run(target: QuestlogTarget, seed: number): Promise<Operation[]> {
    console.log(`seed ${seed}; QUESTLOG_SEED=${seed} runs it again`)
    const random = seededRandom(seed)
    await target.supervisor()
    const file = join(folder, 'operations')
    const words = [target.bootstrap, 'history', partitions, seed, file].map(String)
    const child = spawn(venvPython, [scriptPath('workload.py'), ...words], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    child.stdin.on('error', () => {}) // it has ended, with an exit code that tells
    let output = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text))
    const ended = new Promise<number | null>((resolve) => child.once('close', resolve))
    try {
      await waitFor('the clients run', 120_000, async () => {
        if (child.exitCode !== null) throw new Error('the clients have ended')
        return output.includes('started')
      })
      const endMs = performance.now() + seconds * 1_000
      const isEnough = () => {
        const line = output.split('\n').findLast((text) => /^counts \{.*\}$/.test(text))
        const counts = JSON.parse(line?.slice('counts '.length) ?? '{}') as Record<string, number>
        return Object.entries(enough).every(([name, least]) => (counts[name] ?? 0) >= least)
      }
      let kills = 0
      for (;;) {
        if (child.exitCode !== null) throw new Error('the clients have ended')
        await target.ready()
        await realClock.sleep(random.below(2_000))
        if (performance.now() > endMs && kills >= killsMin && isEnough()) break
        await target.killIngest()
        kills++
      }
      // What is sent last finds a broker that stays.
      child.stdin.end()
      expect(await ended).toBe(0)
      console.log(`ingest was ended ${kills} times`)
    } finally {
      child.kill('SIGKILL')
    }
    const lines = readFileSync(file, 'utf8').trim().split('\n')
    return lines.map((line) => JSON.parse(line) as Operation)
  }

  function expectGood(operations: readonly Operation[]): void {
    const counts: Record<string, number> = {}
    for (const each of operations) {
      const name = each.kind === 'send' || each.kind === 'end' ? ` ${each.outcome}` : ''
      counts[`${each.kind}${name}`] = (counts[`${each.kind}${name}`] ?? 0) + 1
    }
    console.log(counts)
    // There was something to find.
    expect(counts['send acknowledged']).toBeGreaterThanOrEqual(enough.acknowledged)
    expect(counts['poll']).toBeGreaterThanOrEqual(enough.polled)
    expect(counts['end commit']).toBeGreaterThanOrEqual(enough.commit)
    expect(counts['end abort']).toBeGreaterThanOrEqual(enough.abort)
    const options = { mayRepeat: new Set(['plain-0']), last: 'last' }
    expect(findAnomalies(operations, options)).toEqual([])
  }

  const seed = Number(process.env['QUESTLOG_SEED'] ?? 20180726)

  test('nothing is lost, doubled, moved or read that was aborted', async () => {
    await using target = await QuestlogTarget.start()
    expectGood(await run(target, seed))
    expect(await target.instance.audit()).toMatchObject({ code: 0 })
  })

  test('nor on a slow disk', async () => {
    await using sync = await FailingSync.build()
    expect(sync).toBeDefined()
    await using target = await QuestlogTarget.start(sync?.slowedBy(30_000))
    expectGood(await run(target, seed + 1))
  })
})
