import { cp, mkdtemp, rm, truncate, unlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { realFiles } from '../../src/core/files.ts'
import { LogCopy, writeCopiedEnds } from '../../src/log/log-copy.ts'
import { LogReader } from '../../src/log/reader.ts'
import { decodeRecords } from '../../src/log/record-batch.ts'
import { StateFile } from '../../src/log/state-file.ts'
import { readStoppedEnds } from '../../src/log/stopped-ends.ts'
import type { EventLog } from '../../src/log/event-log.ts'
import { codeOf, createEvents, openLog, record } from './support.ts'

interface Place extends AsyncDisposable {
  readonly log: EventLog
  readonly folder: string
  readonly target: string
  readonly copy: LogCopy
  ends(): Promise<readonly Awaited<ReturnType<typeof readStoppedEnds>>[number][]>
  append(count: number): Promise<void>
}

/** A real log with segments of a few records, and an empty folder for its copy. */
async function place(): Promise<Place> {
  const root = await mkdtemp(join(tmpdir(), 'questlog-log-copy-'))
  const [folder, target] = [join(root, 'log'), join(root, 'copy')]
  const settings = { segmentBytesMax: 4096 }
  await realFiles.makeFolder(folder)
  const log = await openLog(realFiles, { folder, settings })
  await createEvents(log)
  const reader = new LogReader(realFiles, folder)
  return {
    log,
    folder,
    target,
    copy: new LogCopy(realFiles, folder, target),
    ends: async () => reader.watermark()?.partitions ?? [],
    async append(count) {
      for (let at = 0; at < count; at++)
        await log.append('events', null, [record('x'.repeat(1500))])
    },
    async [Symbol.asyncDispose]() {
      await reader.close()
      await log.close()
      await rm(root, { recursive: true })
    },
  }
}

/** Offsets of all records of a log that can be read. */
async function offsetsIn(folder: string): Promise<number[]> {
  const reader = new LogReader(realFiles, folder)
  try {
    const [topic] = await reader.topics()
    const upTo = reader.watermark()?.partitions[0]
    if (topic === undefined || upTo === undefined) return []
    const offsets: number[] = []
    for (let offset = upTo.startOffset; offset < upTo.visibleOffset;) {
      const slice = await reader.read(topic, 0, offset, upTo, 1000)
      offsets.push(...slice.batches.flatMap(decodeRecords).map((each) => each.offset))
      offset = slice.nextOffset
    }
    return offsets
  } finally {
    await reader.close()
  }
}

const upTo = (end: number, start = 0) =>
  Array.from({ length: end - start }, (_, index) => start + index)

test('a copy ends where it was told, goes on from there, and can be opened and appended to', async () => {
  await using each = await place()
  await each.append(5)
  expect(await each.copy.advance(await each.ends())).toBe(true)
  await each.append(3)
  expect(await each.copy.advance(await each.ends())).toBe(true)
  await each.append(4)
  const { partitions, sums } = await each.copy.finish()
  expect(partitions).toMatchObject([{ topic: 'events', startOffset: 0, endOffset: 8 }])
  for (const [path, { bytes }] of sums) expect(await realFiles.sizeOf(path), path).toBe(bytes)
  await writeCopiedEnds(realFiles, each.target, partitions)
  expect(await offsetsIn(each.target)).toEqual(upTo(8))
  const opened = await openLog(realFiles, { folder: each.target })
  expect(await opened.append('events', null, [record('next')])).toMatchObject({ baseOffset: 8 })
  await opened.close()
})

test('segments that retention removed after they were copied stay in the copy; the counts fit', async () => {
  await using each = await place()
  await each.append(10)
  await each.copy.advance(await each.ends())
  await each.log.removeSegments((await createEvents(each.log)).id, 0, 5)
  expect(await each.copy.advance(await each.ends())).toBe(true)
  const { partitions } = await each.copy.finish()
  expect(partitions).toMatchObject([{ startOffset: 0, endOffset: 10, removedRecords: 0 }])
})

test('what retention removed before is not in the copy, and the copy knows how many', async () => {
  await using each = await place()
  await each.append(10)
  await each.log.removeSegments((await createEvents(each.log)).id, 0, 5)
  const [end] = await each.ends()
  await each.copy.advance(await each.ends())
  const { partitions } = await each.copy.finish()
  const { startOffset, removedRecords } = end ?? { startOffset: 0, removedRecords: 0 }
  expect(startOffset).toBeGreaterThan(0)
  expect(partitions).toMatchObject([{ startOffset, removedRecords, endOffset: 10 }])
  const opened = await openLog(realFiles, { folder: each.target })
  expect(opened.states()).toMatchObject([{ startOffset, removedRecords, endOffset: 10 }])
  await opened.close()
})

test('when segments went that were not copied, the copy begins behind them and says so', async () => {
  await using each = await place()
  await each.append(3)
  await each.copy.advance(await each.ends())
  await each.append(10)
  await each.log.removeSegments((await createEvents(each.log)).id, 0, 9)
  expect(await each.copy.advance(await each.ends())).toBe(false)
  const { partitions, sums } = await each.copy.finish()
  expect(partitions).toMatchObject([{ endOffset: 13, missingOffsets: 0 }])
  const start = partitions[0]?.startOffset ?? 0
  expect(start).toBeGreaterThan(3)
  const names = await realFiles.list(join(each.target, 'events-0'))
  expect(names.every((name) => sums.has(join(each.target, 'events-0', name)))).toBe(true)
  await writeCopiedEnds(realFiles, each.target, partitions)
  expect(await offsetsIn(each.target)).toEqual(upTo(13, start))
})

test('damage is found, not copied', async () => {
  for (const segment of [0, 1]) {
    await using each = await place()
    await each.append(6)
    const [name] = (await realFiles.list(join(each.folder, 'events-0')))
      .filter((file) => file.endsWith('.log'))
      .slice(segment === 0 ? 0 : -1)
    const path = join(each.folder, 'events-0', name ?? '')
    const bytes = await realFiles.readAll(path)
    bytes[bytes.length - 10] = (bytes[bytes.length - 10] ?? 0) ^ 1
    await writeFile(path, bytes)
    const copied = each.copy.advance(await each.ends()).then(() => each.copy.finish())
    expect(await codeOf(copied)).toBe('LOG_DAMAGED')
  }
})

test('the ends of a log at rest are those that a start finds: a torn tail does not count, damage is refused', async () => {
  await using each = await place()
  await each.append(5)
  const stopped = join(each.folder, '../stopped')
  await cp(each.folder, stopped, { recursive: true })
  const names = (await realFiles.list(join(stopped, 'events-0'))).filter((name) =>
    name.endsWith('.log'),
  )
  const last = join(stopped, 'events-0', names.at(-1) ?? '')
  const [end] = await readStoppedEnds(realFiles, stopped)
  expect(end).toMatchObject({ visibleOffset: 5, syncedOffset: 5, offline: false })

  const bytes = await realFiles.readAll(last)
  await writeFile(last, Buffer.concat([bytes, bytes.subarray(0, 70)]))
  expect(await readStoppedEnds(realFiles, stopped)).toEqual([end])
  await truncate(last, bytes.length - 1)
  expect(await codeOf(readStoppedEnds(realFiles, stopped))).toBe('LOG_DAMAGED')
  // Without the watermark nobody knows that it was synced.
  await unlink(join(stopped, 'watermark'))
  expect(await readStoppedEnds(realFiles, stopped)).toMatchObject([{ visibleOffset: 4 }])
  expect(await readStoppedEnds(realFiles, join(stopped, 'nothing'))).toEqual([])
})

test('groups are copied as they were before the records, transactions as they are after them', async () => {
  await using each = await place()
  const groups = await StateFile.open({ files: realFiles, path: join(each.folder, 'groups') })
  const path = join(each.folder, 'transactions')
  const transactions = await StateFile.open({ files: realFiles, path })
  await groups.put(new Map([['group', 'before']]))
  await transactions.put(new Map([['next', 1]]))
  await each.append(2)
  await each.copy.advance(await each.ends())
  await groups.put(new Map([['group', 'after']]))
  await transactions.put(new Map([['next', 2]]))
  await groups.close()
  await transactions.close()
  await truncate(path, ((await realFiles.sizeOf(path)) ?? 0) + 3) // a change that is under way
  const { sums } = await each.copy.finish()
  const read = async (name: string, key: string) => {
    const copied = await StateFile.open({ files: realFiles, path: join(each.target, name) })
    const value = copied.get(key)
    await copied.close()
    return value
  }
  for (const name of ['groups', 'transactions']) {
    const { bytes } = sums.get(join(each.target, name)) ?? { bytes: 0 }
    expect(await realFiles.sizeOf(join(each.target, name))).toBe(bytes)
  }
  expect(await read('groups', 'group')).toBe('before')
  expect(await read('transactions', 'next')).toBe(2)
})

test('a topic that is deleted meanwhile is not in the copy, one made anew under its name is', async () => {
  await using each = await place()
  await each.append(5)
  await each.copy.advance(await each.ends())
  await each.log.deleteTopic('events')
  const fresh = await createEvents(each.log)
  await each.append(2)
  await each.copy.advance(await each.ends())
  const { partitions, sums } = await each.copy.finish()
  expect(partitions).toMatchObject([{ topicId: fresh.id, startOffset: 0, endOffset: 2 }])
  for (const [path, { bytes }] of sums) expect(await realFiles.sizeOf(path), path).toBe(bytes)
  await writeCopiedEnds(realFiles, each.target, partitions)
  expect(await offsetsIn(each.target)).toEqual(upTo(2))
  await each.log.deleteTopic('events')
  const copy = new LogCopy(realFiles, each.folder, `${each.target}-2`)
  await copy.advance(await each.ends())
  expect((await copy.finish()).partitions).toEqual([])
  const opened = await openLog(realFiles, { folder: `${each.target}-2` })
  expect(opened.topics()).toEqual([])
  await opened.close()
})
