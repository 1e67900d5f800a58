import { crc32c } from '@node-rs/crc32'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { QuestlogError } from '../../src/core/errors.ts'
import type { Files } from '../../src/core/files.ts'
import { PartitionFetch } from '../../src/log/fetch.ts'
import { indexPath, segmentPath } from '../../src/log/layout.ts'
import { OpenSegments } from '../../src/log/open-segments.ts'
import { encodeBatch, type RecordBatch } from '../../src/log/record-batch.ts'
import type { AbortedTransaction } from '../../src/log/record.ts'
import { writeIndex } from '../../src/log/recovery.ts'
import { SegmentIndex } from '../../src/log/segment-index.ts'
import { SimulatedFiles } from '../support/simulated-files.ts'
import { codeOf, createEvents, logFolder, openLog, record } from './support.ts'

const folder = `${logFolder}/events-0`

/** Times of the records of one batch; they do not go back within it. */
type BatchPlan = { readonly times: readonly number[]; readonly valueBytes: number }

interface Layout {
  readonly files: SimulatedFiles
  readonly batches: readonly (RecordBatch & {
    readonly segment: number
    readonly position: number
  })[]
  readonly segments: readonly SegmentIndex[]
  readonly view: PartitionFetch
  readonly limits: { startOffset: number; highWatermark: number; visibleOffset: number }
  aborted: readonly AbortedTransaction[]
}

/** A partition of these segments, with `gap` offsets that were never given between them. */
async function layOut(
  plan: readonly (readonly BatchPlan[])[],
  options: { gap?: number; files?: (files: SimulatedFiles) => Files } = {},
): Promise<Layout> {
  const files = new SimulatedFiles({ seed: 1 })
  await files.makeFolder(folder)
  const batches: Layout['batches'][number][] = []
  const segments: SegmentIndex[] = []
  let offset = 0
  for (const [segment, parts] of plan.entries()) {
    const index = new SegmentIndex(offset)
    for (const { times, valueBytes } of parts) {
      const groups = times.map((timestampMs) => ({
        timestampMs,
        records: [record('x'.repeat(valueBytes))],
      }))
      const batch = encodeBatch(offset, groups)
      batches.push({ ...batch, segment, position: index.endPosition })
      index.note(batch, index.endPosition)
      offset = batch.nextOffset
    }
    const path = segmentPath(folder, index.baseOffset)
    const bytes = batches.filter((batch) => batch.segment === segment).map((each) => each.bytes)
    files.overwrite(path, Buffer.concat(bytes))
    if (segment < plan.length - 1) {
      await writeIndex(files, path, index)
      offset += options.gap ?? 0
    }
    segments.push(index)
  }
  const limits = { startOffset: 0, highWatermark: offset, visibleOffset: offset }
  const active = segments.at(-1) ?? new SegmentIndex(0)
  const used = options.files?.(files) ?? files
  const layout: Layout = {
    files,
    batches,
    segments,
    limits,
    aborted: [],
    view: new PartitionFetch(used, new OpenSegments(used, 3), {
      folder,
      topicName: 'events',
      partition: {
        offline: null,
        watermark: () => ({
          topicId: 'topic-id',
          partition: 0,
          ...limits,
          syncedOffset: limits.highWatermark,
          segmentBaseOffset: active.baseOffset,
          position: active.endPosition,
          missingOffsets: 0,
          excludedOffsets: 0,
          removedRecords: 0,
          removedExcluded: 0,
          offline: false,
        }),
        sealed: segments.slice(0, -1).map((each) => each.extent),
        activeIndex: active,
      },
      abortedIn: (from, to) =>
        layout.aborted.filter(({ firstOffset }) => firstOffset >= from && firstOffset < to),
    }),
  }
  return layout
}

const batchPlan: fc.Arbitrary<BatchPlan> = fc
  .tuple(
    fc.nat(1000),
    fc.array(fc.nat(100), { minLength: 1, maxLength: 5 }),
    fc.oneof({ weight: 4, arbitrary: fc.nat(50) }, { weight: 1, arbitrary: fc.nat(20_000) }),
  )
  .map(([startMs, laterMs, valueBytes]) => {
    let time = startMs
    return { times: laterMs.map((later) => (time += later)), valueBytes }
  })
const segmentPlans = fc.array(fc.array(batchPlan, { minLength: 1, maxLength: 40 }), {
  minLength: 1,
  maxLength: 5,
})

const all = { maxBytes: 1e6, atLeastOne: true, isolation: 'uncommitted' } as const

