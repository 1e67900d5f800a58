import { spawn } from 'node:child_process'
import { expect, test } from 'vitest'
import { waitFor } from '../support/commands.ts'
import { scriptPath, venvPython } from './clients.ts'
import { QuestlogTarget } from './target.ts'

test('events over HTTP and from a Kafka producer on one topic, while ingest is killed: the counts add up', async () => {
  await using target = await QuestlogTarget.start()
  await target.supervisor()
  // Numbers are no events: they are set aside, each one counted.
  const count = 10_000
  const words = [scriptPath('numbered.py'), target.bootstrap, 'events', String(count), 'idempotent']
  const child = spawn(venvPython, words, { stdio: ['ignore', 'pipe', 'ignore'] })
  let output = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text))
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve))
  let answered = 0
  let unknown = 0
  let isOver = false
  const game = async () => {
    while (!isOver) {
      const status = await target.instance
        .send('/purchase_a_sword')
        .then((answer) => answer.status)
        .catch(() => 0)
      if (status === 200) answered++
      else unknown++
    }
  }
  const games = [game(), game()]
  try {
    for (const delivered of [2_000, 5_000, 8_000]) {
      await waitFor(`${delivered} are answered`, 300_000, async () =>
        output.includes(`delivered ${delivered}\n`),
      )
      await target.killIngest()
    }
    expect(await ended).toBe(0)
    await waitFor('games are answered', 300_000, async () => answered > 100)
  } finally {
    isOver = true
    child.kill('SIGKILL')
    await Promise.all(games)
  }
  await target.ready()
  const [[swords]] = (await target.instance.sql('select count(*) from sword_purchases')) as [
    [number],
  ]
  console.log(
    `${count} from Kafka; over HTTP ${answered} answered, ${unknown} not, ${swords} in the table`,
  )
  expect(Number(swords)).toBeGreaterThanOrEqual(answered)
  expect(Number(swords)).toBeLessThanOrEqual(answered + unknown)
  const topic = await waitFor('everything is in its place', 300_000, async () => {
    const { topics } = await target.instance.status()
    const found = topics.find(({ name }) => name === 'events')
    return found?.inFlight === 0 ? found : undefined
  })
  expect(topic).toMatchObject({
    kept: count + Number(swords),
    inTables: Number(swords),
    deadLetters: count,
  })
  expect(await target.instance.audit()).toMatchObject({ code: 0 })
})
