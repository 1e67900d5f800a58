import { expect, test } from 'vitest'
import { ask, codeOf } from '../collect/harness.ts'
import { waitFor } from '../support/commands.ts'
import { Instance } from '../support/instance.ts'
import { SimulatedFiles } from '../support/simulated-files.ts'
import { Game } from './game.ts'
import { expectExactly, NumberedLoad } from './numbered-load.ts'
import { SimulatedCollector } from './simulated-collector.ts'
import { SmallDisk } from './small-disk.ts'

const disk = await SmallDisk.mount(32)
const where =
  disk === undefined
    ? 'a simulated disk (this machine permits no mount)'
    : 'a real file system of 32 MB'

test(`${where} fills up: 503 with Retry-After, nothing answered is lost, and it goes on without a restart when there is room`, () =>
  disk === undefined ? fillSimulated() : fillReal(disk))

async function fillReal(mounted: SmallDisk): Promise<void> {
  await using small = mounted
  await using game = await Game.write(`hits: table({ from: 'hit', trigger: '1s' })`)
  await using instance = await Instance.start(game.config, {
    folder: small.folder,
    environment: { QUESTLOG_SEGMENT_BYTES_MAX: String(4 * 1024 * 1024) },
  })
  const pids = [await instance.pid('ingest'), await instance.pid('lake')]
  const load = new NumberedLoad(instance, { workers: 4, batch: 20, padBytes: 2000 })
  await waitFor('a full disk', 300_000, async () => (load.statuses.get(503) ?? 0) > 20)
  await load.stop()
  expect([...load.statuses.keys()].toSorted((one, other) => one - other)).toEqual([200, 503])
  for (const { retryAfter, body } of load.refusals) {
    expect(retryAfter).toBe('1')
    expect(body).toContain('OVERLOADED')
  }

  const ready = await instance.send('/_questlog/ready')
  expect(ready).toMatchObject({ status: 503, body: expect.stringContaining('the disk is full') })
  expect(await instance.ps()).toContain('events/0 takes no events: the disk is full')
  // The tables are on the same disk: their commits fail and are tried again, their rows stay visible.
  await waitFor('a second failed commit', 300_000, async () =>
    /table hits can't be committed: .*\(tried [2-9] times/.test(await instance.ps()),
  )
  expect(await instance.sql('select count(*) from hits')).toEqual([[load.answered.size]])

  small.resize(64)
  await waitFor(
    'room',
    300_000,
    async () => (await instance.send('/_questlog/ready')).status === 200,
  )
  const more = new NumberedLoad(instance, { workers: 2, batch: 5, padBytes: 100, first: load.next })
  await waitFor('answers', 300_000, async () => more.answered.size > 100)
  await more.stop()
  await waitFor(
    'a commit',
    300_000,
    async () => !(await instance.ps()).includes(`can't be committed`),
  )
  expect([await instance.pid('ingest'), await instance.pid('lake')]).toEqual(pids)
  await expectExactly(instance, load, more)
  console.log(
    `full disk: ${load.answered.size} events answered, ${load.statuses.get(503)} requests refused, ${more.answered.size} answered after`,
  )
}

async function fillSimulated(): Promise<void> {
  const files = new SimulatedFiles({ seed: 1, capacityBytes: 256 * 1024 })
  await using collector = await SimulatedCollector.start(files)
  const { port, log } = collector
  let kept = 0
  let answer = await ask(port, '/bare')
  for (; answer.status === 200; kept++) answer = await ask(port, `/bare?pad=${'x'.repeat(2000)}`)
  expect(kept).toBeGreaterThan(10)
  const told = [answer.status, codeOf(answer), answer.headers['retry-after']]
  expect(told).toEqual([503, 'OVERLOADED', '1'])
  expect((await ask(port, '/_questlog/ready')).status).toBe(503)
  files.capacityBytes = Infinity
  await waitFor('room', 120_000, async () => (await ask(port, '/_questlog/ready')).status === 200)
  expect((await ask(port, '/bare')).status).toBe(200)
  expect(log.states()[0]?.visibleOffset).toBe(kept + 1)
}
