import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { realFiles, type Files } from '../../src/core/files.ts'
import type { EventLog } from '../../src/log/event-log.ts'
import { LogCopy, writeCopiedEnds } from '../../src/log/log-copy.ts'
import { LogReader } from '../../src/log/reader.ts'
import { decodeRecords } from '../../src/log/record-batch.ts'
import { keptRecords, type Topic } from '../../src/log/record.ts'
import { readStoppedEnds } from '../../src/log/stopped-ends.ts'
import { verifyPartition } from '../../src/log/verify.ts'
import { SimulatedClock } from '../support/simulated-clock.ts'
import { SimulatedFiles } from '../support/simulated-files.ts'
import { clientBatch } from './client-batch.ts'
import {
  createEvents,
  logFolder,
  openLog,
  readAll,
  record,
  values,
  watermarkOf,
} from './support.ts'

const abortedFile = `${logFolder}/events-0/aborted`

async function write(log: EventLog, producerId: number, sequence: number, value: string) {
  const batch = clientBatch({ values: [value], producerId, sequence, isTransactional: true })
  await log.appendBatches('events', 0, batch, 'acknowledged')
}

async function end(log: EventLog, producerId: number, outcome: 'commit' | 'abort'): Promise<void> {
  const marker = { producerId, producerEpoch: 0, coordinatorEpoch: 0, outcome }
  await log.appendMarker('events', 0, marker)
}

/** Two transactions that overlap, the second one open: 0 a1, 1 b1, 2 own, 3 a2, 4 marker of a. */
async function overlapping(log: EventLog, outcome: 'commit' | 'abort'): Promise<void> {
  await write(log, 1, 0, 'a1')
  await write(log, 2, 0, 'b1')
  await log.append('events', null, [record('own')])
  await write(log, 1, 1, 'a2')
  await end(log, 1, outcome)
}

describe('what transactions leave', () => {
  test('is visible up to the first that is open, and aborted records never are', async () => {
    const files = new SimulatedFiles({ seed: 1 })
    const log = await openLog(files)
    const topic = await createEvents(log)
    await overlapping(log, 'abort')
    expect(log.states()[0]).toMatchObject({
      visibleOffset: 1,
      highWatermark: 5,
      syncedOffset: 5,
      excludedOffsets: 1,
    })
    expect(await readAll(files, topic)).toEqual([])
    await end(log, 2, 'commit')
    expect(log.states()[0]).toMatchObject({ visibleOffset: 6, excludedOffsets: 4 })
    expect(values(await readAll(files, topic))).toEqual(['b1', 'own'])
    await log.close()
  })

  test('is told to readers with the offsets that are left out, in one range each', async () => {
    const files = new SimulatedFiles({ seed: 1 })
    const log = await openLog(files)
    const topic = await createEvents(log)
    await overlapping(log, 'abort')
    await end(log, 2, 'commit')
    const reader = new LogReader(files, logFolder)
    const upTo = watermarkOf(reader, topic)
    const slice = await reader.read(topic, 0, 0, upTo, 1_000_000)
    expect(slice.excludedRanges).toEqual([
      { from: 0, to: 1 },
      { from: 3, to: 6 },
    ])
    expect(slice).toMatchObject({ excluded: 4, nextOffset: 6 })
    expect(await reader.locate(topic, 0, 3, upTo)).toMatchObject({ isExcluded: true })
    expect(await reader.locate(topic, 0, 1, upTo)).toMatchObject({ isExcluded: false })
    await reader.close()
    await log.close()
  })

  test('stays invisible while the disk is too full to say what was aborted', async () => {
    const files = new SimulatedFiles({ seed: 1 })
    const clock = new SimulatedClock()
    const log = await openLog(files, { clock })
    const topic = await createEvents(log)
    await write(log, 1, 0, 'a1')
    const isFull = (operation: string, path: string) =>
      path === abortedFile && (operation === 'append' || operation === 'create')
    files.fault = (operation, path) => (isFull(operation, path) ? 'ENOSPC' : undefined)
    await end(log, 1, 'abort')
    expect(log.states()[0]).toMatchObject({ visibleOffset: 0, highWatermark: 2, diskFull: true })
    files.fault = () => undefined
    clock.advance(1_000)
    await expect.poll(() => log.states()[0]?.visibleOffset).toBe(2)
    expect(log.states()[0]).toMatchObject({ excludedOffsets: 2, diskFull: false })
    expect(await readAll(files, topic)).toEqual([])
    await log.close()
  })

  test('is not removed by retention while a transaction is open that began before', async () => {
    const files = new SimulatedFiles({ seed: 1 })
    const log = await openLog(files, { settings: { segmentBytesMax: 300 } })
    const topic = await createEvents(log)
    await write(log, 1, 0, 'first')
    for (let n = 1; n < 30; n++) await write(log, 2, n - 1, `value-${n}`)
    await end(log, 2, 'commit')
    expect(await log.removeSegments(topic.id, 0, 25)).toBe(0)
    await end(log, 1, 'abort')
    expect(await log.removeSegments(topic.id, 0, 25)).toBeGreaterThan(0)
    const [state] = log.states()
    expect(state?.removedExcluded).toBe(1)
    expect(state?.removedRecords).toBe((state?.startOffset ?? 0) - 1)
    expect(state === undefined ? 0 : keptRecords(state)).toBe((await readAll(files, topic)).length)
    await log.close()
  })
})

