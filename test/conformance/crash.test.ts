import { spawn } from 'node:child_process'
import { expect, test } from 'vitest'
import { runOrThrow, waitFor } from '../support/commands.ts'
import { repositoryRoot } from '../support/tidy-source.ts'
import { parseResults, scriptPath, venvPython } from './clients.ts'
import { QuestlogTarget } from './target.ts'

/** Sends numbers, and ends ingest with -9 after every so many that were answered. */
async function sendUnderKills(
  target: QuestlogTarget,
  { topic, count, kind, killEvery }: Sending,
): Promise<{ kills: number; results: Record<string, unknown> }> {
  await target.supervisor()
  const words = [scriptPath('numbered.py'), target.bootstrap, topic, String(count), kind]
  const child = spawn(venvPython, words, { stdio: ['pipe', 'pipe', 'ignore'] })
  let output = ''
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()))
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text))
  const delivered = () => Number([...output.matchAll(/^delivered (\d+)$/gm)].at(-1)?.[1] ?? 0)
  child.stdin.on('error', () => {}) // it has ended: what it printed tells why
  let kills = 0
  try {
    for (let next = killEvery; next < count; next = delivered() + killEvery) {
      // However slowly it is watched, it does not run away: records are on their way when the kill comes.
      child.stdin.write(`${next + onTheWay}\n`)
      await waitFor(`${next} are answered`, 300_000, async () => delivered() >= next)
      await target.killIngest()
      kills++
    }
    child.stdin.end()
    await ended
  } finally {
    child.kill('SIGKILL')
  }
  return { kills, results: parseResults(output) }
}

/** Records that are sent beyond those of which the answer is waited for. */
const onTheWay = 1_500

interface Sending {
  readonly topic: string
  readonly count: number
  readonly kind: 'idempotent' | 'plain'
  readonly killEvery: number
}

async function readNumbers(target: QuestlogTarget, topic: string): Promise<number[]> {
  await target.ready()
  const words = ['-C', '-b', target.bootstrap, '-t', topic, '-o', 'beginning', '-e', '-q']
  const output = await runOrThrow('kcat', words, { cwd: repositoryRoot })
  return output.split('\n').slice(0, -1).map(Number)
}

test('60,000 records of an idempotent producer, ten and more kill -9 of ingest: all in the log, each once, in order', async () => {
  await using target = await QuestlogTarget.start()
  const count = 60_000
  const sending = { topic: 'numbers', count, kind: 'idempotent', killEvery: 4_000 } as const
  const { kills, results } = await sendUnderKills(target, sending)
  expect(results).toEqual({ delivered: count, failed: [], left: 0 })
  console.log(`ingest was ended ${kills} times`)
  expect(kills).toBeGreaterThanOrEqual(10)
  const numbers = await readNumbers(target, 'numbers')
  expect(numbers).toHaveLength(count)
  expect(numbers.every((number, at) => number === at)).toBe(true)
})

test('a producer that is not idempotent may see some twice after kill -9, but loses none', async () => {
  await using target = await QuestlogTarget.start()
  const count = 20_000
  const sending = { topic: 'numbers', count, kind: 'plain', killEvery: 4_000 } as const
  const { kills, results } = await sendUnderKills(target, sending)
  expect(results).toEqual({ delivered: count, failed: [], left: 0 })
  const numbers = await readNumbers(target, 'numbers')
  console.log(`ingest was ended ${kills} times, ${numbers.length - count} records are there twice`)
  expect(kills).toBeGreaterThanOrEqual(3)
  expect(new Set(numbers).size).toBe(count)
})