describe('a read', () => {
  test('gives the whole batches from the offset on as they lie in the segment, up to the limits', async () => {
    await fc.assert(
      fc.asyncProperty(
        segmentPlans,
        fc.nat(3),
        fc.array(fc.record({ at: fc.nat(), maxBytes: fc.nat(30_000), atLeastOne: fc.boolean() }), {
          minLength: 1,
          maxLength: 15,
        }),
        async (plan, gap, reads) => {
          const { view, batches, limits } = await layOut(plan, { gap })
          for (const { at, maxBytes, atLeastOne } of reads) {
            const offset = at % (limits.highWatermark + 1)
            const options = { maxBytes, atLeastOne, isolation: 'uncommitted' } as const
            const { bytes } = await view.read(offset, options)
            expect(bytes.equals(expected(batches, offset, options))).toBe(true)
          }
        },
      ),
      { numRuns: 60 },
    )
  })

  test('asks the disk once, unless the first batch is larger than what was asked for', async () => {
    let reads = 0
    const { view, limits } = await layOut(
      [
        Array.from({ length: 300 }, (_, n) => ({
          times: [n],
          valueBytes: n === 299 ? 50_000 : 100,
        })),
      ],
      {
        files: (files) => {
          files.fault = (operation) => {
            if (operation === 'read') reads++
            return undefined
          }
          return files
        },
      },
    )
    for (let offset = 0; offset < limits.highWatermark - 1; offset += 7) {
      reads = 0
      const { bytes } = await view.read(offset, { ...all, maxBytes: 5_000 })
      expect(bytes.length).toBeGreaterThan(0)
      expect(reads).toBe(1)
    }
    reads = 0
    expect((await view.read(299, { ...all, maxBytes: 100 })).bytes.length).toBeGreaterThan(50_000)
    expect(reads).toBe(2)
  })

  test('of what is committed ends at the last stable offset and names the aborted transactions', async () => {
    const layout = await layOut([
      Array.from({ length: 10 }, () => ({ times: [1, 2], valueBytes: 5 })),
    ])
    layout.limits.visibleOffset = 14
    layout.aborted = [4, 12, 16].map((firstOffset) => ({ producerId: 7, firstOffset }))
    const { view, batches } = layout
    const committed = await view.read(2, { ...all, isolation: 'committed' })
    expect(committed.bytes).toEqual(Buffer.concat(batches.slice(1, 7).map(({ bytes }) => bytes)))
    expect(committed.aborted.map(({ firstOffset }) => firstOffset)).toEqual([4, 12])
    const half = await view.read(2, { ...all, maxBytes: 200, isolation: 'committed' })
    expect(half.aborted.map(({ firstOffset }) => firstOffset)).toEqual([4])
    expect(await view.read(14, { ...all, isolation: 'committed' })).toMatchObject({ aborted: [] })
    const every = await view.read(2, all)
    expect(every.bytes.length).toBeGreaterThan(committed.bytes.length)
    expect(every.aborted).toEqual([])
  })

  test('outside of what the partition holds is refused; at its end it is empty', async () => {
    const { view, limits } = await layOut([[{ times: [1, 2, 3], valueBytes: 5 }]])
    limits.startOffset = 1
    expect(await codeOf(view.read(0, all))).toBe('OFFSET_OUT_OF_RANGE')
    expect(await codeOf(view.read(4, all))).toBe('OFFSET_OUT_OF_RANGE')
    expect((await view.read(3, all)).bytes.length).toBe(0)
    expect((await view.read(1, all)).bytes.length).toBeGreaterThan(0)
  })

  test('of a changed byte in a sealed segment is refused, and what lies before and after it is read', async () => {
    const parts = Array.from({ length: 5 }, (_, n) => ({ times: [n], valueBytes: 20 }))
    const { view, files, batches } = await layOut([parts, parts])
    const bad = batches[2]
    if (bad === undefined) throw new Error('there is no third batch')
    for (const place of [0, 8, 16, 20, 25, 61, 80]) {
      files.flip(segmentPath(folder, 0), bad.position + place)
      const { bytes } = await view.read(0, all)
      expect(bytes).toEqual(Buffer.concat(batches.slice(0, 2).map((batch) => batch.bytes)))
      const error = await view.read(2, all).catch((thrown: unknown) => thrown)
      if (!(error instanceof QuestlogError)) throw new Error(`byte ${place} was not noticed`)
      expect(error.code).toBe('LOG_DAMAGED')
      expect(error.facts).toMatchObject({ position: bad.position, offset: 2 })
      expect((await view.read(5, all)).bytes.length).toBeGreaterThan(0)
      files.flip(segmentPath(folder, 0), bad.position + place)
    }
    expect((await view.read(2, all)).bytes.length).toBeGreaterThan(0)
  })

  test('of a sealed segment whose index is lost finds its batches', async () => {
    const parts = Array.from({ length: 200 }, (_, n) => ({ times: [n], valueBytes: 20 }))
    const { view, files, batches } = await layOut([parts, parts])
    await files.unlink(indexPath(segmentPath(folder, 0)))
    expect((await view.read(150, { ...all, maxBytes: 0 })).bytes).toEqual(batches[150]?.bytes)
  })

  test('a segment that ends too early is damage, not an endless search', async () => {
    const { view, files, batches } = await layOut([[{ times: [1], valueBytes: 20_000 }]])
    files.overwrite(
      segmentPath(folder, 0),
      batches[0]?.bytes.subarray(0, 15_000) ?? Buffer.alloc(0),
    )
    expect(await codeOf(view.read(0, { ...all, maxBytes: 100 }))).toBe('LOG_DAMAGED')
  })
})

