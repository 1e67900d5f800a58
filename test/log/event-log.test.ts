import { setImmediate as nextTurn } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { LogReader } from '../../src/log/reader.ts'
import { SimulatedClock } from '../support/simulated-clock.ts'
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
  watermarkOf,
} from './support.ts'

const simulated = () => new SimulatedFiles({ seed: 1 })

describe('append', () => {
  test('gives consecutive offsets, also to appends that share a batch', async () => {
    const files = simulated()
    const log = await openLog(files)
    const topic = await createEvents(log)
    const answers = await Promise.all([
      log.append('events', null, [record('a'), record('b')]),
      log.append('events', null, [record('c')]),
    ])
    expect(answers.map(({ baseOffset }) => baseOffset)).toEqual([0, 2])
    const found = await readAll(files, topic)
    expect(values(found)).toEqual(['a', 'b', 'c'])
    expect(log.states()[0]).toMatchObject({ endOffset: 3, visibleOffset: 3, syncedOffset: 3 })
    await log.close()
  })

  test('is visible to readers when it resolves, and not before it is synced', async () => {
    const files = simulated()
    const log = await openLog(files)
    const topic = await createEvents(log)
    const reader = new LogReader(files, logFolder)
    let visibleAtSync = -1
    files.fault = (operation) => {
      if (operation === 'sync') visibleAtSync = watermarkOf(reader, topic).visibleOffset
      return undefined
    }
    await log.append('events', null, [record('a')])
    expect(visibleAtSync).toBe(0)
    expect(watermarkOf(reader, topic).visibleOffset).toBe(1)
    await log.close()
  })

  test('many appends at once are one write and one sync', async () => {
    const files = simulated()
    const log = await openLog(files)
    await createEvents(log)
    const before = files.operations
    await Promise.all(
      Array.from({ length: 100 }, (_, n) => log.append('events', null, [record(`${n}`)])),
    )
    expect(files.operations - before).toBe(3) // append, sync, watermark
    await log.close()
  })

  test('a record above max.message.bytes is refused before anything is written', async () => {
    const files = simulated()
    const log = await openLog(files)
    await log.createTopic({
      name: 'events',
      partitions: 1,
      configs: { 'max.message.bytes': '200' },
    })
    const before = files.operations
    const append = log.append('events', null, [record('small'), record('x'.repeat(200))])
    expect(await codeOf(append)).toBe('EVENT_TOO_LARGE')
    expect(files.operations).toBe(before)
    const fits = 200 - 61 - 2 - 3 - 1 - 2 - 1
    await log.append('events', null, [record('x'.repeat(fits))])
    expect(await codeOf(log.append('events', null, [record('x'.repeat(fits + 1))]))).toBe(
      'EVENT_TOO_LARGE',
    )
    await log.close()
  })

  test('one append may be larger than a batch: its offsets stay consecutive', async () => {
    const files = simulated()
    const log = await openLog(files, { settings: { messageBytesMax: 150 } })
    const topic = await createEvents(log)
    const all = Array.from({ length: 50 }, (_, n) => `value-${n}`)
    expect(await log.append('events', null, all.map(record))).toMatchObject({ baseOffset: 0 })
    const found = await readAll(files, topic)
    expect(values(found)).toEqual(all)
    expect(found.map(({ offset }) => offset)).toEqual(all.map((_, n) => n))
    await log.close()
  })

  test('too much that waits is answered OVERLOADED, and what was taken is kept', async () => {
    const files = simulated()
    const log = await openLog(files, { settings: { pendingBytesMax: 1000 } })
    const topic = await createEvents(log)
    const codes = await Promise.all(
      Array.from({ length: 20 }, () =>
        codeOf(log.append('events', null, [record('x'.repeat(100))])),
      ),
    )
    expect(new Set(codes)).toEqual(new Set([undefined, 'OVERLOADED']))
    const kept = codes.filter((code) => code === undefined).length
    expect(await readAll(files, topic)).toHaveLength(kept)
    expect(await codeOf(log.append('events', null, [record('later')]))).toBeUndefined()
    await log.close()
  })

  test('close keeps what was appended before it and refuses what comes after', async () => {
    const files = simulated()
    const log = await openLog(files)
    await createEvents(log)
    const append = log.append('events', null, [record('a')])
    const closed = log.close()
    expect(await codeOf(log.append('events', null, [record('b')]))).toBe('SHUTTING_DOWN')
    expect(await append).toMatchObject({ baseOffset: 0 })
    await closed
    await log.close()
    files.crash()
    const next = await openLog(files)
    expect(values(await readAll(files, await createEvents(next)))).toEqual(['a'])
    await next.close()
  })
})

