import { describe, expect, test } from 'vitest'
import type { EventLog } from '../../src/log/event-log.ts'
import { LogReader } from '../../src/log/reader.ts'
import { keptRecords, type Topic } from '../../src/log/record.ts'
import { retentionLimits } from '../../src/log/retention.ts'
import { topicConfigNames } from '../../src/log/topic.ts'
import { seededRandom } from '../support/random.ts'
import { SimulatedFiles } from '../support/simulated-files.ts'
import { codeOf, createEvents, logFolder, openLog, readAll, record, values } from './support.ts'

async function opened(settings = {}) {
  const files = new SimulatedFiles({ seed: 1 })
  const log = await openLog(files, { settings })
  return { files, log, topic: await createEvents(log) }
}

const folders = async (files: SimulatedFiles) =>
  (await files.list(logFolder)).filter((name) => /-\d+$/.test(name))

describe('more partitions', () => {
  test('take events at once, and after a start', async () => {
    const { files, log, topic } = await opened()
    await log.append('events', null, [record('before')])
    const grown = await log.addPartitions('events', 3)
    expect(grown).toMatchObject({ id: topic.id, partitions: 3 })
    for (let n = 0; n < 30; n++)
      await log.append('events', Buffer.from(`key-${n}`), [record(`value-${n}`)])
    expect(log.states().map(({ endOffset }) => endOffset > 0)).toEqual([true, true, true])
    expect(log.partition('events', 2)?.highWatermark).toBeGreaterThan(0)
    const ends = log.states().map(({ endOffset }) => endOffset)
    await log.close()
    const again = await openLog(files)
    expect(again.states().map(({ endOffset }) => endOffset)).toEqual(ends)
    const reader = new LogReader(files, logFolder)
    expect(await reader.topics()).toMatchObject([{ id: topic.id, partitions: 3 }])
    expect(values(await readAll(files, grown, 0))).toContain('before')
    await reader.close()
    await again.close()
  })

  test('are never fewer, nor more than the log can hold, and only of a topic that is there', async () => {
    const { log } = await opened()
    await log.addPartitions('events', 2)
    expect(await codeOf(log.addPartitions('events', 2))).toBe('TOPIC_INVALID')
    expect(await codeOf(log.addPartitions('events', 1))).toBe('TOPIC_INVALID')
    expect(await codeOf(log.addPartitions('events', 1_001))).toBe('TOPIC_INVALID')
    expect(await codeOf(log.addPartitions('nosuch', 2))).toBe('TOPIC_UNKNOWN')
    expect(log.topic('events')?.partitions).toBe(2)
    await log.close()
  })

  test('that could not be opened are opened by the next try', async () => {
    const { files, log } = await opened()
    files.fault = (operation, path) =>
      operation === 'create' && path.includes('events-2') ? 'EIO' : undefined
    await expect(log.addPartitions('events', 3)).rejects.toThrow('EIO')
    expect(log.topic('events')?.partitions).toBe(1)
    files.fault = () => undefined
    expect(await log.addPartitions('events', 3)).toMatchObject({ partitions: 3 })
    await log.append('events', null, [record('x')])
    await log.close()
  })
})

describe('configs', () => {
  test('that are changed act at once, and after a start; null brings the default back', async () => {
    const { files, log } = await opened()
    await log.setConfigs('events', new Map([['max.message.bytes', '100']]))
    expect(await codeOf(log.append('events', null, [record('x'.repeat(200))]))).toBe(
      'EVENT_TOO_LARGE',
    )
    await log.close()
    const again = await openLog(files)
    expect(again.topic('events')?.configs).toEqual({ 'max.message.bytes': '100' })
    await again.setConfigs('events', new Map([['max.message.bytes', null]]))
    await again.append('events', null, [record('x'.repeat(200))])
    expect(again.topic('events')?.configs).toEqual({})
    await again.close()
  })

  test("that do nothing here are kept for Kafka's tools; unknown names and values are refused", async () => {
    const { log } = await opened()
    const kept = new Map([
      ['cleanup.policy', 'compact'],
      ['compression.type', 'producer'],
      ['min.insync.replicas', '1'],
      ['segment.ms', '604800000'],
      ['min.cleanable.dirty.ratio', '0.5'],
      ['unclean.leader.election.enable', 'false'],
    ])
    expect((await log.setConfigs('events', kept)).configs).toEqual(Object.fromEntries(kept))
    for (const [config, value] of [
      ['nosuch.config', '1'],
      ['nosuch.config', null],
      ['cleanup.policy', 'keep'],
      ['segment.ms', 'soon'],
      ['min.cleanable.dirty.ratio', '1.5'],
      ['min.insync.replicas', '2'],
      ['remote.storage.enable', 'true'],
      ['__proto__', '1'],
    ] as const)
      expect(await codeOf(log.setConfigs('events', new Map([[config, value]])))).toBe(
        'TOPIC_CONFIG_INVALID',
      )
    expect(log.topic('events')?.configs).toEqual(Object.fromEntries(kept))
    expect(topicConfigNames).toContain('cleanup.policy')
    await log.close()
  })

  test('of a topic that is only to be compacted set no limit to retention', () => {
    const limits = { 'retention.ms': '1', 'retention.bytes': '1' }
    expect(retentionLimits({ ...limits, 'cleanup.policy': 'compact' })).toEqual({
      ageMs: null,
      bytes: null,
    })
    expect(retentionLimits({ ...limits, 'cleanup.policy': 'compact,delete' }).ageMs).toBe(1)
  })
})