describe('an offset by time', () => {
  test('is that of the first record at or after it, whatever order the times have', async () => {
    await fc.assert(
      fc.asyncProperty(
        segmentPlans,
        fc.nat(3),
        fc.array(fc.nat(1500), { minLength: 1, maxLength: 8 }),
        fc.nat(),
        async (plan, gap, wanted, cut) => {
          const { view, batches, limits } = await layOut(plan, { gap })
          const records = timesOf(plan, batches)
          const end = batches[cut % batches.length]
          limits.highWatermark = end?.nextOffset ?? 0
          const visible = records.filter(({ offset }) => offset < limits.highWatermark)
          for (const timestampMs of wanted) {
            const first = visible.find((each) => each.timestampMs >= timestampMs)
            expect(placeOf(await view.offsetAtTime(timestampMs))).toEqual(first)
          }
          const latest = Math.max(...visible.map((each) => each.timestampMs))
          const expectedLatest = visible.find((each) => each.timestampMs === latest)
          expect(placeOf(await view.offsetOfMaxTimestamp())).toEqual(expectedLatest)
        },
      ),
      { numRuns: 60 },
    )
  })

  test('reads little of a segment, however large', async () => {
    let bytesRead = 0
    const parts = Array.from({ length: 3_000 }, (_, n) => ({ times: [n], valueBytes: 200 }))
    const { view } = await layOut([parts, parts.slice(0, 1)], {
      files: (files) => counting(files, (bytes) => (bytesRead += bytes)),
    })
    await view.offsetAtTime(5)
    bytesRead = 0
    expect(await view.offsetAtTime(2_000)).toMatchObject({ offset: 2_000, timestampMs: 2_000 })
    expect(bytesRead).toBeLessThan(100_000)
  })

  test('is found in a segment whose index is of the version before, and the index is made anew', async () => {
    const parts = Array.from({ length: 100 }, (_, n) => ({ times: [n], valueBytes: 200 }))
    const { files, segments } = await layOut([parts, parts])
    const path = indexPath(segmentPath(folder, 0))
    expect(segments[0]?.maxTimestampMs).toBe(99)
    files.overwrite(path, asVersion2(await files.readAll(path)))
    const log = await reopened(files)
    const view = log.partition('events', 0)
    expect(await view?.offsetAtTime(50)).toEqual({ offset: 50, timestampMs: 50 })
    const index = SegmentIndex.decode(await files.readAll(path), 0)
    expect(index).toMatchObject({ maxTimestampMs: 99, writtenAtMs: segments[0]?.writtenAtMs })
    await log.close()
  })
})

