import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { QuestlogError } from '../../src/core/errors.ts'
import { decodeRecords } from '../../src/log/record-batch.ts'
import type { Topic } from '../../src/log/record.ts'
import { LogReader } from '../../src/log/reader.ts'
import { SimulatedFiles } from '../support/simulated-files.ts'
import { createEvents, logFolder, openLog, record, values, watermarkOf } from './support.ts'

// A log with several segments, one file of which is damaged in any way: what is read of it is what was written, or an error that says what is wrong.

/** More by QUESTLOG_FUZZ_RUNS. */
const runs = Number(process.env['QUESTLOG_FUZZ_RUNS'] ?? 150)

const written = Array.from({ length: 60 }, (_, n) => `${n} ${'x'.repeat(n % 40)}`)

async function writeLog(): Promise<{ files: SimulatedFiles; topic: Topic }> {
  const files = new SimulatedFiles({ seed: 1 })
  const log = await openLog(files, { settings: { segmentBytesMax: 1_500 } })
  const topic = await createEvents(log)
  for (let at = 0; at < written.length; at += 3)
    await log.append('events', null, written.slice(at, at + 3).map(record))
  await log.close()
  return { files, topic }
}

/** A change of the bytes of a file. */
const damage: fc.Arbitrary<(bytes: Buffer) => Buffer> = fc.oneof(
  fc.tuple(fc.nat(), fc.nat({ max: 7 })).map(([place, bit]) => (bytes: Buffer) => {
    const at = place % Math.max(1, bytes.length)
    bytes[at] = (bytes[at] ?? 0) ^ (1 << bit)
    return bytes
  }),
  fc.nat().map((place) => (bytes: Buffer) => bytes.subarray(0, place % (bytes.length + 1))),
  fc
    .tuple(fc.nat(), fc.uint8Array({ minLength: 1, maxLength: 80 }))
    .map(([place, more]) => (bytes: Buffer) => {
      const at = place % (bytes.length + 1)
      return Buffer.concat([bytes.subarray(0, at), more, bytes.subarray(at)])
    }),
  fc.tuple(fc.nat(), fc.nat({ max: 200 })).map(([place, length]) => (bytes: Buffer) => {
    const at = place % (bytes.length + 1)
    return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + length)])
  }),
  // The length of a batch, which no checksum covers.
  fc.tuple(fc.nat(), fc.integer()).map(([place, value]) => (bytes: Buffer) => {
    if (bytes.length >= 12)
      bytes.writeInt32BE(value | 0, place % 2 === 0 ? 8 : place % (bytes.length - 4))
    return bytes
  }),
)

const damages = fc.array(damage, { minLength: 1, maxLength: 3 })

async function damageFile(
  files: SimulatedFiles,
  place: number,
  changes: readonly ((bytes: Buffer) => Buffer)[],
): Promise<string> {
  const paths = files.paths().filter((path) => path.startsWith(logFolder))
  const path = paths[place % paths.length] ?? ''
  let bytes = Buffer.from(await files.readAll(path))
  for (const change of changes) bytes = Buffer.from(change(bytes))
  files.overwrite(path, bytes)
  return path
}

/** Everything that can be read before an error; the error must be one of the catalog that speaks of the disk. */
async function readUntilRefused(files: SimulatedFiles, topic: Topic): Promise<string[]> {
  const read: string[] = []
  const reader = new LogReader(files, logFolder)
  try {
    if (reader.watermark() === undefined) return read
    const upTo = watermarkOf(reader, topic)
    for (let offset = upTo.startOffset; offset < upTo.visibleOffset;) {
      const slice = await reader.read(topic, 0, offset, upTo, 400)
      read.push(...values(slice.batches.flatMap(decodeRecords)))
      if (slice.nextOffset <= offset) throw new Error('the reader does not move')
      offset = slice.nextOffset
    }
  } catch (error) {
    expectDamage(error)
  } finally {
    await reader.close()
  }
  return read
}

function expectDamage(error: unknown): void {
  if (!(error instanceof QuestlogError)) throw error
  expect(['LOG_DAMAGED', 'FORMAT_UNKNOWN']).toContain(error.code)
}

/** In order, each once, and nothing else. */
function expectSubsequence(read: readonly string[]): void {
  const places = read.map((value) => written.indexOf(value))
  expect(places).not.toContain(-1)
  expect(places).toEqual([...new Set(places)].toSorted((one, other) => one - other))
}

test('a reader gives what was written up to the damage, and then says LOG_DAMAGED', async () => {
  await fc.assert(
    fc.asyncProperty(fc.nat(), damages, async (place, changes) => {
      const { files, topic } = await writeLog()
      await damageFile(files, place, changes)
      const read = await readUntilRefused(files, topic)
      expect(read).toEqual(written.slice(0, read.length))
    }),
    { numRuns: runs },
  )
})

test.each([0, 1, 30])(
  'a batch whose base offset is damaged to one of the next segment, or to one %i beyond its first, neither replaces that with --repair nor comes behind it',
  async (beyond) => {
    const { files, topic } = await writeLog()
    const segments = files.paths().filter((path) => path.endsWith('.log'))
    const [first = '', second = ''] = segments
    const nextBase = Number(/(\d{20})\.log$/.exec(second)?.[1])
    const bytes = Buffer.from(await files.readAll(first))
    const places: number[] = []
    for (let at = 0; at < bytes.length; at += 12 + bytes.readInt32BE(at + 8)) places.push(at)
    const [before = 0, last = 0] = places.slice(-2)
    bytes[before + 30] = (bytes[before + 30] ?? 0) ^ 1
    bytes.writeBigInt64BE(BigInt(nextBase + beyond), last)
    files.overwrite(first, bytes)
    const log = await openLog(files, { repair: true })
    await log.append('events', null, [record('after')])
    const kept = written.filter((_, n) => n < nextBase - 6 || n >= nextBase)
    expect(await readUntilRefused(files, topic)).toEqual([...kept, 'after'])
    await log.close()
  },
)

test('a start refuses a damaged log or keeps all of it; with --repair it keeps what is whole, in order, and goes on', async () => {
  await fc.assert(
    fc.asyncProperty(fc.nat(), damages, async (place, changes) => {
      const { files, topic } = await writeLog()
      const path = await damageFile(files, place, changes)
      const opened = await openLog(files).catch((error: unknown) => expectDamage(error))
      await opened?.close()
      const log = await openLog(files, { repair: true }).catch((error: unknown) => {
        expectDamage(error) // of the meta file, which nothing can be told without, or a version that this program does not know
        expect(path).toMatch(/meta|watermark/)
      })
      if (log === undefined || log.topic('events')?.id !== topic.id) return log?.close()
      await log.append('events', null, [record('after')])
      const read = await readUntilRefused(files, topic)
      expect(read.at(-1)).toBe('after')
      expectSubsequence(read.slice(0, -1))
      await log.close()
    }),
    { numRuns: runs },
  )
})