describe('record time', () => {
  test('never goes back within a partition, neither with the clock nor over a restart', async () => {
    const clock = new SimulatedClock(5_000)
    const files = new SimulatedFiles({ seed: 1, nowMs: () => clock.nowMs() })
    const log = await openLog(files, { clock })
    await createEvents(log)
    const timeOf = async (value: string) =>
      (await log.append('events', null, [record(value)])).timestampMs
    expect(await timeOf('a')).toBe(5_000)
    clock.setWall(4_000)
    expect(await timeOf('b')).toBe(5_000)
    clock.setWall(6_000)
    expect(await timeOf('c')).toBe(6_000)
    await log.close()
    clock.setWall(1_000)
    const next = await openLog(files, { clock })
    expect(await next.append('events', null, [record('d')])).toMatchObject({ timestampMs: 6_000 })
    await next.close()
  })

  test('is not that of a client whose clock was ahead before the restart', async () => {
    const clock = new SimulatedClock()
    const files = new SimulatedFiles({ seed: 1, nowMs: () => clock.nowMs() })
    const log = await openLog(files, { clock })
    await createEvents(log)
    const ahead = clientBatch({ values: ['ahead'], timestampMs: clock.nowMs() + 3_000_000 })
    await log.appendBatches('events', 0, ahead, 'acknowledged')
    await log.close()
    clock.advance(10_000)
    const next = await openLog(files, { clock })
    const { timestampMs } = await next.append('events', null, [record('now')])
    expect(timestampMs).toBe(clock.nowMs())
    await next.close()
  })
})

describe('partitions', () => {
  test('records without a key stay together until a commit begins, then the next partition has its turn', async () => {
    const log = await openLog(simulated())
    await createEvents(log, 3)
    const used: number[][] = []
    for (let round = 0; round < 4; round++) {
      const appends = ['a', 'b', 'c'].map((value) => log.append('events', null, [record(value)]))
      used.push((await Promise.all(appends)).map(({ partition }) => partition))
    }
    expect(used).toEqual([
      [0, 0, 0],
      [1, 1, 1],
      [2, 2, 2],
      [0, 0, 0],
    ])
    await log.close()
  })

  test('a key has its partition', async () => {
    const log = await openLog(simulated())
    await createEvents(log, 3)
    const append = (key: string) => log.append('events', Buffer.from(key), [record(key)])
    expect((await append('21')).partition).toBe((-973932308 & 0x7fffffff) % 3)
    expect((await append('foobar')).partition).toBe((-790332482 & 0x7fffffff) % 3)
    await log.close()
  })

  test('an offline partition is left out of the turn', async () => {
    const files = simulated()
    const log = await openLog(files)
    await createEvents(log, 2)
    files.fault = (operation, path) =>
      operation === 'sync' && path.includes('events-0') ? 'EIO' : undefined
    expect(await codeOf(log.append('events', null, [record('a')]))).toBe('OUTCOME_UNKNOWN')
    for (let n = 0; n < 3; n++)
      expect(await log.append('events', null, [record('b')])).toMatchObject({ partition: 1 })
    await log.close()
  })
})