describe('verify', () => {
  async function verified(files: Files, topic: Topic, running: boolean) {
    const reader = new LogReader(files, logFolder)
    const options = { files, reader, folder: logFolder, topic, partition: 0, running }
    const { damages, remarks } = await verifyPartition(options)
    await reader.close()
    return { damages: damages.map(({ file }) => file), remarks: remarks.length }
  }

  test.each([true, false])(
    'compares the index with what the batches say (running: %s)',
    async (running) => {
      const files = new SimulatedFiles({ seed: 1 })
      const log = await openLog(files)
      const topic = await createEvents(log)
      await overlapping(log, 'abort')
      await end(log, 2, 'abort')
      if (!running) await log.close()
      expect(await verified(files, topic, running)).toEqual({ damages: [], remarks: 0 })
      const good = await files.readAll(abortedFile)
      files.overwrite(abortedFile, good.subarray(0, good.length - 36))
      const isNoted = running ? { damages: [abortedFile], remarks: 0 } : { damages: [], remarks: 1 }
      expect(await verified(files, topic, running)).toEqual(isNoted)
      await log.close()
      const again = await openLog(files)
      expect(await files.readAll(abortedFile)).toEqual(good)
      expect(await verified(files, topic, true)).toEqual({ damages: [], remarks: 0 })
      await again.close()
    },
  )

  test('has a word for a snapshot that is torn', async () => {
    const files = new SimulatedFiles({ seed: 1 })
    const log = await openLog(files)
    const topic = await createEvents(log)
    await overlapping(log, 'commit')
    await log.close()
    const path = files.paths().find((each) => each.endsWith('.snapshot')) ?? ''
    files.overwrite(path, (await files.readAll(path)).subarray(0, 40))
    expect(await verified(files, topic, false)).toEqual({ damages: [], remarks: 1 })
  })
})

describe('a copy', () => {
  test.each([
    ['commit', true],
    ['commit', false],
    ['abort', true],
    ['abort', false],
  ] as const)(
    'that ends where a transaction is open has the %s of one that was decided later (running: %s)',
    async (outcome, running) => {
      const root = await mkdtemp(join(tmpdir(), 'questlog-aborted-'))
      const [folder, target] = [join(root, 'log'), join(root, 'copy')]
      await realFiles.makeFolder(folder)
      const log = await openLog(realFiles, { folder })
      await createEvents(log)
      await overlapping(log, outcome)
      if (!running) await log.close()
      const reader = new LogReader(realFiles, folder)
      const copy = new LogCopy(realFiles, folder, target)
      const ends = running
        ? reader.watermark()?.partitions
        : await readStoppedEnds(realFiles, folder)
      expect(await copy.advance(ends ?? [])).toBe(true)
      const { partitions } = await copy.finish()
      await writeCopiedEnds(realFiles, target, partitions)
      await reader.close()
      await log.close()
      const wanted = outcome === 'commit' ? ['a1'] : []
      expect(await readCopy(target)).toEqual(wanted)
      const restored = await openLog(realFiles, { folder: target })
      expect(restored.states()[0]).toMatchObject({ visibleOffset: 2, highWatermark: 2 })
      expect(await readCopy(target)).toEqual(wanted)
      await restored.close()
      await rm(root, { recursive: true })
    },
  )

  async function readCopy(folder: string): Promise<string[]> {
    const reader = new LogReader(realFiles, folder)
    const [topic] = await reader.topics()
    const upTo = reader.watermark()?.partitions[0]
    if (topic === undefined || upTo === undefined) throw new Error('the copy has no topic')
    const { batches } = await reader.read(topic, 0, upTo.startOffset, upTo, 1_000_000)
    await reader.close()
    const found = values(batches.flatMap(decodeRecords))
    expect(keptRecords(upTo)).toBe(found.length)
    return found
  }
})