describe('the view of a log that is written to', () => {
  test('gives what was acknowledged, and tells when there is more', async () => {
    const files = new SimulatedFiles({ seed: 1 })
    const log = await openLog(files, { settings: { segmentBytesMax: 300 } })
    const topic = await createEvents(log)
    const view = log.partition('events', 0)
    if (view === undefined) throw new Error('there is no partition 0')
    const advances: string[] = []
    const off = log.onAdvance((name, partition) => advances.push(`${name}/${partition}`))
    let offset = 0
    for (let n = 0; n < 20; n++) {
      await log.append('events', null, [record(`value-${n}`)])
      expect(advances.length).toBeGreaterThan(n)
      expect(view.highWatermark).toBe(n + 1)
      const { bytes } = await view.read(offset, all)
      expect(bytes.toString('latin1')).toContain(`value-${n}`)
      offset = n + 1
    }
    expect(advances[0]).toBe('events/0')
    off()
    off()
    const before = advances.length
    await log.append('events', null, [record('more')])
    expect(advances.length).toBe(before)
    expect(view.topicId).toBe(topic.id)
    expect(view.offline).toBeNull()
    expect(log.partition('events', 1)).toBeUndefined()
    expect(log.partition('nosuch', 0)).toBeUndefined()
    await log.close()
  })

  test('lets go of the files that retention removes, and says that their offsets are gone', async () => {
    const files = new SimulatedFiles({ seed: 1 })
    const open = new Set<string>()
    const log = await openLog(tracking(files, open), { settings: { segmentBytesMax: 300 } })
    const topic = await createEvents(log)
    for (let n = 0; n < 20; n++) await log.append('events', null, [record(`value-${n}`)])
    const view = log.partition('events', 0)
    if (view === undefined) throw new Error('there is no partition 0')
    for (let offset = 0; offset < 20; offset += 1) await view.read(offset, all)
    const before = open.size
    expect(before).toBeGreaterThan(3)
    expect(await log.removeSegments(topic.id, 0, 10)).toBeGreaterThan(0)
    expect(open.size).toBeLessThan(before)
    expect([...open].every((path) => files.paths().includes(path))).toBe(true)
    expect(await codeOf(view.read(0, all))).toBe('OFFSET_OUT_OF_RANGE')
    await log.close()
    expect(open.size).toBe(0)
  })
})

function expected(
  batches: Layout['batches'],
  offset: number,
  { maxBytes, atLeastOne }: { maxBytes: number; atLeastOne: boolean },
): Buffer {
  const first = batches.find((batch) => batch.nextOffset > offset)
  const parts: Buffer[] = []
  let bytes = 0
  for (const batch of batches) {
    if (first === undefined || batch.segment !== first.segment || batch.position < first.position)
      continue
    if (bytes + batch.bytes.length > maxBytes && !(bytes === 0 && atLeastOne)) break
    parts.push(batch.bytes)
    bytes += batch.bytes.length
  }
  return Buffer.concat(parts)
}

function placeOf(found: { offset: number; timestampMs: number } | undefined) {
  return found && { offset: found.offset, timestampMs: found.timestampMs }
}

function timesOf(plan: readonly (readonly BatchPlan[])[], batches: Layout['batches']) {
  return plan.flat().flatMap(({ times }, at) =>
    times.map((timestampMs, index) => ({
      offset: (batches[at]?.baseOffset ?? 0) + index,
      timestampMs,
    })),
  )
}

/** An index as version 2 had it. */
function asVersion2(current: Buffer): Buffer {
  const index = SegmentIndex.decode(current, 0)
  if (index === undefined) throw new Error('the index is not valid')
  const bytes = Buffer.alloc(56)
  current.copy(bytes, 0, 0, 48)
  bytes.writeUInt32BE(2, 4)
  bytes.writeUInt32BE(0, 48)
  bytes.writeUInt32BE(crc32c(bytes.subarray(0, 52)), 52)
  return bytes
}

/** The log over segments that were laid out by hand. */
async function reopened(laidOut: SimulatedFiles) {
  const files = new SimulatedFiles({ seed: 2 })
  const log = await openLog(files)
  await createEvents(log)
  await log.close()
  for (const path of ['meta', 'watermark'].map((name) => `${logFolder}/${name}`))
    laidOut.overwrite(path, await files.readAll(path))
  return openLog(laidOut)
}

/** The same files, with a count of the bytes that are read. */
function counting(files: Files, read: (bytes: number) => void): Files {
  return wrapped(files, (file) => ({
    ...file,
    read: async (position, length) => {
      const bytes = await file.read(position, length)
      read(bytes.length)
      return bytes
    },
  }))
}

/** The same files, with the paths of those that are open for reading. */
function tracking(files: Files, open: Set<string>): Files {
  return wrapped(files, (file, path) => {
    open.add(path)
    return { ...file, close: async () => void open.delete(path) }
  })
}

function wrapped(
  files: Files,
  wrap: (file: Awaited<ReturnType<Files['openRead']>>, path: string) => typeof file,
): Files {
  return new Proxy(files, {
    get(target, name) {
      if (name === 'openRead')
        return async (path: string) => wrap(await target.openRead(path), path)
      const member: unknown = Reflect.get(target, name)
      return typeof member === 'function' ? member.bind(target) : member
    },
  })
}