describe('segments', () => {
  test('a full segment is sealed with an index, and reading goes over the boundary', async () => {
    const files = simulated()
    const settings = { segmentBytesMax: 400 }
    const log = await openLog(files, { settings })
    const topic = await createEvents(log)
    const all = Array.from({ length: 40 }, (_, n) => `value-${n}`)
    for (const value of all) await log.append('events', null, [record(value)])
    const segments = files.paths().filter((path) => path.endsWith('.log'))
    const indexes = files.paths().filter((path) => path.endsWith('.index'))
    expect(segments.length).toBeGreaterThan(5)
    expect(indexes.length).toBe(segments.length - 1)
    expect(values(await readAll(files, topic))).toEqual(all)
    expect(log.states()[0]?.bytes).toBe(
      await segments.reduce(
        async (sum, path) => (await sum) + ((await files.sizeOf(path)) ?? 0),
        Promise.resolve(0),
      ),
    )
    await log.close()
  })

  test('a missing or damaged index is made again', async () => {
    const files = simulated()
    const settings = { segmentBytesMax: 400 }
    const log = await openLog(files, { settings })
    const topic = await createEvents(log)
    for (let n = 0; n < 20; n++) await log.append('events', null, [record(`value-${n}`)])
    await log.close()
    const indexes = files.paths().filter((path) => path.endsWith('.index'))
    const before = await Promise.all(indexes.map((path) => files.readAll(path)))
    for (const [number, path] of indexes.entries())
      if (number % 2 === 0) files.flip(path, 30)
      else await files.unlink(path)
    expect(await readAll(files, topic)).toHaveLength(20)
    const next = await openLog(files, { settings })
    expect(await readAll(files, topic)).toHaveLength(20)
    expect(await Promise.all(indexes.map((path) => files.readAll(path)))).toEqual(before)
    await next.close()
  })

  test('a roll that the disk refused is finished before anything else is written', async () => {
    const settings = { segmentBytesMax: 400 }
    for (let seed = 0; seed < 10; seed++) {
      const files = new SimulatedFiles({ seed })
      const log = await openLog(files, { settings })
      const topic = await createEvents(log)
      await log.append('events', null, [record('x'.repeat(200))])
      files.fault = (operation) => (operation === 'create' ? 'ENOSPC' : undefined)
      expect(await codeOf(log.append('events', null, [record('y'.repeat(200))]))).toBe('OVERLOADED')
      // It would fit into the old segment, but the name of the next one may be taken already.
      await codeOf(log.append('events', null, [record('small')]))
      files.fault = () => undefined
      await log.append('events', null, [record('last')])
      await log.close()
      const next = await openLog(files, { settings })
      expect(values(await readAll(files, topic)).at(-1)).toBe('last')
      await next.close()
    }
  })
})

