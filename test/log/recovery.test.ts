import { describe, expect, test } from 'vitest'
import { QuestlogError } from '../../src/core/errors.ts'
import type { EventLog } from '../../src/log/event-log.ts'
import { placeBatch } from '../../src/log/record-batch.ts'
import { unsyncedBytesMax } from '../../src/log/segment.ts'
import { SimulatedFiles } from '../support/simulated-files.ts'
import { clientBatch } from './client-batch.ts'
import {
  codeOf,
  createEvents,
  firstSegment,
  logFolder,
  openLog,
  readAll,
  record,
  values,
} from './support.ts'

const all = Array.from({ length: 10 }, (_, n) => `value-${n}`)
/** Each of these records is a batch of its own: 61 bytes and 14 for the record. */
const batchBytes = 75

/** A closed log with ten batches. */
async function tenBatches(settings = {}): Promise<SimulatedFiles> {
  const files = new SimulatedFiles({ seed: 1 })
  const log = await openLog(files, { settings })
  await createEvents(log)
  for (const value of all) await log.append('events', null, [record(value)])
  await log.close()
  return files
}

/** Batches that could follow those ten. */
async function nextBatches(count: number): Promise<Buffer> {
  const files = await tenBatches()
  const log = await openLog(files)
  for (let n = 0; n < count; n++) await log.append('events', null, [record(`later-${n}`)])
  await log.close()
  return (await files.readAll(firstSegment)).subarray(all.length * batchBytes)
}

async function contents(files: SimulatedFiles, log: EventLog): Promise<string[]> {
  return values(await readAll(files, await createEvents(log)))
}

async function failure(promise: Promise<unknown>): Promise<QuestlogError> {
  try {
    await promise
  } catch (error) {
    if (error instanceof QuestlogError) return error
    throw error
  }
  throw new Error('it did not fail')
}

describe('torn tail', () => {
  test('is cut off, and the log goes on from there', async () => {
    const files = await tenBatches()
    const good = await files.readAll(firstSegment)
    for (const extra of [1, 11, 12, 60, 61, 70]) {
      const torn = Buffer.concat([good, good.subarray(0, extra)])
      files.overwrite(firstSegment, torn)
      const log = await openLog(files)
      expect(await contents(files, log)).toEqual(all)
      await log.close()
      expect(await files.readAll(firstSegment)).toEqual(good)
    }
  })

  test('of a commit of several batches is cut off where it is first torn, and what follows is kept beside', async () => {
    const files = await tenBatches()
    const good = await files.readAll(firstSegment)
    const commit = await nextBatches(3)
    const lost = Buffer.from(commit)
    lost.fill(0, batchBytes, batchBytes + 40) // the second of them did not reach the disk
    files.overwrite(firstSegment, Buffer.concat([good, lost]))
    const log = await openLog(files)
    expect(await contents(files, log)).toEqual([...all, 'later-0'])
    expect(log.states()[0]).toMatchObject({ endOffset: 11, missingOffsets: 0 })
    await log.append('events', null, [record('new')])
    await log.close()
    const torn = await files.readAll(`${firstSegment}.torn-${11 * batchBytes}`)
    expect(torn).toEqual(lost.subarray(batchBytes))
    const again = await openLog(files)
    expect(await contents(files, again)).toEqual([...all, 'later-0', 'new'])
    await again.close()
  })

  test('followed by more valid batches than a commit can hold is damage', async () => {
    const files = await tenBatches()
    const good = await files.readAll(firstSegment)
    const next = await nextBatches(3)
    next.fill(0, 0, 40)
    const rest = Buffer.concat([next, Buffer.alloc(unsyncedBytesMax)])
    files.overwrite(firstSegment, Buffer.concat([good, rest]))
    expect((await failure(openLog(files))).code).toBe('LOG_DAMAGED')
  })

  test('with the bytes of a client is cut off as well, whatever its records hold', async () => {
    const files = await tenBatches()
    const good = await files.readAll(firstSegment)
    const inner = await nextBatches(3)
    const outer = clientBatch({ values: [inner.toString('latin1')] })
    placeBatch(outer, 10)
    const torn = Buffer.concat([outer.subarray(0, 61), Buffer.alloc(9), inner])
    files.overwrite(firstSegment, Buffer.concat([good, torn]))
    const log = await openLog(files)
    expect(await contents(files, log)).toEqual(all)
    await log.close()
  })

  test('shorter than what was synced is damage, not a torn tail', async () => {
    const files = await tenBatches()
    const good = await files.readAll(firstSegment)
    files.overwrite(firstSegment, good.subarray(0, good.length - 5))
    expect((await failure(openLog(files))).code).toBe('LOG_DAMAGED')
    files.overwrite(firstSegment, good.subarray(0, good.length - batchBytes))
    expect((await failure(openLog(files))).code).toBe('LOG_DAMAGED')
    await files.unlink(firstSegment)
    expect((await failure(openLog(files))).code).toBe('LOG_DAMAGED')
  })
})

