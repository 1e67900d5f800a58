import { expect, test } from 'vitest'
import { realFiles } from '../../src/core/files.ts'
import { PartitionFetch } from '../../src/log/fetch.ts'
import { OpenSegments } from '../../src/log/open-segments.ts'
import { batchIn, placeBatch } from '../../src/log/record-batch.ts'
import { SegmentIndex } from '../../src/log/segment-index.ts'
import { clientBatch } from './client-batch.ts'

const batches = 20_000

/** A segment in memory, of batches with one short record. */
function smallBatches(): { bytes: Buffer; index: SegmentIndex } {
  const one = clientBatch({ values: ['x'] })
  const bytes = Buffer.alloc(batches * one.length)
  const index = new SegmentIndex(0)
  for (let offset = 0; offset < batches; offset++) {
    const at = offset * one.length
    one.copy(bytes, at)
    const batch = bytes.subarray(at, at + one.length)
    placeBatch(batch, offset)
    index.note(batchIn(batch), at)
  }
  return { bytes, index }
}

test.each(['active', 'sealed'])(
  'many small batches of the %s segment are looked at in turns',
  async (kind) => {
    const { bytes, index } = smallBatches()
    const file = {
      read: async (position: number, length: number) => bytes.subarray(position, position + length),
      size: async () => bytes.length,
      close: async () => {},
    }
    const files = { ...realFiles, openRead: async () => file, sizeOf: async () => undefined }
    const isActive = kind === 'active'
    const view = new PartitionFetch(files, new OpenSegments(files, 1), {
      folder: '/data/log/events-0',
      topicName: 'events',
      partition: {
        offline: null,
        watermark: () => ({
          topicId: '00000000-0000-4000-8000-000000000001',
          partition: 0,
          visibleOffset: batches,
          highWatermark: batches,
          syncedOffset: batches,
          segmentBaseOffset: 0,
          position: bytes.length,
          startOffset: 0,
          missingOffsets: 0,
          excludedOffsets: 0,
          removedRecords: 0,
          removedExcluded: 0,
          offline: false,
        }),
        sealed: isActive ? [] : [index.extent],
        activeIndex: isActive ? index : new SegmentIndex(batches),
      },
      abortedIn: () => [],
    })
    const read = () =>
      view.read(0, { maxBytes: bytes.length, atLeastOne: true, isolation: 'uncommitted' })
    await read() // opens the segment
    let turns = 0
    let isDone = false
    const turn = () => {
      turns++
      if (!isDone) setImmediate(turn)
    }
    setImmediate(turn)
    const found = await read()
    isDone = true
    expect(found.bytes).toHaveLength(bytes.length)
    expect(turns).toBeGreaterThanOrEqual(isActive ? 4 : 8)
  },
)