describe('a failing disk', () => {
  test('no room: nothing is kept, nothing is lost, and it goes on by itself', async () => {
    const files = simulated()
    const log = await openLog(files)
    const topic = await createEvents(log)
    await log.append('events', null, [record('before')])
    const size = await files.sizeOf(firstSegment)
    let used = 0
    for (const path of files.paths()) used += (await files.sizeOf(path)) ?? 0
    files.capacityBytes = used + 30
    expect(await codeOf(log.append('events', null, [record('x'.repeat(100))]))).toBe('OVERLOADED')
    expect(await files.sizeOf(firstSegment)).toBe(size)
    expect(log.states()[0]).toMatchObject({ offline: null, diskFull: true })
    files.capacityBytes = Infinity
    await log.append('events', null, [record('after')])
    expect(log.states()[0]?.diskFull).toBe(false)
    expect(values(await readAll(files, topic))).toEqual(['before', 'after'])
    await log.close()
  })

  test('that there is room again is noticed without an append, and close does not wait for it', async () => {
    const files = simulated()
    const clock = new SimulatedClock()
    const log = await openLog(files, { clock })
    await createEvents(log)
    files.capacityBytes = 0
    expect(await codeOf(log.append('events', null, [record('a')]))).toBe('OVERLOADED')
    clock.advance(1_000)
    await nextTurn()
    expect(log.states()[0]?.diskFull).toBe(true)
    files.capacityBytes = Infinity
    clock.advance(1_000)
    await nextTurn()
    expect(log.states()[0]?.diskFull).toBe(false)
    files.capacityBytes = 0
    expect(await codeOf(log.append('events', null, [record('b')]))).toBe('OVERLOADED')
    await log.close()
  })

  test('a failed sync takes the partition offline: nothing is acknowledged any more, and it is not tried again', async () => {
    const files = simulated()
    const log = await openLog(files)
    const topic = await createEvents(log)
    await log.append('events', null, [record('kept')])
    let syncs = 0
    files.fault = (operation) => {
      if (operation === 'sync') syncs++
      return operation === 'sync' && syncs === 1 ? 'EIO' : undefined
    }
    const appends = ['a', 'b'].map((value) => codeOf(log.append('events', null, [record(value)])))
    expect(await Promise.all(appends)).toEqual(['OUTCOME_UNKNOWN', 'OUTCOME_UNKNOWN'])
    expect(await codeOf(log.append('events', null, [record('c')]))).toBe('PARTITION_OFFLINE')
    expect(log.states()[0]?.offline).toContain('EIO')
    expect(values(await readAll(files, topic))).toEqual(['kept'])
    await log.close()
    expect(syncs).toBe(1)
  })

  test('what waits while the partition goes offline takes up no room afterwards: who asks is told at once', async () => {
    const files = simulated()
    const log = await openLog(files, { settings: { pendingBytesMax: 1000 } })
    await createEvents(log)
    let late: Promise<unknown> | undefined
    files.fault = (operation) => {
      if (operation !== 'sync') return undefined
      late ??= codeOf(log.append('events', null, [record('x'.repeat(600))]))
      return 'EIO'
    }
    expect(await codeOf(log.append('events', null, [record('a')]))).toBe('OUTCOME_UNKNOWN')
    expect(await late).toBe('OUTCOME_UNKNOWN')
    expect(log.states()[0]).toMatchObject({ pendingBytes: 0 })
    expect(log.hasRoom('events', 0, 600)).toBe(true)
    await log.close()
  })

  test('after a failed sync the next start writes the tail once more, so that what it shows survives', async () => {
    const files = simulated()
    const log = await openLog(files)
    const topic = await createEvents(log)
    files.fault = (operation) => (operation === 'sync' ? 'EIO' : undefined)
    expect(await codeOf(log.append('events', null, [record('unsure')]))).toBe('OUTCOME_UNKNOWN')
    files.fault = () => undefined
    files.kill()
    const second = await openLog(files)
    expect(values(await readAll(files, topic))).toEqual(['unsure'])
    expect(second.states()[0]?.offline).toBeNull()
    await second.append('events', null, [record('sure')])
    files.crash()
    const third = await openLog(files)
    expect(values(await readAll(files, topic))).toEqual(['unsure', 'sure'])
    await third.close()
  })

  test('a write error other than a full disk takes the partition offline', async () => {
    const files = simulated()
    const log = await openLog(files)
    await createEvents(log)
    files.fault = (operation) => (operation === 'append' ? 'EIO' : undefined)
    expect(await codeOf(log.append('events', null, [record('a')]))).toBe('OUTCOME_UNKNOWN')
    files.fault = () => undefined
    expect(await codeOf(log.append('events', null, [record('b')]))).toBe('PARTITION_OFFLINE')
    await log.close()
  })

  test('a watermark file that cannot be written means that nothing is acknowledged', async () => {
    const files = simulated()
    const log = await openLog(files)
    const topic = await createEvents(log)
    files.fault = (operation) => (operation === 'shared' ? 'EIO' : undefined)
    expect(await codeOf(log.append('events', null, [record('a')]))).toBe('OUTCOME_UNKNOWN')
    files.fault = () => undefined
    await log.append('events', null, [record('b')])
    expect(values(await readAll(files, topic))).toEqual(['a', 'b'])
    await log.close()
  })

  test('what a watermark file that cannot be written keeps from readers is not answered, not even to a retry', async () => {
    const files = simulated()
    const clock = new SimulatedClock()
    const log = await openLog(files, { clock })
    const topic = await createEvents(log)
    const batch = () => clientBatch({ values: ['a'], producerId: 1, sequence: 0 })
    const produce = () => codeOf(log.appendBatches('events', 0, batch(), 'acknowledged'))
    files.fault = (operation) => (operation === 'shared' ? 'EIO' : undefined)
    expect(await produce()).toBe('OUTCOME_UNKNOWN')
    expect(await produce()).toBe('OVERLOADED')
    expect(await codeOf(log.append('events', null, [record('b')]))).toBe('OVERLOADED')
    expect(values(await readAll(files, topic))).toEqual([])
    expect(log.states()[0]).toMatchObject({ endOffset: 1, pendingBytes: 0 })
    files.fault = () => undefined
    expect(await produce()).toBeUndefined()
    expect(values(await readAll(files, topic))).toEqual(['a'])
    await log.close()
  })

  test('a watermark file that can be written again shows what is kept, although nothing more comes', async () => {
    const files = simulated()
    const clock = new SimulatedClock()
    const log = await openLog(files, { clock })
    const topic = await createEvents(log)
    files.fault = (operation) => (operation === 'shared' ? 'EIO' : undefined)
    expect(await codeOf(log.append('events', null, [record('a')]))).toBe('OUTCOME_UNKNOWN')
    let advanced = 0
    log.onAdvance(() => advanced++)
    clock.advance(1_000)
    await nextTurn()
    expect(values(await readAll(files, topic))).toEqual([])
    files.fault = () => undefined
    clock.advance(1_000)
    await nextTurn()
    expect(values(await readAll(files, topic))).toEqual(['a'])
    expect(advanced).toBe(1)
    await log.close()
  })

  test('a folder that cannot be written is DATA_UNUSABLE', async () => {
    const files = simulated()
    files.fault = (operation) => (operation === 'create' ? 'EACCES' : undefined)
    expect(await codeOf(openLog(files))).toBe('DATA_UNUSABLE')
  })
})

