import { describe, expect, test } from 'vitest'
import type { EventLog } from '../../src/log/event-log.ts'
import { writeInt64 } from '../../src/log/int64.ts'
import { LogReader } from '../../src/log/reader.ts'
import { countDue } from '../../src/log/retention.ts'
import { SegmentIndex } from '../../src/log/segment-index.ts'
import { crc32c } from '@node-rs/crc32'
import { SimulatedClock } from '../support/simulated-clock.ts'
import { SimulatedFiles } from '../support/simulated-files.ts'
import {
  codeOf,
  createEvents,
  firstSegment,
  logFolder,
  openLog,
  readAll,
  record,
  values,
  watermarkOf,
} from './support.ts'

/** Four batches of 75 bytes fill a segment. */
const settings = { segmentBytesMax: 350 }
const all = Array.from({ length: 18 }, (_, n) => `value-${String(n).slice(-1)}`)

interface Life {
  readonly files: SimulatedFiles
  readonly clock: SimulatedClock
  readonly log: EventLog
}

/** Eighteen batches, one a minute: four sealed segments and one with two batches. */
async function filled(configs: Record<string, string>): Promise<Life> {
  const files = new SimulatedFiles({ seed: 1 })
  const clock = new SimulatedClock()
  const log = await openLog(files, { settings, clock })
  await log.createTopic({ name: 'events', partitions: 1, configs })
  for (const value of all) {
    await log.append('events', null, [record(value)])
    clock.advance(60_000)
  }
  return { files, clock, log }
}

/** What the app does, without tables: removes what is due, up to an offset. */
async function retain(log: EventLog, gate = Infinity): Promise<number> {
  let removed = 0
  for (const { topicId, partition, startOffset } of log.retentionDue())
    removed += await log.removeSegments(topicId, partition, Math.min(startOffset, gate))
  return removed
}

const segments = (files: SimulatedFiles) =>
  files.paths().filter((path) => path.endsWith('.log')).length

describe('what is due', () => {
  const segment = (bytes: number, writtenAtMs: number) => ({
    baseOffset: 0,
    endOffset: 1,
    endPosition: bytes,
    lastTimestampMs: 0,
    maxTimestampMs: 0,
    hasProducers: false,
    writtenAtMs,
  })
  const sealed = [segment(100, 1_000), segment(100, 2_000), segment(100, 3_000)]

  test('by size: the oldest segments, as long as the limit is still kept', () => {
    const due = (bytes: number) => countDue(sealed, 350, { ageMs: null, bytes }, 0)
    expect([0, 49, 50, 51, 150, 151, 250, 251, 350].map(due)).toEqual([3, 3, 3, 2, 2, 1, 1, 0, 0])
  })

  test('by time: the segments whose last batch was written longer ago', () => {
    const due = (nowMs: number) => countDue(sealed, 350, { ageMs: 500, bytes: null }, nowMs)
    expect([0, 1_500, 1_501, 2_501, 9_999].map(due)).toEqual([0, 0, 1, 2, 3])
  })

  test('nothing without limits; both limits take what either takes', () => {
    expect(countDue(sealed, 350, { ageMs: null, bytes: null }, 1e12)).toBe(0)
    expect(countDue(sealed, 350, { ageMs: 500, bytes: 150 }, 1_501)).toBe(2)
  })
})

