import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { ask, codeOf } from '../collect/harness.ts'
import { waitFor } from '../support/commands.ts'
import { Instance } from '../support/instance.ts'
import { SimulatedFiles } from '../support/simulated-files.ts'
import { FailingSync } from './failing-sync.ts'
import { Game } from './game.ts'
import { expectExactly, NumberedLoad } from './numbered-load.ts'
import { SimulatedCollector } from './simulated-collector.ts'

const fault = await FailingSync.build()
const where =
  fault === undefined
    ? 'a simulated disk (this machine has no C compiler or no LD_PRELOAD)'
    : 'a disk'

test(`${where} that returns EIO on sync takes the partition offline: ps, /ready and the log say so, and no 200 comes until a restart`, () =>
  fault === undefined ? failSimulated() : failReal(fault))

async function failReal(built: FailingSync): Promise<void> {
  await using failing = built
  await using game = await Game.write(`hits: table({ from: 'hit', trigger: '1s' })`)
  await using instance = await Instance.start(game.config, { environment: failing.environment })
  const load = new NumberedLoad(instance, { workers: 4, batch: 5, padBytes: 100 })
  await waitFor('answers', 300_000, async () => load.answered.size > 500)
  await failing.begin()
  await waitFor('a refusal', 300_000, async () => load.refusals.length > 20)
  const answered = load.answered.size
  // The fault is over, but what the disk has of the last writes is not known: no append may go on top of them.
  await failing.end()
  const refused = load.statuses.get(503) ?? 0
  await waitFor('more refusals', 300_000, async () => (load.statuses.get(503) ?? 0) > refused + 50)
  await load.stop()
  expect(load.answered.size).toBe(answered)
  expect([...load.statuses.keys()].toSorted((one, other) => one - other)).toEqual([200, 503])
  expect(load.refusals[0]?.body).toContain('OUTCOME_UNKNOWN')
  expect(load.refusals.at(-1)).toMatchObject({
    retryAfter: '30',
    body: expect.stringContaining('PARTITION_OFFLINE'),
  })
  expect(await instance.send('/_questlog/ready')).toMatchObject({
    status: 503,
    body: expect.stringMatching(/events\/0 is offline: EIO/),
  })
  expect(await instance.ps()).toMatch(/! events\/0 is offline: EIO/)
  const log = await readFile(join(instance.data, 'run', 'ingest.log'), 'utf8')
  expect(log).toContain('"text":"a partition is offline"')
  expect(await instance.sql('select count(*) >= 500 from hits')).toEqual([[true]])

  // While the disk fails a restart is no way out either; once it is well again, it is.
  await failing.begin()
  await instance.kill('ingest')
  await waitFor('a start that fails', 300_000, async () =>
    /! ingest can not start: .*EIO/.test(await instance.ps()),
  )
  await failing.end()
  await waitFor('a start', 300_000, async () => (await hit(instance)) === 200)
  await expectExactlyAndOneMore(instance, load)
  console.log(
    `failing sync: ${answered} events answered before it, none after; ${load.unknown.size} of unknown end`,
  )
}

const hit = async (instance: Instance) =>
  (await instance.send('/hit?n=-1').catch(() => undefined))?.status

async function expectExactlyAndOneMore(instance: Instance, load: NumberedLoad): Promise<void> {
  load.answered.add(-1)
  await expectExactly(instance, load)
}

async function failSimulated(): Promise<void> {
  const files = new SimulatedFiles({ seed: 1 })
  await using collector = await SimulatedCollector.start(files)
  const { port, log } = collector
  expect((await ask(port, '/bare')).status).toBe(200)
  files.fault = (operation) => (operation === 'sync' ? 'EIO' : undefined)
  expect(codeOf(await ask(port, '/bare'))).toBe('OUTCOME_UNKNOWN')
  files.fault = () => undefined
  const answer = await ask(port, '/bare')
  expect([answer.status, codeOf(answer)]).toEqual([503, 'PARTITION_OFFLINE'])
  expect((await ask(port, '/_questlog/ready')).status).toBe(503)
  expect(log.states()[0]?.offline).toContain('EIO')
  files.kill()
  await using next = await SimulatedCollector.start(files)
  expect((await ask(next.port, '/bare')).status).toBe(200)
}
