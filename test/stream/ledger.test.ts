import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { realFiles } from '../../src/core/files.ts'
import type { PartitionWatermark } from '../../src/log/record.ts'
import { loadLedgers, noCounts, saveLedgers, TopicLedger } from '../../src/stream/ledger.ts'

/** A partition of the log as it is published. */
const empty: PartitionWatermark = {
  topicId: 'topic',
  partition: 0,
  visibleOffset: 0,
  highWatermark: 0,
  syncedOffset: 0,
  segmentBaseOffset: 0,
  position: 0,
  startOffset: 0,
  missingOffsets: 0,
  excludedOffsets: 0,
  removedRecords: 0,
  removedExcluded: 0,
  offline: false,
}

/** Counts a range the way a micro-batch does. */
function count(ledger: TopicLedger, from: number, to: number, counted: number[]): void {
  for (const part of ledger.uncounted(0, { from, to }))
    for (let offset = part.from; offset < part.to; offset++) counted.push(offset)
  ledger.add(new Map([[0, { from, to }]]), noCounts)
}

test('whichever pass reads an offset, and however often, it is counted once', () => {
  fc.assert(
    fc.property(
      fc.nat(50),
      fc.nat(100),
      fc.array(
        fc.record({
          past: fc.boolean(),
          length: fc.integer({ min: 1, max: 20 }),
          again: fc.nat(10),
        }),
        { maxLength: 60 },
      ),
      (start, past, steps) => {
        const ledger = new TopicLedger('key')
        const resumed = start + past
        ledger.begin(0, resumed, { ...empty, startOffset: start })
        const counted: number[] = []
        let head = resumed
        for (const step of steps) {
          if (step.past) {
            const from = Math.max(start, ledger.nextOffset(0) - step.again)
            count(ledger, from, Math.min(from + step.length + step.again, head), counted)
          } else {
            count(ledger, Math.max(resumed, head - step.again), head + step.length, counted)
            head += step.length
          }
        }
        while (ledger.nextOffset(0) < head)
          count(ledger, ledger.nextOffset(0), Math.min(ledger.nextOffset(0) + 7, head), counted)
        expect(counted.toSorted((a, b) => a - b)).toEqual(
          Array.from({ length: head - start }, (_, index) => start + index),
        )
      },
    ),
  )
})

test('a saved ledger reads back; a damaged one is counted again; a newer one is refused', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'questlog-ledger-'))
  const path = join(folder, 'ledger')
  try {
    expect(await loadLedgers(realFiles, path)).toEqual(new Map())
    const ledger = new TopicLedger('key', { inTables: 5, filtered: 1, deadLetters: 2, unrouted: 3 })
    ledger.begin(0, 11, empty)
    await saveLedgers(realFiles, path, new Map([['topic', ledger]]))
    const loaded = (await loadLedgers(realFiles, path)).get('topic')
    expect(loaded?.counts).toEqual(ledger.counts)
    expect(loaded?.partitions).toEqual(ledger.partitions)
    const bytes = await readFile(path, 'utf8')
    await writeFile(path, bytes.replace('"inTables":5', '"inTables":6'))
    expect(await loadLedgers(realFiles, path)).toEqual(new Map())
    await writeFile(path, bytes.replace('questlog-ledger 2', 'questlog-ledger 9'))
    await expect(loadLedgers(realFiles, path)).rejects.toMatchObject({ code: 'FORMAT_UNKNOWN' })
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
})

test('a ledger that has counted what the log has lost since is ahead of it, also when the log has grown beyond; retention is no loss', () => {
  const ledger = new TopicLedger('key')
  ledger.begin(0, 0, empty)
  ledger.add(new Map([[0, { from: 0, to: 40 }]]), { ...noCounts, inTables: 40 })
  const grown = { ...empty, visibleOffset: 100 }
  expect(ledger.isAhead([grown])).toBe(false)
  expect(ledger.isAhead([{ ...grown, missingOffsets: 10 }])).toBe(true)
  expect(ledger.isAhead([{ ...grown, startOffset: 20, removedRecords: 20 }])).toBe(false)
  expect(ledger.isAhead([{ ...grown, startOffset: 20, removedRecords: 15 }])).toBe(true)
})
