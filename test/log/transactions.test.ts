import { expect, test } from 'vitest'
import { LogReader } from '../../src/log/reader.ts'
import { SimulatedClock } from '../support/simulated-clock.ts'
import { SimulatedFiles } from '../support/simulated-files.ts'
import { live } from './lives.ts'
import { ProducerHistory } from './producer-history.ts'
import { createEvents, logFolder, openLog, record, watermarkOf } from './support.ts'

const play = (seed: number, faults: boolean) =>
  live(new ProducerHistory(seed), `producer history ${seed}`, faults)

// More of them for a long run: QUESTLOG_TEST_HISTORIES=100000.
const histories = Number(process.env['QUESTLOG_TEST_HISTORIES'] ?? 40)
const patience = Math.max(120_000, histories * 1_000)

test(
  'whatever stops the log, producers go on where they were, and what is open, aborted and excluded is what the batches say',
  async () => {
    for (let seed = 0; seed < histories; seed++) await play(seed, false)
  },
  patience,
)

test(
  'and also when writes and syncs fail',
  async () => {
    for (let seed = 0; seed < histories; seed++) await play(seed, true)
  },
  patience,
)

test('a history is the same for the same seed', async () => {
  const play9 = async () => {
    const history = new ProducerHistory(9)
    await history.run()
    return Promise.all(history.files.paths().map((path) => history.files.readAll(path)))
  }
  expect(await play9()).toEqual(await play9())
})

test('a marker is synced when it is acknowledged, with durability os too', async () => {
  const clock = new SimulatedClock()
  const files = new SimulatedFiles({ seed: 1 })
  const log = await openLog(files, { clock, settings: { durability: 'os' } })
  const topic = await createEvents(log)
  await log.append('events', null, [record('x')])
  const reader = new LogReader(files, logFolder)
  expect(watermarkOf(reader, topic)).toMatchObject({ highWatermark: 1, syncedOffset: 0 })
  await log.appendMarker('events', 0, {
    producerId: 7,
    producerEpoch: 0,
    coordinatorEpoch: 0,
    outcome: 'commit',
  })
  expect(watermarkOf(reader, topic)).toMatchObject({ highWatermark: 2, syncedOffset: 2 })
  await reader.close()
  await log.close()
})