describe('a flipped byte in the middle', () => {
  test('refuses to open, naming file, position and --repair', async () => {
    const files = await tenBatches()
    files.flip(firstSegment, 3 * batchBytes + 70)
    const error = await failure(openLog(files))
    expect(error.code).toBe('LOG_DAMAGED')
    expect(error.facts).toMatchObject({ file: firstSegment, position: 3 * batchBytes, offset: 3 })
    expect(error.message).toContain('--repair')
  })

  test('--repair keeps the rest: the gap is accounted and the bytes are saved', async () => {
    for (let batch = 0; batch < 9; batch++)
      for (const byte of [0, 7, 8, 12, 16, 17, 30, batchBytes - 1]) {
        const files = await tenBatches()
        const good = await files.readAll(firstSegment)
        const position = batch * batchBytes
        files.flip(firstSegment, position + byte)
        const log = await openLog(files, { repair: true })
        const rest = all.filter((_, offset) => offset !== batch)
        expect(await contents(files, log)).toEqual(rest)
        expect(log.states()[0]).toMatchObject({ endOffset: 10, startOffset: 0, missingOffsets: 1 })
        await log.append('events', null, [record('new')])
        await log.close()
        const again = await openLog(files)
        expect(await contents(files, again)).toEqual([...rest, 'new'])
        await again.close()
        const saved = await files.readAll(`${firstSegment}.damaged-${position}`)
        good[position + byte] = (good[position + byte] ?? 0) ^ 0x10
        expect(saved).toEqual(good.subarray(position, position + batchBytes))
      }
  })

  test('in the last batch --repair cuts it off, saves it and gives its offset to nobody', async () => {
    const files = await tenBatches()
    files.flip(firstSegment, 9 * batchBytes + 70)
    expect((await failure(openLog(files))).code).toBe('LOG_DAMAGED')
    const log = await openLog(files, { repair: true })
    expect(log.states()[0]).toMatchObject({ endOffset: 10, missingOffsets: 1 })
    expect(await log.append('events', null, [record('new')])).toMatchObject({ baseOffset: 10 })
    expect(await contents(files, log)).toEqual([...all.slice(0, 9), 'new'])
    await log.close()
    expect(await files.sizeOf(`${firstSegment}.damaged-${9 * batchBytes}`)).toBe(batchBytes)
  })

  test('in several places --repair keeps every good batch', async () => {
    const files = await tenBatches()
    for (const batch of [0, 3, 4, 8]) files.flip(firstSegment, batch * batchBytes + 65)
    const log = await openLog(files, { repair: true })
    const rest = all.filter((_, offset) => ![0, 3, 4, 8].includes(offset))
    expect(await contents(files, log)).toEqual(rest)
    expect(log.states()[0]).toMatchObject({ startOffset: 0, missingOffsets: 4 })
    await log.close()
  })

  test('in a sealed segment is found when it is read, and repaired by the next start with --repair', async () => {
    const settings = { segmentBytesMax: 400 }
    const files = await tenBatches(settings)
    files.flip(firstSegment, batchBytes + 65)
    const log = await openLog(files, { settings })
    const error = await failure(contents(files, log))
    expect(error.facts).toMatchObject({ file: firstSegment, position: batchBytes, partition: 0 })
    await log.close()
    const repaired = await openLog(files, { settings, repair: true })
    expect(await contents(files, repaired)).toEqual(all.filter((_, offset) => offset !== 1))
    expect(repaired.states()[0]).toMatchObject({ missingOffsets: 1 })
    await repaired.close()
    const again = await openLog(files, { settings })
    expect(await contents(files, again)).toHaveLength(9)
    await again.close()
  })

  test('a sealed segment that became shorter is damage', async () => {
    const settings = { segmentBytesMax: 400 }
    const files = await tenBatches(settings)
    files.overwrite(firstSegment, (await files.readAll(firstSegment)).subarray(0, batchBytes))
    expect((await failure(openLog(files, { settings }))).code).toBe('LOG_DAMAGED')
    const log = await openLog(files, { settings, repair: true })
    expect(log.states()[0]?.missingOffsets).toBeGreaterThan(0)
    expect((await contents(files, log)).at(-1)).toBe(all.at(-1))
    await log.close()
  })

  test('a repair can be interrupted anywhere and repeated', async () => {
    const damaged = async () => {
      const files = await tenBatches()
      for (const batch of [0, 4]) files.flip(firstSegment, batch * batchBytes + 65)
      return files
    }
    for (let steps = 1; ; steps++) {
      const files = await damaged()
      files.stopAt = files.operations + steps
      const first = await openLog(files, { repair: true }).catch(() => undefined)
      const done = first !== undefined && !files.stopped
      if (steps % 2 === 0) files.kill()
      else files.crash()
      const log = await openLog(files, { repair: true })
      expect(await contents(files, log)).toEqual(all.filter((_, n) => n !== 0 && n !== 4))
      expect(log.states()[0]).toMatchObject({ startOffset: 0, missingOffsets: 2, endOffset: 10 })
      await log.close()
      if (done) break
    }
  })
})