describe('a deleted topic', () => {
  test('is gone with its files, for good; a new one of its name has another id and begins at 0', async () => {
    const { files, log, topic } = await opened({ segmentBytesMax: 300 })
    await log.addPartitions('events', 2)
    await log.createTopic({ name: 'events-1', partitions: 1 })
    const advanced: string[] = []
    for (let n = 0; n < 20; n++) await log.append('events', null, [record(`old-${n}`)])
    await log.append('events-1', null, [record('another')])
    log.onAdvance((name, partition) => advanced.push(`${name}/${partition}`))
    const view = log.partition('events', 0)
    await log.deleteTopic('events')
    expect(advanced).toEqual(expect.arrayContaining(['events/0', 'events/1']))
    expect(log.topic('events')).toBeUndefined()
    expect(log.partition('events', 0)).toBeUndefined()
    expect(await codeOf(log.append('events', null, [record('x')]))).toBe('TOPIC_UNKNOWN')
    expect(await codeOf(log.deleteTopic('events'))).toBe('TOPIC_UNKNOWN')
    expect(await folders(files)).toEqual(['events-1-0'])
    const options = { maxBytes: 100, atLeastOne: true, isolation: 'uncommitted' } as const
    expect(await codeOf(view?.read(0, options) ?? Promise.resolve())).toBe('TOPIC_UNKNOWN')
    const fresh = await createEvents(log)
    expect(fresh.id).not.toBe(topic.id)
    await log.append('events', null, [record('new')])
    expect(values(await readAll(files, fresh))).toEqual(['new'])
    const ids = new LogReader(files, logFolder).watermark()?.partitions.map((p) => p.topicId)
    expect(ids).toHaveLength(2)
    expect(ids).not.toContain(topic.id)
    await log.close()
    const again = await openLog(files)
    expect(again.topics().map(({ name, id }) => [name, id === fresh.id])).toEqual([
      ['events-1', false],
      ['events', true],
    ])
    expect(values(await readAll(files, fresh))).toEqual(['new'])
    await again.close()
  })

  test('whose records are in tables lets the next one of its name begin where it ended', async () => {
    const { files, log } = await opened({ segmentBytesMax: 300 })
    await log.addPartitions('events', 2)
    for (let n = 0; n < 20; n++)
      await log.append('events', Buffer.from(`key-${n}`), [record(`old-${n}`)])
    const ends = log.states().map(({ endOffset }) => endOffset)
    await log.deleteTopic('events', { continueOffsets: true })
    await log.close()
    let again = await openLog(files)
    expect(again.topics()).toEqual([])
    await again.close()
    again = await openLog(files)
    await createEvents(again)
    const { baseOffset } = await again.append('events', Buffer.from('key-1'), [record('new')])
    expect(ends).toContain(baseOffset)
    await again.addPartitions('events', 3)
    const check = (log: EventLog) => {
      const states = log.states()
      expect(states.map(({ startOffset }) => startOffset)).toEqual([...ends, 0])
      expect(states.reduce((sum, state) => sum + keptRecords(state), 0)).toBe(1)
      for (const { removedRecords, missingOffsets } of states)
        expect([removedRecords, missingOffsets]).toEqual([0, 0])
    }
    check(again)
    await again.close()
    again = await openLog(files)
    check(again)
    await again.deleteTopic('events')
    await createEvents(again)
    expect(again.states()[0]?.startOffset).toBeGreaterThanOrEqual(ends[0] ?? 0)
    await again.close()
  })

  test('makes the room that it needs on a full disk', async () => {
    const { files, log } = await opened({ segmentBytesMax: 300 })
    for (let n = 0; n < 20; n++) await log.append('events', null, [record(`old-${n}`)])
    files.capacityBytes = 1e9
    files.capacityBytes -= await files.freeBytes()
    await log.deleteTopic('events')
    expect(await folders(files)).toEqual([])
    files.capacityBytes = Infinity
    await createEvents(log)
    await log.close()
    expect((await openLog(files)).topics()).toHaveLength(1)
  })

  test('whose files could not be removed does not come back, and leaves nothing to one of its name', async () => {
    let left = 0
    // An operation that fails may have been done or not.
    for (let seed = 1; seed <= 20; seed++) if (await failedRemoval(seed)) left++
    expect(left).toBeGreaterThan(0)
  })

  test('is deleted or there as a whole after a crash at any moment', async () => {
    for (let seed = 1; seed <= 60; seed++) await deletionHistory(seed)
  })
})

