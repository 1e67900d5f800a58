import { mkdtemp, open, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { realClock } from '../../src/core/clock.ts'
import { realFiles, type Files } from '../../src/core/files.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { resolveSettings } from '../../src/core/settings.ts'
import { openEventLog, type EventLog } from '../../src/log/event-log.ts'
import { indexPath, segmentPath } from '../../src/log/layout.ts'
import { SegmentIndex } from '../../src/log/segment-index.ts'

const MiB = 1024 * 1024
const segmentBytes = 128 * MiB
const sealedSegments = 160
/** What a group commit of a few events takes: as many index entries as there can be. */
const batchBytes = 4096

/** The machine's files; counts the bytes that are read and the files that are opened for it. */
class CountingFiles {
  bytesRead = 0
  readonly files: Files

  constructor() {
    const count = (bytes: Buffer) => {
      this.bytesRead += bytes.length
      return bytes
    }
    this.files = {
      ...realFiles,
      readAll: async (path) => count(await realFiles.readAll(path)),
      openRead: async (path) => {
        const file = await realFiles.openRead(path)
        return {
          read: async (position, length) => count(await file.read(position, length)),
          size: () => file.size(),
          close: () => file.close(),
        }
      },
    }
  }
}

function openLog(files: Files, folder: string): Promise<EventLog> {
  return openEventLog({
    files,
    clock: realClock,
    logger: silentLogger,
    folder,
    settings: resolveSettings(),
    floors: new Map(),
    repair: false,
  })
}

/** A sealed segment of one record a batch: its bytes are a hole in the file, its index is a real one. */
async function writeSealed(folder: string, baseOffset: number): Promise<number> {
  const index = new SegmentIndex(baseOffset)
  const bytes = Buffer.alloc(batchBytes)
  for (let position = 0; position < segmentBytes; position += batchBytes) {
    const offset = index.endOffset
    const times = { baseTimestampMs: 1, maxTimestampMs: 1, attributes: 0, producerId: -1 }
    const batch = { baseOffset: offset, nextOffset: offset + 1, recordCount: 1, ...times, bytes }
    index.note(batch, position)
  }
  index.written(1)
  const path = segmentPath(folder, baseOffset)
  const file = await open(path, 'wx')
  await file.truncate(segmentBytes)
  await file.close()
  await writeFile(indexPath(path), index.encode())
  return index.endOffset
}

test('a log of 20 GB is ready after a kill when its indexes and its last segment are read', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'questlog-recovery-'))
  try {
    const first = await openLog(realFiles, folder)
    await first.createTopic({ name: 'events', partitions: 1 })
    await first.close()
    const partition = join(folder, 'events-0')
    await rm(segmentPath(partition, 0))
    let offset = 0
    for (let segment = 0; segment < sealedSegments; segment++)
      offset = await writeSealed(partition, offset)
    await writeFile(segmentPath(partition, offset), '')
    const before = await openLog(realFiles, folder)
    const record = { key: null, value: Buffer.alloc(100_000, 'x'), headers: [] }
    for (let n = 0; n < 100; n++) await before.append('events', null, [record])
    const lastBytes = (before.states()[0]?.bytes ?? 0) - sealedSegments * segmentBytes
    // Not closed: as after kill -9. (The watermark is there, as it is then.)
    const counting = new CountingFiles()
    const startMs = performance.now()
    const log = await openLog(counting.files, folder)
    const tookMs = performance.now() - startMs
    expect(log.states()[0]).toMatchObject({
      startOffset: 0,
      endOffset: offset + 100,
      missingOffsets: 0,
      bytes: sealedSegments * segmentBytes + lastBytes,
    })
    // An entry of an index is an offset, a position and a time: 16 bytes.
    const indexBytes = sealedSegments * (56 + 16 * (segmentBytes / batchBytes))
    console.log(
      `${Math.round((sealedSegments * segmentBytes) / 1e9)} GB, ${sealedSegments + 1} segments: ready in ${Math.round(tookMs)} ms, ${counting.bytesRead} bytes read`,
    )
    expect(counting.bytesRead).toBeLessThanOrEqual(indexBytes + lastBytes + MiB)
    await log.close()
    await before.close()
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
})