describe('a hole that a power loss leaves in unsynced bytes', () => {
  test('is repaired without asking with durability os', async () => {
    const settings = { durability: 'os' } as const
    const files = new SimulatedFiles({ seed: 1 })
    const log = await openLog(files, { settings })
    await createEvents(log)
    for (const value of all) await log.append('events', null, [record(value)])
    files.kill()
    files.flip(firstSegment, 4 * batchBytes + 65)
    const next = await openLog(files, { settings })
    expect(await contents(files, next)).toEqual(all.filter((_, offset) => offset !== 4))
    expect(next.states()[0]).toMatchObject({ missingOffsets: 1 })
    await next.close()
  })
})

describe('floors', () => {
  const floor = (topicId: string, offset: number) => new Map([[topicId, new Map([[0, offset]])]])

  test('above the end begin a new segment: the gap is accounted and stepped over', async () => {
    const files = await tenBatches()
    const opened = await openLog(files)
    const topic = await createEvents(opened)
    await opened.close()
    const log = await openLog(files, { floors: floor(topic.id, 25) })
    expect(log.states()[0]).toMatchObject({ endOffset: 25, visibleOffset: 25, missingOffsets: 15 })
    expect(await contents(files, log)).toEqual(all)
    expect(await log.append('events', null, [record('new')])).toMatchObject({ baseOffset: 25 })
    expect(await contents(files, log)).toEqual([...all, 'new'])
    await log.close()
    const again = await openLog(files, { floors: floor(topic.id, 26) })
    expect(again.states()[0]).toMatchObject({ endOffset: 26, missingOffsets: 15 })
    await again.close()
  })

  test('of a partition that has nothing yet leave no empty segment behind', async () => {
    const files = new SimulatedFiles({ seed: 1 })
    const opened = await openLog(files)
    const topic = await createEvents(opened)
    await opened.close()
    const log = await openLog(files, { floors: floor(topic.id, 7) })
    expect(await log.append('events', null, [record('new')])).toMatchObject({ baseOffset: 7 })
    expect(files.paths().filter((path) => path.endsWith('.log'))).toHaveLength(1)
    await log.close()
  })
})

