import { spawn, type ChildProcess } from 'node:child_process'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { runCommand, runOrThrow, waitFor } from '../support/commands.ts'
import { questlog } from '../support/instance.ts'
import { QuestlogTarget } from './target.ts'

let target: QuestlogTarget
const running: ChildProcess[] = []

beforeAll(async () => {
  target = await QuestlogTarget.start()
})
afterAll(async () => {
  for (const child of running) child.kill('SIGKILL')
  await target[Symbol.asyncDispose]()
})

/** A member of group `pair` that prints `partition offset` of what it reads, and outlives the broker. */
function startMember() {
  const words = ['-E', '-u', '-b', target.bootstrap, '-G', 'pair', '-f', '%p %o\n']
  const settings = ['auto.offset.reset=earliest', 'auto.commit.interval.ms=100']
  const child = spawn('kcat', [...words, ...settings.flatMap((text) => ['-X', text]), 'shared'])
  running.push(child)
  const seen = { output: '', log: '' }
  child.stdout.setEncoding('utf8').on('data', (text: string) => (seen.output += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (seen.log += text))
  return seen
}

/** How many partitions a member has by what it has printed: a line is printed in parts, the last is whole when another begins. */
function assigned(log: string): number {
  const whole = log.split('\n').slice(0, -1)
  const last = whole.findLast((line) => line.includes('assigned:')) ?? ''
  return (last.match(/\[\d\]/g) ?? []).length
}

test('a group goes on over kill -9 of the broker: no rebalance, and nothing is read twice', async () => {
  const { bootstrap, instance } = target
  const produce = async (count: number) => {
    for (let partition = 0; partition < 4; partition++) {
      const kcat = `kcat -P -b ${bootstrap} -t shared -p ${partition}`
      await runOrThrow('sh', ['-c', `seq 1 ${count} | ${kcat}`], { cwd: instance.data })
    }
  }
  const words = ['create', 'shared', '--partitions', '4', '--data', instance.data]
  const created = await questlog('topics', ...words)
  expect(created.code).toBe(0)
  const members = [startMember(), startMember()]
  const read = () => members.flatMap(({ output }) => output.split('\n').slice(0, -1))
  const rebalances = () => members.map(({ log }) => log.split(' rebalanced').length - 1)
  // Whoever comes first may have them all for a moment.
  await waitFor('they share the partitions', 120_000, async () =>
    members.every(({ log }) => assigned(log) === 2),
  )
  const before = rebalances()
  await produce(50)
  await waitFor('they have read everything', 120_000, async () => read().length >= 200)
  for (const expected of [400, 600]) {
    await instance.kill('ingest')
    await waitFor('it runs again', 120_000, async () => {
      const listing = await runCommand('kcat', ['-L', '-m', '10', '-b', bootstrap], { cwd: '.' })
      return listing.code === 0
    })
    await produce(50)
    await waitFor('they read on', 120_000, async () => read().length >= expected)
  }
  expect(rebalances()).toEqual(before)
  expect(read()).toHaveLength(600)
  expect(new Set(read()).size).toBe(600)
})
