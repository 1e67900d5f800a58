import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { consumeTopic } from '../../src/cli/consumer.ts'
import { tailGroup } from '../../src/cli/group-tail.ts'
import { formatRecordJson, tailTopic, type TailOptions } from '../../src/cli/tail.ts'
import { realClock } from '../../src/core/clock.ts'
import { realFiles } from '../../src/core/files.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { resolveSettings } from '../../src/core/settings.ts'
import { openEventLog, type EventLog } from '../../src/log/event-log.ts'
import { LogReader } from '../../src/log/reader.ts'
import { batchOverheadBytes, sealBatch } from '../../src/log/record-batch.ts'
import type { LogRecord } from '../../src/log/record.ts'
import { start as startBroker, stopAll } from '../kafka/harness.ts'
import { clientBatch } from '../log/client-batch.ts'

let folder = ''
let log: EventLog
let reader: LogReader

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'questlog-tail-'))
  log = await openEventLog({
    files: realFiles,
    clock: realClock,
    logger: silentLogger,
    folder,
    settings: resolveSettings({ durability: 'os' }),
    floors: new Map(),
    repair: false,
  })
  await log.createTopic({ name: 'events', partitions: 1 })
  reader = new LogReader(realFiles, folder)
})
afterEach(async () => {
  await stopAll()
  await reader.close()
  await log.close()
  rmSync(folder, { recursive: true, force: true })
})

async function append(...values: string[]): Promise<void> {
  for (const value of values)
    await log.append('events', null, [{ key: null, value: Buffer.from(value), headers: [] }])
}

interface Printed {
  readonly lines: string[]
  readonly ends: string[]
  readonly skips: string[]
}

async function tail(changes: Partial<TailOptions>): Promise<Printed> {
  const [topic] = await reader.topics()
  if (topic === undefined) throw new Error('no topic')
  let text = ''
  const ends: string[] = []
  const skips: string[] = []
  await tailTopic({
    reader,
    clock: realClock,
    topic,
    only: undefined,
    start: { kind: 'beginning' },
    countMax: Infinity,
    follow: false,
    format: (_, record) => Buffer.concat([record.value ?? Buffer.alloc(0), Buffer.from('\n')]),
    write: async (bytes) => void (text += Buffer.from(bytes).toString()),
    reachedEnd: (line) => ends.push(line),
    skipped: (line) => skips.push(line),
    ...changes,
  })
  return { lines: text.split('\n').slice(0, -1), ends, skips }
}

test('from the beginning, an offset, the last ones, the end; stopped at the end or after a count', async () => {
  await append('a', 'b', 'c', 'd', 'e')
  expect(await tail({})).toEqual({
    lines: ['a', 'b', 'c', 'd', 'e'],
    ends: ['% Reached end of topic events [0] at offset 5: exiting'],
    skips: [],
  })
  expect((await tail({ start: { kind: 'offset', offset: 4 } })).lines).toEqual(['e'])
  expect((await tail({ start: { kind: 'last', count: 2 } })).lines).toEqual(['d', 'e'])
  expect((await tail({ start: { kind: 'last', count: 99 } })).lines).toHaveLength(5)
  expect((await tail({ start: { kind: 'end' } })).lines).toEqual([])
  expect(await tail({ countMax: 2 })).toMatchObject({ lines: ['a', 'b'], ends: [] })
})

test('one offset in the middle of a batch prints what follows only', async () => {
  const values = ['1', '2', '3'].map((value) => ({
    key: null,
    value: Buffer.from(value),
    headers: [],
  }))
  await log.append('events', null, values)
  expect((await tail({ start: { kind: 'offset', offset: 1 } })).lines).toEqual(['2', '3'])
  expect((await tail({ start: { kind: 'offset', offset: 1 }, countMax: 1 })).lines).toEqual(['2'])
})

test('it follows what is answered while it runs', async () => {
  await append('a')
  const stop = new AbortController()
  const seen: string[] = []
  const running = tail({
    follow: true,
    signal: stop.signal,
    write: async (bytes) => {
      seen.push(...Buffer.from(bytes).toString().split('\n').slice(0, -1))
      if (seen.length === 1) await append('b', 'c')
      if (seen.length === 3) stop.abort()
    },
  })
  await running
  expect(seen).toEqual(['a', 'b', 'c'])
})

/** A batch of as many values with a right CRC, whose records nobody can read. */
async function appendMalformed(...values: string[]): Promise<void> {
  const bytes = clientBatch({ values })
  bytes[batchOverheadBytes] = 0x7f // the length of the first record
  sealBatch(bytes)
  await log.appendBatches('events', 0, bytes, 'acknowledged')
}

test('records that can not be read are skipped, which is said, and what follows is printed', async () => {
  await append('a')
  await appendMalformed('x', 'y')
  await append('b')
  await appendMalformed('z')
  const { lines, ends, skips } = await tail({})
  expect(lines).toEqual(['a', 'b'])
  expect(ends).toEqual(['% Reached end of topic events [0] at offset 5: exiting'])
  const malformed = (offset: number) =>
    `the record batch at offset ${offset} is malformed: a record is longer than its batch`
  expect(skips).toEqual([
    `% Skipped topic events [0] offsets 1 to 2: ${malformed(1)}`,
    `% Skipped topic events [0] offset 4: ${malformed(4)}`,
  ])
  expect(await tail({ start: { kind: 'offset', offset: 2 }, countMax: 1 })).toMatchObject({
    lines: ['b'],
    skips: [`% Skipped topic events [0] offset 2: ${malformed(1)}`],
  })
})

test('what a broker answers is read past records that can not be read as well', async () => {
  await append('a')
  await appendMalformed('x', 'y')
  await append('b')
  const { client: open } = await startBroker({ log })
  const client = await open()
  const printed = { lines: [] as string[], skips: [] as string[] }
  const common = {
    client,
    topic: 'events',
    countMax: Infinity,
    follow: false,
    format: (_: number, { value }: LogRecord) => value ?? Buffer.alloc(0),
    write: async (bytes: Uint8Array) => void printed.lines.push(Buffer.from(bytes).toString()),
    reachedEnd: () => {},
    skipped: (line: string) => printed.skips.push(line),
  }
  await consumeTopic({ ...common, only: undefined, start: { kind: 'beginning' } })
  const { signal } = new AbortController()
  await tailGroup({ ...common, clock: realClock, group: 'g', begin: 'beginning', signal })
  expect(printed.lines.join('')).toBe('abab')
  expect(printed.skips).toHaveLength(2)
  for (const line of printed.skips)
    expect(line).toContain(
      '% Skipped topic events [0] offsets 1 to 2: the record batch at offset 1',
    )
})

test('an empty topic ends at once', async () => {
  expect(await tail({})).toMatchObject({ lines: [] })
})

test('the JSON form tells where and when, with headers as pairs', () => {
  const record = {
    offset: 7,
    timestampMs: 1_532_644_587_000,
    key: Buffer.from('k'),
    value: Buffer.from('{"a":"é"}'),
    headers: [
      { key: 'id', value: Buffer.from('x') },
      { key: 'none', value: null },
    ],
  }
  expect(JSON.parse(formatRecordJson('events', 0, record))).toEqual({
    topic: 'events',
    partition: 0,
    offset: 7,
    timestamp: 1_532_644_587_000,
    key: 'k',
    headers: [
      ['id', 'x'],
      ['none', null],
    ],
    value: '{"a":"é"}',
  })
  expect(formatRecordJson('t', 1, { ...record, key: null, value: null })).toContain('"value":null')
})
