import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { crc32c } from '@node-rs/crc32'
import { afterEach, describe, expect, test } from 'vitest'
import { realClock } from '../../src/core/clock.ts'
import { realFiles, type SharedFile } from '../../src/core/files.ts'
import { decodeRecords } from '../../src/log/record-batch.ts'
import type { PartitionWatermark } from '../../src/log/record.ts'
import { LogReader } from '../../src/log/reader.ts'
import { WatermarkReader, WatermarkWriter } from '../../src/log/watermark.ts'
import { SimulatedFiles } from '../support/simulated-files.ts'
import { codeOf, createEvents, logFolder, openLog, record, values, watermarkOf } from './support.ts'

const folders: string[] = []
afterEach(async () => {
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true })
})

describe('reader', () => {
  test('follows a log that grows and rolls in real files, each record once and in order', async () => {
    const folder = join(await mkdtemp(join(tmpdir(), 'questlog-log-')), 'log')
    folders.push(folder)
    const log = await openLog(realFiles, {
      folder,
      clock: realClock,
      settings: { segmentBytesMax: 3_000 },
    })
    const topic = await createEvents(log)
    const reader = new LogReader(realFiles, folder)
    const total = 2_000
    const followed: string[] = []
    const follow = async () => {
      let offset = 0
      while (offset < total) {
        const upTo = watermarkOf(reader, topic)
        const slice = await reader.read(topic, 0, offset, upTo, 1_000)
        for (const batch of slice.batches) followed.push(...values(decodeRecords(batch)))
        offset = slice.nextOffset
        await realClock.sleep(0)
      }
    }
    const append = async () => {
      for (let n = 0; n < total; n += 10)
        await Promise.all(
          Array.from({ length: 10 }, (_, k) => log.append('events', null, [record(`${n + k}`)])),
        )
    }
    await Promise.all([append(), follow()])
    expect(followed).toEqual(Array.from({ length: total }, (_, n) => `${n}`))
    await log.close()
    const again = await openLog(realFiles, { folder, clock: realClock })
    expect(again.states()[0]).toMatchObject({ endOffset: total, missingOffsets: 0 })
    expect(await reader.topics()).toEqual([topic])
    await again.close()
    await reader.close()
  })

  test('begins at the batch that holds the offset, and keeps to the size asked for', async () => {
    const files = new SimulatedFiles({ seed: 1 })
    const log = await openLog(files, { settings: { segmentBytesMax: 20_000 } })
    const topic = await createEvents(log)
    for (let n = 0; n < 300; n++)
      await log.append('events', null, [record(`${n}-${'x'.repeat(100)}`), record('second')])
    const upTo = watermarkOf(new LogReader(files, logFolder), topic)
    for (let offset = 0; offset < 600; offset += 7) {
      const reader = new LogReader(files, logFolder)
      const slice = await reader.read(topic, 0, offset, upTo, 1_000)
      expect(slice.batches[0]?.baseOffset).toBe(offset - (offset % 2))
      expect(slice.bytes).toBeLessThanOrEqual(1_000)
      expect(slice.batches.length).toBeGreaterThan(0)
      const place = await reader.locate(topic, 0, offset, upTo)
      const bytes = await files.readAll(place?.segment ?? '')
      expect(Number(bytes.readBigInt64BE(place?.position ?? 0))).toBe(offset - (offset % 2))
      await reader.close()
    }
    await log.close()
  })

  test('gives one batch even when it is larger than the size asked for', async () => {
    const files = new SimulatedFiles({ seed: 1 })
    const log = await openLog(files)
    const topic = await createEvents(log)
    await log.append('events', null, [record('x'.repeat(50_000))])
    await log.append('events', null, [record('small')])
    const reader = new LogReader(files, logFolder)
    const slice = await reader.read(topic, 0, 0, watermarkOf(reader, topic), 10)
    expect(slice).toMatchObject({ nextOffset: 1 })
    expect(slice.batches).toHaveLength(1)
    await log.close()
  })

  test('never gives what lies beyond the watermark it was told', async () => {
    const files = new SimulatedFiles({ seed: 1 })
    const log = await openLog(files, { settings: { segmentBytesMax: 500 } })
    const topic = await createEvents(log)
    const reader = new LogReader(files, logFolder)
    const marks: PartitionWatermark[] = []
    for (let n = 0; n < 20; n++) {
      await log.append('events', null, [record(`${n}`)])
      marks.push(watermarkOf(reader, topic))
    }
    for (const upTo of marks) {
      let offset = 0
      while (offset < upTo.visibleOffset)
        offset = (await reader.read(topic, 0, offset, upTo, 300)).nextOffset
      expect(offset).toBe(upTo.visibleOffset)
      expect(await reader.read(topic, 0, offset, upTo, 300)).toMatchObject({
        batches: [],
        bytes: 0,
      })
    }
    await log.close()
  })

  test('refuses offsets outside the log, and locates none there', async () => {
    const files = new SimulatedFiles({ seed: 1 })
    const log = await openLog(files)
    const topic = await createEvents(log)
    await log.append('events', null, [record('a')])
    const reader = new LogReader(files, logFolder)
    const upTo = watermarkOf(reader, topic)
    expect(await codeOf(reader.read(topic, 0, -1, upTo, 100))).toBe('OFFSET_OUT_OF_RANGE')
    expect(await codeOf(reader.read(topic, 0, 2, upTo, 100))).toBe('OFFSET_OUT_OF_RANGE')
    expect(await reader.locate(topic, 0, 1, upTo)).toBeUndefined()
    await log.close()
  })

  test('keeps few files open over a long history', async () => {
    const files = new SimulatedFiles({ seed: 1 })
    let open = 0
    let most = 0
    const counted = {
      ...methodsOf(files),
      openRead: async (path: string) => {
        const file = await files.openRead(path)
        most = Math.max(most, ++open)
        return { ...file, close: async () => void open-- }
      },
    }
    const log = await openLog(files, { settings: { segmentBytesMax: 100 } })
    const topic = await createEvents(log)
    for (let n = 0; n < 100; n++) await log.append('events', null, [record('x'.repeat(60))])
    const reader = new LogReader(counted, logFolder)
    const upTo = watermarkOf(reader, topic)
    let offset = 0
    while (offset < 100) offset = (await reader.read(topic, 0, offset, upTo, 1)).nextOffset
    expect(most).toBeLessThanOrEqual(33)
    await reader.close()
    expect(open).toBe(0)
    await log.close()
  })
})