describe('durability os', () => {
  const settings = { durability: 'os', osSyncIntervalMs: 1_000 } as const

  test('acknowledges after the write, syncs in the background at its interval', async () => {
    const files = simulated()
    const clock = new SimulatedClock()
    const log = await openLog(files, { settings, clock })
    const topic = await createEvents(log)
    const reader = new LogReader(files, logFolder)
    let synced: () => void = () => {}
    files.fault = (operation) => {
      if (operation === 'shared') synced()
      return undefined
    }
    await log.append('events', null, [record('a')])
    expect(watermarkOf(reader, topic)).toMatchObject({ visibleOffset: 1, syncedOffset: 0 })
    await log.append('events', null, [record('b')])
    const published = new Promise<void>((resolve) => (synced = resolve))
    clock.advance(1_000)
    await published
    expect(watermarkOf(reader, topic)).toMatchObject({ visibleOffset: 2, syncedOffset: 2 })
    await log.close()
  })

  test('close syncs what was only written', async () => {
    const files = simulated()
    const log = await openLog(files, { settings })
    const topic = await createEvents(log)
    await log.append('events', null, [record('a')])
    await log.close()
    files.crash()
    const next = await openLog(files, { settings })
    expect(values(await readAll(files, topic))).toEqual(['a'])
    await next.close()
  })

  test('a failed background sync takes the partition offline', async () => {
    const files = simulated()
    const clock = new SimulatedClock()
    const log = await openLog(files, { settings, clock })
    const topic = await createEvents(log)
    await log.append('events', null, [record('a')])
    const offline = new Promise<void>((resolve) => {
      files.fault = (operation) => {
        if (operation === 'shared') resolve()
        return operation === 'sync' ? 'EIO' : undefined
      }
    })
    clock.advance(1_000)
    await offline
    expect(await codeOf(log.append('events', null, [record('b')]))).toBe('PARTITION_OFFLINE')
    const reader = new LogReader(files, logFolder)
    expect(watermarkOf(reader, topic)).toMatchObject({ syncedOffset: 0, offline: true })
    await log.close()
  })
})
