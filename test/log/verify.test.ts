import { describe, expect, test } from 'vitest'
import { verifyLog } from '../../src/cli/log-verify.ts'
import { LogReader } from '../../src/log/reader.ts'
import { SegmentIndex } from '../../src/log/segment-index.ts'
import { verifyPartition } from '../../src/log/verify.ts'
import { SimulatedFiles } from '../support/simulated-files.ts'
import { codeOf, createEvents, firstSegment, logFolder, openLog, record } from './support.ts'

const batchBytes = 75
const secondSegment = firstSegment.replace('00.log', '04.log')
const lastSegment = firstSegment.replace('00.log', '08.log')
const indexOf = (segment: string) => segment.replace('.log', '.index')

/** Ten batches of one record in segments of four. */
async function filled(close = true) {
  const files = new SimulatedFiles({ seed: 1 })
  const log = await openLog(files, { settings: { segmentBytesMax: 350 } })
  const topic = await createEvents(log)
  for (let n = 0; n < 10; n++) await log.append('events', null, [record(`value-${n}`)])
  if (close) await log.close()
  const reader = new LogReader(files, logFolder)
  const verify = (running = !close) =>
    verifyPartition({ files, reader, folder: logFolder, topic, partition: 0, running })
  return { files, log, topic, verify }
}

describe('a whole log', () => {
  test('is whole, running and stopped', async () => {
    for (const close of [true, false]) {
      const { verify } = await filled(close)
      expect(await verify()).toEqual({
        topic: 'events',
        partition: 0,
        segments: 3,
        records: 10,
        bytes: 10 * batchBytes,
        startOffset: 0,
        endOffset: 10,
        missingOffsets: 0,
        damages: [],
        remarks: [],
      })
    }
  })

  test('may be written to meanwhile: what is beyond the watermark is not looked at', async () => {
    const { files, log, verify } = await filled(false)
    const good = await files.readAll(lastSegment)
    files.overwrite(lastSegment, Buffer.concat([good, Buffer.from('half a batch')]))
    expect(await verify()).toMatchObject({ endOffset: 10, damages: [], remarks: [] })
    await log.close()
  })

  test('may have a gap, which is told', async () => {
    const { files, topic, verify } = await filled()
    const floors = new Map([[topic.id, new Map([[0, 20]])]])
    const log = await openLog(files, { floors })
    await log.append('events', null, [record('after')])
    await log.close()
    expect(await verify()).toMatchObject({ records: 11, missingOffsets: 10, damages: [] })
  })

  test('may end with a torn tail or lack an index: the next start puts that right', async () => {
    const { files, verify } = await filled()
    const good = await files.readAll(lastSegment)
    files.overwrite(lastSegment, Buffer.concat([good, good.subarray(0, 70)]))
    await files.unlink(indexOf(firstSegment))
    files.flip(indexOf(secondSegment), 20)
    const { damages, remarks, records } = await verify()
    expect({ damages, records }).toEqual({ damages: [], records: 10 })
    expect(remarks).toEqual([
      `${indexOf(firstSegment)} is missing; the next start makes it anew`,
      `${indexOf(secondSegment)} is torn or stale; the next start makes it anew`,
      `${lastSegment}: 70 bytes at the end were never acknowledged; the next start cuts them off`,
    ])
  })

  test('that retention has shortened is whole', async () => {
    const { log, verify } = await filled(false)
    await log.declareConfigs('events', { 'retention.bytes': '0' })
    for (const due of log.retentionDue())
      await log.removeSegments(due.topicId, due.partition, due.startOffset)
    expect(await verify()).toMatchObject({
      segments: 1,
      startOffset: 8,
      endOffset: 10,
      damages: [],
    })
    await log.close()
  })
})

describe('damage', () => {
  test('in any byte of any segment is found, with the place of its batch', async () => {
    for (let at = 0; at < 4 * batchBytes; at++) {
      const { files, verify } = await filled()
      files.flip(secondSegment, at)
      const { damages, records } = await verify()
      const position = at - (at % batchBytes)
      expect(damages).toMatchObject([{ file: secondSegment, position }])
      expect(records).toBe(9)
    }
  })

  test('at the end of what was synced is no torn tail', async () => {
    const { files, verify } = await filled()
    const good = await files.readAll(lastSegment)
    files.overwrite(lastSegment, good.subarray(0, batchBytes + 10))
    expect((await verify()).damages).toMatchObject([
      { file: lastSegment, position: batchBytes },
      { reason: 'the log ends at offset 9, but everything below 10 was synced' },
    ])
  })

  test('of a sealed segment that became shorter is found', async () => {
    const { files, verify } = await filled()
    files.overwrite(secondSegment, (await files.readAll(secondSegment)).subarray(0, batchBytes))
    expect((await verify()).damages).toMatchObject([
      {
        file: secondSegment,
        position: batchBytes,
        reason: 'it was sealed with 300 bytes and has 75',
      },
    ])
  })

  test('of a segment that is gone is found', async () => {
    const { files, verify } = await filled()
    await files.unlink(secondSegment)
    expect((await verify()).damages).toMatchObject([{ reason: 'segments with 4 offsets are gone' }])
    await files.unlink(firstSegment)
    expect((await verify()).damages).toMatchObject([
      { file: firstSegment, reason: 'segments with the offsets from 0 to 7 are gone' },
    ])
  })

  test('of an index that leads astray is found', async () => {
    const { files, verify } = await filled()
    const astray = new SegmentIndex(4)
    const zeros = Buffer.alloc(4 * batchBytes)
    const batch = { baseOffset: 4, nextOffset: 9, recordCount: 5, baseTimestampMs: 0 }
    astray.note({ ...batch, maxTimestampMs: 0, attributes: 0, producerId: -1, bytes: zeros }, 0)
    files.overwrite(indexOf(secondSegment), astray.encode())
    expect((await verify()).damages).toEqual([
      { file: indexOf(secondSegment), position: 0, reason: 'it does not agree with its segment' },
    ])
  })

  test('of two segments that overlap is found', async () => {
    const { files, verify } = await filled()
    const [from, to] = [await files.readAll(firstSegment), firstSegment.replace('00.log', '02.log')]
    files.overwrite(to, from.subarray(2 * batchBytes))
    expect((await verify()).damages).toMatchObject([
      { file: to, reason: 'it begins at offset 2, but those before reach 4' },
    ])
  })
})

test('the command prints a line a partition, then each damage with file and position', async () => {
  const { files } = await filled()
  const verify = async (topic?: string) => {
    const lines: string[] = []
    const write = (line: string) => void lines.push(line)
    const damages = await verifyLog({ files, data: '/data', topic, running: false, write })
    return [...lines, String(damages)]
  }
  const counts = 'events/0: 3 segments, 10 records, 750 B, offsets 0 to 9'
  expect(await verify('events')).toEqual([`${counts} — whole`, 'the log is whole', '0'])
  expect(await codeOf(verify('event'))).toBe('TOPIC_UNKNOWN')
  files.flip(firstSegment, 2 * batchBytes + 70)
  expect(await verify()).toEqual([
    'events/0: 3 segments, 9 records, 750 B, offsets 0 to 9, 1 offset without a record — DAMAGED',
    `! ${firstSegment} at byte 150: the bytes there are no valid record batch; the next one begins at offset 3`,
    '1 damage; `questlog up --repair` sets damaged bytes aside and keeps the rest',
    '1',
  ])
})