describe('watermark', () => {
  const entry = (visibleOffset: number): PartitionWatermark => ({
    topicId: '01234567-89ab-4cde-8f01-23456789abcd',
    partition: 3,
    visibleOffset,
    highWatermark: visibleOffset + 7,
    syncedOffset: visibleOffset - 1,
    segmentBaseOffset: 2 ** 40,
    position: 5,
    startOffset: 1,
    missingOffsets: 2,
    excludedOffsets: 3,
    removedRecords: 2 ** 44,
    removedExcluded: 11,
    offline: false,
  })
  const memory = () => {
    let content: Buffer = Buffer.alloc(0)
    const file: SharedFile = {
      write: (bytes) => (content = Buffer.from(bytes)),
      read: () => content,
      close: () => {},
    }
    return { file, set: (bytes: Buffer) => (content = bytes), get: () => content }
  }

  test('what is published is read, entry by entry, and the same object until it changes', () => {
    const { file } = memory()
    const reader = new WatermarkReader(file, 'watermark')
    expect(reader.read()).toBeUndefined()
    const incarnation = 'ffffffff-ffff-4fff-bfff-ffffffffffff'
    const writer = new WatermarkWriter(file, incarnation)
    writer.set(entry(2 ** 45))
    writer.set({ ...entry(9), partition: 4, offline: true })
    expect(reader.read()).toBeUndefined()
    writer.publish()
    const read = reader.read()
    expect(read).toEqual({
      incarnation,
      partitions: [entry(2 ** 45), { ...entry(9), partition: 4, offline: true }],
    })
    expect(reader.read()).toBe(read)
    writer.set(entry(2 ** 45 + 1))
    writer.publish()
    expect(reader.read()?.partitions[0]).toEqual(entry(2 ** 45 + 1))
  })

  test.each([
    [1, 72],
    [2, 80],
  ])(
    'a file of version %i is read: what it did not have yet is as it was then',
    (version, size) => {
      const { file, get, set } = memory()
      const writer = new WatermarkWriter(file, 'ffffffff-ffff-4fff-bfff-ffffffffffff')
      writer.set(entry(9))
      writer.set({ ...entry(5), partition: 4 })
      writer.publish()
      const now = get()
      const parts = [0, 1].map((slot) => now.subarray(36 + slot * 104, 36 + slot * 104 + size))
      const before = Buffer.concat([now.subarray(0, 36), ...parts, Buffer.alloc(4)])
      before.writeUInt32BE(version, 4)
      before.writeUInt32BE(crc32c(before.subarray(0, before.length - 4)), before.length - 4)
      set(before)
      const none = { excludedOffsets: 0, removedExcluded: 0 }
      const removedRecords = version === 1 ? 0 : entry(9).removedRecords
      expect(new WatermarkReader(file, 'watermark').read()?.partitions).toEqual([
        { ...entry(9), highWatermark: 9, ...none, removedRecords },
        { ...entry(5), partition: 4, highWatermark: 5, ...none, removedRecords },
      ])
    },
  )

  test('a torn file gives the last whole reading, never a mixture', () => {
    const { file, get, set } = memory()
    const writer = new WatermarkWriter(file, 'ffffffff-ffff-4fff-bfff-ffffffffffff')
    const reader = new WatermarkReader(file, 'watermark')
    writer.set(entry(1))
    writer.publish()
    const before = get()
    const read = reader.read()
    writer.set(entry(2))
    writer.publish()
    const after = get()
    for (let cut = 25; cut < after.length - 1; cut++) {
      const mixed = Buffer.concat([after.subarray(0, cut), before.subarray(cut)])
      if (mixed.equals(before) || mixed.equals(after)) continue
      set(mixed)
      expect(reader.read()).toBe(read)
      expect(new WatermarkReader(file, 'watermark').read()).toBeUndefined()
    }
  })
})

/** The methods of an object of a class, for overriding one of them. */
function methodsOf(files: SimulatedFiles) {
  return {
    openAppend: files.openAppend.bind(files),
    openRead: files.openRead.bind(files),
    openShared: files.openShared.bind(files),
    readAll: files.readAll.bind(files),
    writeNew: files.writeNew.bind(files),
    syncFile: files.syncFile.bind(files),
    syncFolder: files.syncFolder.bind(files),
    link: files.link.bind(files),
    rename: files.rename.bind(files),
    unlink: files.unlink.bind(files),
    makeFolder: files.makeFolder.bind(files),
    list: files.list.bind(files),
    sizeOf: files.sizeOf.bind(files),
    removeFolder: files.removeFolder.bind(files),
    modifiedMs: files.modifiedMs.bind(files),
    freeBytes: files.freeBytes.bind(files),
  }
}