describe('removing', () => {
  test('is off without configs', async () => {
    const { log } = await filled({})
    expect(log.retentionDue()).toEqual([])
    await log.close()
  })

  test('takes whole segments from the front, by size, and the rest reads as before, also after a restart', async () => {
    const { files, clock, log } = await filled({ 'retention.bytes': '700' })
    const topic = await createEvents(log)
    expect(log.retentionDue()).toMatchObject([{ topic: 'events', partition: 0, startOffset: 8 }])
    expect(await retain(log)).toBe(2)
    expect(await retain(log)).toBe(0)
    const state = { startOffset: 8, endOffset: 18, removedRecords: 8, missingOffsets: 0 }
    expect(log.states()[0]).toMatchObject({ ...state, bytes: 10 * 75 })
    expect(segments(files)).toBe(3)
    expect(values(await readAll(files, topic))).toEqual(all.slice(8))
    await log.close()
    const again = await openLog(files, { settings, clock })
    expect(again.states()[0]).toMatchObject(state)
    expect(values(await readAll(files, topic))).toEqual(all.slice(8))
    await again.close()
  })

  test('goes by the time of writing, which a restart keeps', async () => {
    const { files, clock, log } = await filled({ 'retention.ms': String(3 * 3_600_000) })
    await log.close()
    const again = await openLog(files, { settings, clock })
    clock.advance(3 * 3_600_000 - 18 * 60_000)
    expect(again.retentionDue()).toEqual([])
    clock.advance(3 * 60_000)
    expect(again.retentionDue()).toEqual([]) // the fourth was written exactly that long ago
    clock.advance(1)
    expect(again.retentionDue()).toMatchObject([{ startOffset: 4 }])
    await again.close()
  })

  test('stops at the offset that tables have committed', async () => {
    const { log } = await filled({ 'retention.bytes': '0' })
    expect(await retain(log, 0)).toBe(0)
    expect(await retain(log, 11)).toBe(2)
    expect(await retain(log, 12)).toBe(1)
    expect(log.states()[0]?.startOffset).toBe(12)
    expect(await retain(log)).toBe(1)
    expect(log.states()[0]).toMatchObject({ startOffset: 16, removedRecords: 16 })
    await log.close()
  })

  test('works on a full disk, which takes events again afterwards', async () => {
    const { files, log } = await filled({ 'retention.bytes': '300' })
    files.capacityBytes = 0
    expect(await codeOf(log.append('events', null, [record('no room')]))).toBe('OVERLOADED')
    files.capacityBytes = files.paths().length === 0 ? 0 : await usedBytes(files)
    expect(await retain(log)).toBe(3)
    await log.append('events', null, [record('room')])
    expect(log.states()[0]).toMatchObject({ startOffset: 12, endOffset: 19 })
    await log.close()
  })

  test('can be interrupted anywhere: a start that was moved stays, and nothing beyond it is gone', async () => {
    for (let steps = 1; ; steps++) {
      const { files, clock, log } = await filled({ 'retention.bytes': '700' })
      const topic = await createEvents(log)
      files.stopAt = files.operations + steps
      await retain(log).catch(() => {})
      const done = !files.stopped
      if (steps % 2 === 0) files.kill()
      else files.crash()
      const again = await openLog(files, { settings, clock })
      const state = again.states()[0]
      expect([0, 8]).toContain(state?.startOffset)
      expect(state).toMatchObject({ removedRecords: state?.startOffset, endOffset: 18 })
      expect(values(await readAll(files, topic))).toEqual(all.slice(state?.startOffset))
      await retain(again)
      expect(again.states()[0]).toMatchObject({ startOffset: 8, removedRecords: 8 })
      expect(files.paths().filter((path) => path.includes('/events-0/'))).toHaveLength(3 + 2 + 1)
      await again.close()
      if (done) break
    }
  })

  test('accounts for a gap that lay among what was removed', async () => {
    const { files, clock, log } = await filled({ 'retention.bytes': '0' })
    const topic = await createEvents(log)
    await log.close()
    const floors = new Map([[topic.id, new Map([[0, 30]])]])
    const next = await openLog(files, { settings, clock, floors })
    for (const value of all) await next.append('events', null, [record(value)])
    expect(next.states()[0]).toMatchObject({ endOffset: 48, missingOffsets: 12 })
    await retain(next, 34)
    expect(next.states()[0]).toMatchObject({
      startOffset: 34,
      missingOffsets: 0,
      removedRecords: 22,
    })
    await next.close()
  })

  test('of everything leaves no offset to be given again, even when the segments are lost', async () => {
    const { files, clock, log } = await filled({ 'retention.bytes': '0' })
    await retain(log)
    await log.close()
    for (const path of files.paths())
      if (path.endsWith('.log') || path.endsWith('watermark')) await files.unlink(path)
    const again = await openLog(files, { settings, clock })
    expect(await again.append('events', null, [record('new')])).toMatchObject({ baseOffset: 16 })
    await again.close()
  })

  test('a bad start file refuses to open; --repair goes on with what is there', async () => {
    const { files, clock, log } = await filled({ 'retention.bytes': '700' })
    await retain(log)
    await log.close()
    files.flip(`${logFolder}/events-0/start`, 10)
    expect(await codeOf(openLog(files, { settings, clock }))).toBe('LOG_DAMAGED')
    const again = await openLog(files, { settings, clock, repair: true })
    expect(again.states()[0]).toMatchObject({ startOffset: 8, removedRecords: 0 })
    await again.close()
  })
})

describe('segments', () => {
  test('are also sealed after the time that they are kept, so that a slow topic loses what is old', async () => {
    const files = new SimulatedFiles({ seed: 1 })
    const clock = new SimulatedClock()
    const log = await openLog(files, { clock })
    const configs = { 'retention.ms': '1000' }
    await log.createTopic({ name: 'events', partitions: 1, configs })
    for (let n = 0; n < 4; n++) {
      await log.append('events', null, [record('slow')])
      clock.advance(900)
    }
    expect(segments(files)).toBe(2)
    expect(log.retentionDue()).toMatchObject([{ startOffset: 2 }])
    await log.close()
  })

  test('of version 2 of the index keep their time of writing', () => {
    const index = new SegmentIndex(7)
    const bytes = Buffer.alloc(52 + 8 + 4)
    bytes.write('QLIX', 'latin1')
    bytes.writeUInt32BE(2, 4)
    for (const [at, value] of [7, 9, 150, 1_234, 1_300].entries())
      writeInt64(bytes, 8 + at * 8, value)
    bytes.writeUInt32BE(1, 48)
    bytes.writeUInt32BE(crc32c(bytes.subarray(0, 60)), 60)
    expect(SegmentIndex.decode(bytes, 7)).toMatchObject({
      endOffset: 9,
      endPosition: 150,
      lastTimestampMs: 1_234,
      maxTimestampMs: Infinity,
      writtenAtMs: 1_300,
    })
    index.written(5)
    expect(SegmentIndex.decode(index.encode(), 7)).toMatchObject({ writtenAtMs: 5, endOffset: 7 })
  })

  test('whose index is lost count as written at the next start, not when a client says', async () => {
    const { files, clock, log } = await filled({ 'retention.ms': '60000' })
    await log.close()
    await files.unlink(firstSegment.replace('.log', '.index'))
    const again = await openLog(files, { settings, clock })
    expect(again.retentionDue()).toEqual([])
    clock.advance(60_001)
    expect(again.retentionDue()).toHaveLength(1)
    await again.close()
  })
})