describe('topics', () => {
  test('keep id, partitions and configs over a restart', async () => {
    const files = new SimulatedFiles({ seed: 1 })
    const log = await openLog(files)
    const configs = {
      'max.message.bytes': '5242880',
      'cleanup.policy': 'delete',
      'retention.ms': '-1',
      'retention.bytes': '1000',
      'segment.bytes': '4096',
      'message.timestamp.type': 'CreateTime',
    }
    const topic = await log.createTopic({ name: 'events', partitions: 2, configs })
    expect(topic.id).toMatch(
      /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
    )
    files.crash()
    const next = await openLog(files)
    expect(next.topics()).toEqual([topic])
    expect(next.topics()[0]?.configs).toEqual(configs)
    await next.close()
  })

  test('are refused by the rules of Kafka', async () => {
    const log = await openLog(new SimulatedFiles({ seed: 1 }))
    const create = (name: string, partitions = 1, configs = {}) =>
      codeOf(log.createTopic({ name, partitions, configs }))
    expect(await create('events')).toBeUndefined()
    expect(await create('events')).toBe('TOPIC_EXISTS')
    expect(await create('Events')).toBe('TOPIC_INVALID')
    for (const name of ['', '.', '..', 'a b', 'a/b', 'ä', 'x'.repeat(250)])
      expect(await create(name), name).toBe('TOPIC_INVALID')
    for (const partitions of [0, -1, 1.5, 1001])
      expect(await create('other', partitions)).toBe('TOPIC_INVALID')
    for (const configs of [
      { 'max.message.bytes': 'many' },
      { 'max.message.bytes': '-1' },
      { 'cleanup.policy': 'keep' },
      { 'min.insync.replicas': '2' },
      { 'nosuch.config': '1' },
      { constructor: 'x' },
    ])
      expect(await create('other', 1, configs)).toBe('TOPIC_CONFIG_INVALID')
    expect(log.topics()).toHaveLength(1)
    await log.close()
  })

  test('a torn entry is forgotten, a damaged one refuses', async () => {
    const files = new SimulatedFiles({ seed: 1 })
    const log = await openLog(files)
    await log.createTopic({ name: 'first', partitions: 1 })
    const meta = `${logFolder}/meta`
    const one = await files.readAll(meta)
    await log.createTopic({ name: 'second', partitions: 1 })
    await log.close()
    const two = await files.readAll(meta)

    files.flip(meta, 40)
    expect((await failure(openLog(files))).code).toBe('LOG_DAMAGED')
    // The end of the file is bad, but a folder shows that the topic was there.
    files.overwrite(meta, two.subarray(0, two.length - 3))
    expect((await failure(openLog(files))).message).toContain('second-0')
    await files.unlink(meta)
    expect((await failure(openLog(files))).code).toBe('LOG_DAMAGED')

    for (const path of files.paths()) if (path.includes('second-0')) await files.unlink(path)
    const lone = new SimulatedFiles({ seed: 1 })
    const before = await openLog(lone)
    await before.createTopic({ name: 'first', partitions: 1 })
    await before.close()
    lone.overwrite(meta, two.subarray(0, two.length - 3))
    const next = await openLog(lone)
    expect(next.topics().map(({ name }) => name)).toEqual(['first'])
    await next.close()
    expect(await lone.readAll(meta)).toEqual(one)
  })

  test('a file of a later version is refused, not guessed at', async () => {
    const files = await tenBatches()
    const meta = await files.readAll(`${logFolder}/meta`)
    meta.writeUInt32BE(3, 4)
    files.overwrite(`${logFolder}/meta`, meta)
    expect((await failure(openLog(files))).code).toBe('FORMAT_UNKNOWN')
    meta.writeUInt32BE(1, 4) // the version before
    files.overwrite(`${logFolder}/meta`, meta)
    const log = await openLog(files)
    expect(log.topic('events')?.partitions).toBe(1)
    await log.close()
  })
})
