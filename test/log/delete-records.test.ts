import { describe, expect, test } from 'vitest'
import type { EventLog } from '../../src/log/event-log.ts'
import { LogCopy, writeCopiedEnds } from '../../src/log/log-copy.ts'
import { LogReader } from '../../src/log/reader.ts'
import { keptRecords, type PartitionWatermark, type Topic } from '../../src/log/record.ts'
import { decodeRecords } from '../../src/log/record-batch.ts'
import { readStoppedEnds } from '../../src/log/stopped-ends.ts'
import { verifyPartition } from '../../src/log/verify.ts'
import { seededRandom, type Random } from '../support/random.ts'
import { SimulatedFiles } from '../support/simulated-files.ts'
import { clientBatch } from './client-batch.ts'
import { codeOf, createEvents, logFolder, openLog, readAll, record, values } from './support.ts'

const settings = { segmentBytesMax: 400 }
const options = { maxBytes: 1_000, atLeastOne: true, isolation: 'uncommitted' } as const

async function filled(count: number) {
  const files = new SimulatedFiles({ seed: 1 })
  const log = await openLog(files, { settings })
  const topic = await createEvents(log)
  for (let n = 0; n < count; n++) await log.append('events', null, [record(`value-${n}`)])
  return { files, log, topic }
}

const segments = (files: SimulatedFiles) =>
  files.paths().filter((path) => path.endsWith('.log')).length

function limitOf(log: EventLog): ReturnType<EventLog['states']>[number] {
  const [state] = log.states()
  if (state === undefined) throw new Error('there is no partition')
  return state
}

describe('records that are deleted', () => {
  test('can not be read any more, at once and after a start; those above can, at their offsets', async () => {
    const { files, log, topic } = await filled(20)
    const before = segments(files)
    expect(await log.deleteRecords('events', 0, 7)).toBe(7)
    expect(segments(files)).toBeLessThan(before)
    const check = async (opened: EventLog) => {
      const view = opened.partition('events', 0)
      expect(view?.startOffset).toBe(7)
      expect(await codeOf(view?.read(6, options) ?? Promise.resolve())).toBe('OFFSET_OUT_OF_RANGE')
      expect((await view?.read(7, options))?.bytes.toString('latin1')).toContain('value-7')
      const records = await readAll(files, topic)
      expect(records.map(({ offset }) => offset)).toEqual(
        Array.from({ length: 13 }, (_, n) => n + 7),
      )
      expect(limitOf(opened)).toMatchObject({
        startOffset: 7,
        removedRecords: 7,
        missingOffsets: 0,
      })
    }
    await check(log)
    await log.close()
    const again = await openLog(files, { settings })
    await check(again)
    await again.close()
  })

  test('all of them: nothing is left but the next offset', async () => {
    const { files, log, topic } = await filled(10)
    expect(await log.deleteRecords('events', 0, 10)).toBe(10)
    expect(await readAll(files, topic)).toEqual([])
    expect(keptRecords(limitOf(log))).toBe(0)
    const { baseOffset } = await log.append('events', null, [record('next')])
    expect(baseOffset).toBe(10)
    expect(values(await readAll(files, topic))).toEqual(['next'])
    await log.close()
    const again = await openLog(files, { settings })
    expect(values(await readAll(files, topic))).toEqual(['next'])
    expect(limitOf(again)).toMatchObject({ startOffset: 10, removedRecords: 10 })
    await again.close()
  })

  test('of a segment that is sealed later are removed by retention, although no limit is set', async () => {
    const { files, log, topic } = await filled(5)
    await log.deleteRecords('events', 0, 5)
    expect(log.retentionDue()).toEqual([])
    await log.append('events', null, [record('x'.repeat(300))])
    expect(segments(files)).toBe(2)
    const [due] = log.retentionDue()
    expect(due).toMatchObject({ topicId: topic.id, startOffset: 5 })
    expect(await log.removeSegments(topic.id, 0, due?.startOffset ?? 0)).toBe(1)
    expect(segments(files)).toBe(1)
    expect(log.retentionDue()).toEqual([])
    expect(limitOf(log)).toMatchObject({ startOffset: 5, removedRecords: 5 })
    await log.close()
  })

  test('at a lower offset than before are deleted already; beyond the end is refused', async () => {
    const { log } = await filled(5)
    expect(await log.deleteRecords('events', 0, 3)).toBe(3)
    expect(await log.deleteRecords('events', 0, 2)).toBe(3)
    expect(await codeOf(log.deleteRecords('events', 0, 6))).toBe('OFFSET_OUT_OF_RANGE')
    expect(await codeOf(log.deleteRecords('events', 0, -1))).toBe('OFFSET_OUT_OF_RANGE')
    expect(await codeOf(log.deleteRecords('events', 1, 0))).toBe('TOPIC_UNKNOWN')
    await log.close()
  })

  test('are not those of an open transaction', async () => {
    const { log } = await filled(2)
    const open = { values: ['a', 'b'], producerId: 7, sequence: 0, isTransactional: true }
    await log.appendBatches('events', 0, clientBatch(open), 'acknowledged')
    expect(await log.deleteRecords('events', 0, 4)).toBe(2)
    const marker = { producerId: 7, producerEpoch: 0, coordinatorEpoch: 0 }
    await log.appendMarker('events', 0, { ...marker, outcome: 'commit' })
    expect(await log.deleteRecords('events', 0, 4)).toBe(4)
    await log.close()
  })

  test('on a full disk make their own room where a segment goes, and say so where none does', async () => {
    const { files, log } = await filled(20)
    files.capacityBytes = 1e9
    files.capacityBytes -= await files.freeBytes()
    expect(await codeOf(log.deleteRecords('events', 0, 1))).toBe('OVERLOADED')
    expect(limitOf(log).startOffset).toBe(0)
    expect(await log.deleteRecords('events', 0, 15)).toBe(15)
    files.capacityBytes = Infinity
    await log.close()
  })
})

