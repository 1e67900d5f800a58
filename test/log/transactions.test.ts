import { expect, test } from 'vitest'
import { LogReader } from '../../src/log/reader.ts'
import { SimulatedClock } from '../support/simulated-clock.ts'
import { SimulatedFiles } from '../support/simulated-files.ts'
import { ProducerHistory } from './producer-history.ts'
import { createEvents, logFolder, openLog, record, watermarkOf } from './support.ts'

async function play(seed: number, faults: boolean): Promise<void> {
  const history = new ProducerHistory(seed)
  try {
    const runs = 1 + history.random.below(4)
    for (let run = 0; run < runs; run++) {
      if (faults) injectFaults(history)
      await history.run()
      history.files.fault = () => undefined
      await history.check()
    }
  } catch (error) {
    throw new Error(`producer history ${seed} breaks a promise`, { cause: error })
  }
}

function injectFaults(history: ProducerHistory): void {
  const { files, random } = history
  history.isFaulty = true
  const probability = random.pick([0, 0.01, 0.05])
  files.fault = (operation) => {
    if (!random.chance(probability)) return undefined
    if (operation === 'append' || operation === 'create') return random.pick(['ENOSPC', 'EIO'])
    return operation === 'sync' || operation === 'syncFolder' ? 'EIO' : undefined
  }
}

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