describe('a reader', () => {
  test('with an old watermark is told that the offset is out of range, and reads on from the start', async () => {
    const { files, log } = await filled({ 'retention.bytes': '700' })
    const topic = await createEvents(log)
    const fresh = new LogReader(files, logFolder)
    const old = new LogReader(files, logFolder)
    const upTo = watermarkOf(old, topic)
    await old.read(topic, 0, 0, upTo, 100)
    await retain(log)
    expect(await codeOf(fresh.read(topic, 0, 0, upTo, 100))).toBe('OFFSET_OUT_OF_RANGE')
    expect(await codeOf(fresh.read(topic, 0, 5, upTo, 100))).toBe('OFFSET_OUT_OF_RANGE')
    expect(await fresh.locate(topic, 0, 5, upTo)).toBeUndefined()
    expect(await codeOf(old.read(topic, 0, 5, upTo, 100))).toBe('OFFSET_OUT_OF_RANGE')
    const now = watermarkOf(old, topic)
    expect(now.startOffset).toBe(8)
    expect((await old.read(topic, 0, 8, now, 100)).batches[0]?.baseOffset).toBe(8)
    await log.close()
  })

  test('closes what is removed when it is told, so that the disk gets its room back', async () => {
    const { files, log } = await filled({ 'retention.bytes': '0' })
    const topic = await createEvents(log)
    const open = new Set<string>()
    const reader = new LogReader(watchingOpen(files, open), logFolder)
    const upTo = watermarkOf(reader, topic)
    for (let offset = 0; offset < 18;)
      offset = (await reader.read(topic, 0, offset, upTo, 1)).nextOffset
    expect(open.size).toBe(5)
    await retain(log, 8)
    await reader.releaseRemoved(topic, 0, watermarkOf(reader, topic).startOffset)
    expect(open.size).toBe(3)
    await reader.close()
    expect(open.size).toBe(0)
    await log.close()
  })
})

describe('configs that the definition declares', () => {
  test('change a topic at once and for good; what is no longer declared is gone, what was set otherwise stays', async () => {
    const { files, clock, log } = await filled({ 'max.message.bytes': '2000' })
    await log.declareConfigs('events', { 'retention.bytes': '700' })
    const configs = { 'max.message.bytes': '2000', 'retention.bytes': '700' }
    expect(log.topic('events')?.configs).toEqual(configs)
    expect(log.retentionDue()).toHaveLength(1)
    const reader = new LogReader(files, logFolder)
    expect((await reader.topics())[0]?.configs).toEqual(configs)
    await log.close()
    const again = await openLog(files, { settings, clock })
    expect(again.retentionDue()).toHaveLength(1)
    const operations = files.operations
    await again.declareConfigs('events', { 'retention.bytes': '700' })
    expect(files.operations).toBe(operations)
    await again.declareConfigs('events', {})
    expect(again.topic('events')?.configs).toEqual({ 'max.message.bytes': '2000' })
    expect(again.retentionDue()).toEqual([])
    await again.close()
  })

  test('are checked like those of a new topic', async () => {
    const { log } = await filled({})
    const declare = (topic: string, configs: Record<string, string>) =>
      codeOf(log.declareConfigs(topic, configs))
    expect(await declare('events', { 'retention.ms': 'a week' })).toBe('TOPIC_CONFIG_INVALID')
    expect(await declare('other', {})).toBe('TOPIC_UNKNOWN')
    await log.close()
  })
})

async function usedBytes(files: SimulatedFiles): Promise<number> {
  const sizes = await Promise.all(files.paths().map((path) => files.sizeOf(path)))
  return sizes.reduce<number>((sum, size) => sum + (size ?? 0), 0)
}

/** The same files; `open` holds the paths that are open for reading. */
function watchingOpen(files: SimulatedFiles, open: Set<string>): SimulatedFiles {
  return new Proxy(files, {
    get(target, name) {
      if (name !== 'openRead') {
        const value: unknown = Reflect.get(target, name, target)
        return typeof value === 'function' ? (value.bind(target) as unknown) : value
      }
      return async (path: string) => {
        const file = await target.openRead(path)
        open.add(path)
        return { ...file, close: async () => void open.delete(path) }
      }
    },
  })
}