test('whatever is deleted, removed, aborted and restarted: what can be read and what is counted add up, also in a copy', async () => {
  for (let seed = 1; seed <= 12; seed++) {
    const history = new History(seed)
    try {
      await history.run()
    } catch (error) {
      throw new Error(`seed ${seed}`, { cause: error })
    }
  }
})

/** One seeded life of a partition. */
class History {
  readonly #random: Random
  readonly #files: SimulatedFiles
  /** Offset → value; null = it holds no event. */
  readonly #held = new Map<number, string | null>()
  /** Producer id → offsets of its open transaction, and its next sequence number. */
  readonly #open = new Map<number, { offsets: number[]; sequence: number }>()
  readonly #sequences = new Map<number, number>()
  #start = 0
  #next = 0

  constructor(seed: number) {
    this.#random = seededRandom(seed)
    this.#files = new SimulatedFiles({ seed })
  }

  async run(): Promise<void> {
    for (let life = 0; life < 4; life++) {
      const log = await openLog(this.#files, { settings })
      const topic = await createEvents(log)
      await this.#check(log, topic)
      for (let step = 0; step < 12; step++) await this.#step(log, topic)
      await this.#check(log, topic)
      await log.close()
      if (this.#random.chance(0.5)) this.#files.crash()
      else this.#files.kill()
      await this.#checkStopped(topic)
    }
  }

  async #step(log: EventLog, topic: Topic): Promise<void> {
    const random = this.#random
    const kind = random.below(10)
    if (kind < 4) {
      const count = 1 + random.below(4)
      const records = Array.from({ length: count }, () => record(`value-${this.#next++}`))
      const { baseOffset } = await log.append('events', null, records)
      for (const [index, { value }] of records.entries())
        this.#held.set(baseOffset + index, String(value))
    } else if (kind < 7) await this.#produce(log)
    else if (kind < 8) await this.#endTransaction(log)
    else if (kind < 9) {
      const { highWatermark, visibleOffset } = limitOf(log)
      const offset = random.below(highWatermark + 1)
      const start = await log.deleteRecords('events', 0, offset)
      this.#start = Math.max(this.#start, Math.min(offset, visibleOffset))
      expect(start).toBe(this.#start)
    } else {
      await log.removeSegments(topic.id, 0, random.below(limitOf(log).visibleOffset + 1))
      expect(limitOf(log).startOffset).toBeGreaterThanOrEqual(this.#start)
      this.#start = limitOf(log).startOffset
    }
  }

  async #produce(log: EventLog): Promise<void> {
    const producerId = 1 + this.#random.below(3)
    const all = Array.from({ length: 1 + this.#random.below(3) }, () => `value-${this.#next++}`)
    const sequence = this.#sequences.get(producerId) ?? 0
    const spec = { values: all, producerId, sequence, isTransactional: true }
    const placed = await log.appendBatches('events', 0, clientBatch(spec), 'acknowledged')
    this.#sequences.set(producerId, sequence + all.length)
    const open = this.#open.get(producerId) ?? { offsets: [], sequence }
    for (const [index, value] of all.entries()) {
      this.#held.set(placed.baseOffset + index, value)
      open.offsets.push(placed.baseOffset + index)
    }
    this.#open.set(producerId, open)
  }

  async #endTransaction(log: EventLog): Promise<void> {
    const [producerId] = this.#open.keys()
    if (producerId === undefined) return
    const outcome = this.#random.chance(0.5) ? 'commit' : 'abort'
    const marker = { producerId, producerEpoch: 0, coordinatorEpoch: 0, outcome } as const
    await log.appendMarker('events', 0, marker)
    const { offsets = [] } = this.#open.get(producerId) ?? {}
    if (outcome === 'abort') for (const offset of offsets) this.#held.set(offset, null)
    this.#held.set(limitOf(log).highWatermark - 1, null)
    this.#open.delete(producerId)
  }

  /** Values that readers see from the start on, by offset. */
  #expected(from: number, visibleOffset: number): [number, string][] {
    return [...this.#held]
      .filter(([offset]) => offset >= from && offset < visibleOffset)
      .filter((entry): entry is [number, string] => entry[1] !== null)
      .toSorted(([left], [right]) => left - right)
  }

  async #check(log: EventLog, topic: Topic): Promise<void> {
    const limit = limitOf(log)
    expect(limit.startOffset).toBe(this.#start)
    this.#checkCounts({ ...limit, segmentBaseOffset: 0, position: 0, offline: false })
    const read = await readAll(this.#files, topic)
    const wanted = read.filter(({ offset }) => offset >= this.#start) // the first batch is whole
    expect(wanted.map(({ offset, value }) => [offset, String(value)])).toEqual(
      this.#expected(this.#start, limit.visibleOffset),
    )
  }

  #checkCounts(limit: PartitionWatermark): void {
    const { startOffset, visibleOffset } = limit
    expect(keptRecords(limit)).toBe(this.#expected(startOffset, visibleOffset).length)
    expect(limit.removedRecords).toBe(this.#expected(0, startOffset).length)
    const excluded = [...this.#held].filter(
      ([offset, value]) => value === null && offset < visibleOffset,
    )
    expect(limit.excludedOffsets + limit.removedExcluded).toBe(excluded.length)
  }

  /** What other processes make of it while nothing runs, and of a copy. */
  async #checkStopped(topic: Topic): Promise<void> {
    const files = this.#files
    const [end] = await readStoppedEnds(files, logFolder)
    expect(end?.startOffset).toBe(this.#start)
    const reader = new LogReader(files, logFolder)
    const place = { files, reader, folder: logFolder, topic, partition: 0, running: false }
    expect((await verifyPartition(place)).damages).toEqual([])
    await reader.close()
    if (end === undefined) return
    const target = `/copy-${files.operations}/log`
    const copy = new LogCopy(files, logFolder, target)
    expect(await copy.advance([end])).toBe(true)
    const { partitions } = await copy.finish()
    await writeCopiedEnds(files, target, partitions)
    await this.#checkCopy(target, topic, end.visibleOffset)
  }

  /** A copy ends at the last stable offset; markers follow there for transactions that were decided later. */
  async #checkCopy(folder: string, topic: Topic, endOffset: number): Promise<void> {
    const reader = new LogReader(this.#files, folder)
    const [limit] = reader.watermark()?.partitions ?? []
    if (limit === undefined) throw new Error('the copy has no partition')
    const markers = limit.visibleOffset - endOffset
    const excludedOffsets = limit.excludedOffsets - markers
    this.#checkCounts({ ...limit, visibleOffset: endOffset, excludedOffsets })
    const found: [number, string][] = []
    for (let offset = limit.startOffset; offset < limit.visibleOffset;) {
      const slice = await reader.read(topic, 0, offset, limit, 300)
      for (const one of slice.batches.flatMap((batch) => decodeRecords(batch)))
        if (one.offset >= offset) found.push([one.offset, String(one.value)])
      offset = slice.nextOffset
    }
    expect(found).toEqual(this.#expected(limit.startOffset, endOffset))
    await reader.close()
  }
}