describe('a reader in another process', () => {
  test('reads a new topic of a deleted name from its start, not what it had open', async () => {
    const { files, log, topic } = await opened({ segmentBytesMax: 300 })
    const reader = new LogReader(files, logFolder)
    for (let n = 0; n < 5; n++) await log.append('events', null, [record(`old-${n}`)])
    const old = limitOf(reader, topic)
    const read = await reader.read(topic, 0, 0, old, 1_000)
    expect(read.batches.length).toBeGreaterThan(0)
    await log.deleteTopic('events')
    expect(limitOf(reader, topic)).toBeUndefined()
    const fresh = await createEvents(log)
    for (let n = 0; n < 5; n++) await log.append('events', null, [record(`new-${n}`)])
    const [known] = await reader.topics()
    expect(known?.id).toBe(fresh.id)
    const again = await reader.read(fresh, 0, 0, limitOf(reader, fresh), 1_000)
    expect(again.batches[0]?.bytes.toString('latin1')).toContain('new-0')
    await reader.close()
    await log.close()
  })

  test('is told that the offsets of a deleted topic are gone', async () => {
    const { files, log, topic } = await opened()
    const reader = new LogReader(files, logFolder)
    await log.append('events', null, [record('old')])
    const old = limitOf(reader, topic)
    await log.deleteTopic('events')
    expect(await codeOf(reader.read(topic, 0, 0, old, 1_000))).toBe('OFFSET_OUT_OF_RANGE')
    await reader.close()
    await log.close()
  })
})

function limitOf(reader: LogReader, topic: Topic) {
  const found = reader.watermark()?.partitions.find((each) => each.topicId === topic.id)
  return found as NonNullable<typeof found>
}

/** Deletes a topic whose segment can't be removed, and creates one of its name; gives whether the segment was left. */
async function failedRemoval(seed: number): Promise<boolean> {
  const files = new SimulatedFiles({ seed })
  const log = await openLog(files)
  await createEvents(log)
  await log.append('events', null, [record('old')])
  files.fault = (operation, path) =>
    operation === 'name' && path.endsWith('.log') ? 'EIO' : undefined
  await log.deleteTopic('events')
  expect(await folders(files)).toEqual(['events-0'])
  const isLeft = files.paths().some((path) => path.endsWith('.log'))
  if (isLeft) await expect(createEvents(log)).rejects.toThrow('EIO')
  files.fault = () => undefined
  const fresh = await createEvents(log)
  expect(await readAll(files, fresh)).toEqual([])
  await log.deleteTopic('events')
  await log.close()
  const again = await openLog(files)
  expect(again.topics()).toEqual([])
  await again.close()
  return isLeft
}

/** Creates, fills, deletes and creates anew, with a stop at any operation; then looks at what a start finds. */
async function deletionHistory(seed: number): Promise<void> {
  const random = seededRandom(seed)
  const files = new SimulatedFiles({ seed })
  let log = await openLog(files, { settings: { segmentBytesMax: 300 } })
  const topic = await createEvents(log, 2)
  for (let n = 0; n < 12; n++) await log.append('events', null, [record(`old-${n}`)])
  files.stopAt = files.operations + 1 + random.below(60)
  let isDeleted = false
  let fresh: Topic | undefined
  try {
    await log.deleteTopic('events')
    isDeleted = !files.stopped
    fresh = await createEvents(log, 2)
    await log.append('events', null, [record('new')])
  } catch {
    // stopped
  }
  if (random.chance(0.5)) files.crash()
  else files.kill()
  log = await openLog(files, { settings: { segmentBytesMax: 300 } })
  const found = log.topic('events')
  if (found?.id === topic.id) {
    expect(isDeleted, `seed ${seed}`).toBe(false)
    expect(await recordsOf(files, log, found)).toHaveLength(12)
  } else if (found !== undefined) {
    const records = await recordsOf(files, log, found)
    expect(
      records.every((value) => value === 'new'),
      `seed ${seed}`,
    ).toBe(true)
    if (fresh !== undefined) expect(found.id).toBe(fresh.id)
  } else expect(await folders(files), `seed ${seed}`).toEqual([])
  await log.close()
}

async function recordsOf(files: SimulatedFiles, log: EventLog, topic: Topic): Promise<string[]> {
  const all: string[] = []
  for (let partition = 0; partition < topic.partitions; partition++)
    if (log.partition(topic.name, partition) !== undefined)
      all.push(...values(await readAll(files, topic, partition)))
  return all
}
