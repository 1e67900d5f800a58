import { expect, test } from 'vitest'
import { silentLogger } from '../../src/core/logger.ts'
import { loadLedgers, noCounts, TopicLedger } from '../../src/stream/ledger.ts'
import { LedgerStore } from '../../src/stream/ledger-store.ts'
import { SimulatedClock } from '../support/simulated-clock.ts'
import { SimulatedFiles } from '../support/simulated-files.ts'

const path = '/lake/ledger'
const topic = { id: 'topic', name: 'events', partitions: 1, configs: {} }

test('a ledger that a full disk did not take is stored when there is room, although nothing more comes: retention waits for it', async () => {
  const clock = new SimulatedClock()
  const files = new SimulatedFiles({ seed: 1 })
  await files.makeFolder('/lake')
  const { store } = await LedgerStore.open({ files, clock, logger: silentLogger, path })
  const ledger = new TopicLedger('')
  ledger.begin(0, 0, undefined)
  const topics = [{ topic, tables: [], ledger }]
  await store.save(topics, 0)
  ledger.add(new Map([[0, { from: 0, to: 7 }]]), noCounts)
  clock.advance(10_000)
  expect(store.isDue(topics, 0)).toBe(true)
  files.capacityBytes = 0
  await store.save(topics, 0)
  files.capacityBytes = Infinity
  expect(store.isDue(topics, 0)).toBe(false)
  clock.advance(10_000)
  expect(store.isDue(topics, 0)).toBe(true)
  await store.save(topics, 0)
  expect((await loadLedgers(files, path)).get('topic')?.nextOffset(0)).toBe(7)
  clock.advance(10_000)
  expect(store.isDue(topics, 0)).toBe(false)
})

test('a ledger of another definition is stored although it has counted no further: it would be counted again at each start', async () => {
  const clock = new SimulatedClock()
  const files = new SimulatedFiles({ seed: 1 })
  await files.makeFolder('/lake')
  const { store } = await LedgerStore.open({ files, clock, logger: silentLogger, path })
  for (const key of ['with a table', 'without']) {
    const ledger = new TopicLedger(key)
    ledger.begin(0, 0, undefined)
    ledger.add(new Map([[0, { from: 0, to: 7 }]]), noCounts)
    const topics = [{ topic, tables: [], ledger }]
    clock.advance(10_000)
    expect(store.isDue(topics, 0)).toBe(true)
    await store.save(topics, 0)
    clock.advance(10_000)
    expect(store.isDue(topics, 0)).toBe(false)
    expect((await loadLedgers(files, path)).get('topic')?.key).toBe(key)
  }
})
