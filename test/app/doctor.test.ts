import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import {
  checkClock,
  checkData,
  checkLeftovers,
  checkNode,
  checkNotes,
  checkSpace,
  checkSyncs,
  judgeSyncs,
} from '../../src/app/doctor.ts'
import type { Clock } from '../../src/core/clock.ts'
import { realClock } from '../../src/core/clock.ts'
import { realFiles } from '../../src/core/files.ts'
import { acquireLock } from '../../src/core/lock.ts'

let root = ''
let data = ''
let environment: NodeJS.ProcessEnv = {}

beforeEach(() => {
  root = realpathSync(mkdtempSync(join(tmpdir(), 'questlog-doctor-')))
  environment = { XDG_RUNTIME_DIR: root }
  data = join(root, 'data')
  for (const name of ['run', 'log', 'lake/default/swords/metadata', 'definitions'])
    mkdirSync(join(data, name), { recursive: true })
})
afterEach(() => rmSync(root, { recursive: true, force: true }))

test('Node 20.19 and newer are right, older ones are bad', () => {
  for (const version of ['20.19.0', '20.20.1', '22.0.0', '24.1.0'])
    expect(checkNode(version).level).toBe('ok')
  for (const version of ['18.20.0', '20.18.3'])
    expect(checkNode(version)).toMatchObject({ level: 'bad', advice: expect.any(String) })
})

test('the speed of syncs is judged by their median; what is too fast for a disk is told', async () => {
  expect(judgeSyncs([90, 1, 1, 1, 90]).level).toBe('ok')
  expect(judgeSyncs([30, 31, 1]).level).toBe('look')
  expect(judgeSyncs([0.001, 0.002, 9])).toMatchObject({
    level: 'look',
    text: expect.stringContaining('too fast for a disk'),
  })
  expect((await checkSyncs(realFiles, realClock, data)).level).not.toBe('bad')
  expect(await realFiles.list(data)).toEqual(['definitions', 'lake', 'log', 'run'])
})

test('a disk that takes two seconds ends the measurement, one that fails is bad', async () => {
  let nowMs = 0
  let syncs = 0
  const clock: Clock = { ...realClock, monotonicMs: () => nowMs }
  const slow = {
    ...realFiles,
    openAppend: async (path: string) => {
      const file = await realFiles.openAppend(path)
      return {
        path,
        size: 0,
        append: (bytes: Uint8Array) => file.append(bytes),
        sync: async () => {
          nowMs += 900
          syncs++
        },
        truncate: (size: number) => file.truncate(size),
        close: () => file.close(),
      }
    },
  }
  expect(await checkSyncs(slow, clock, data)).toMatchObject({
    level: 'look',
    text: 'a sync of 4 KiB takes 9.0e+2 ms (median of 3): slow, and every answer waits for one',
  })
  expect(syncs).toBe(3)
  expect(await checkSyncs(realFiles, realClock, join(data, 'nothing'))).toMatchObject({
    level: 'bad',
  })
})

test('free space is told in time', async () => {
  const withFree = (bytes: number) => ({ ...realFiles, freeBytes: async () => bytes })
  const level = async (bytes: number) => (await checkSpace(withFree(bytes), data, 1e9)).level
  expect([await level(2e9), await level(0.9e9), await level(1e8)]).toEqual(['ok', 'look', 'bad'])
})

test('a clock that jumps, and one that was never set, are told', async () => {
  let wallMs = Date.parse('2026-11-21T12:00:00Z')
  let steadyMs = 0
  let jumpMs = 0
  const clock: Clock = {
    nowMs: () => wallMs,
    monotonicMs: () => steadyMs,
    sleep: async (delayMs) => {
      steadyMs += delayMs
      wallMs += delayMs + jumpMs
    },
    after: () => () => {},
  }
  expect((await checkClock(clock)).level).toBe('ok')
  jumpMs = -3_600_000
  expect(await checkClock(clock)).toMatchObject({
    level: 'look',
    text: 'the clock jumped by -3600000 ms within 100 ms',
  })
  jumpMs = 0
  wallMs = 0
  expect((await checkClock(clock)).level).toBe('bad')
})

test('notes that a crash left are named; a lock that is held although nothing runs is bad', () => {
  expect(checkNotes(data, environment)).toMatchObject({ level: 'ok', text: 'nothing runs here' })
  writeFileSync(join(data, 'run/instance.json'), '{}')
  expect(checkNotes(data, environment)).toMatchObject({
    level: 'look',
    text: expect.stringContaining(join(data, 'run/instance.json')),
  })
  const lock = acquireLock(join(data, 'log/lock'))
  expect(checkNotes(data, environment)).toMatchObject({
    level: 'bad',
    text: expect.stringContaining(join(data, 'log/lock')),
  })
  lock?.release()
})

test('a running instance is told by its pid, and files under way are not called left over', async () => {
  const lock = acquireLock(join(data, 'run/supervisor.lock'))
  writeFileSync(join(data, 'run/instance.json'), JSON.stringify({ pid: 41, data, roles: [] }))
  writeFileSync(join(data, 'log/meta.new'), '')
  expect(checkNotes(data, environment)).toMatchObject({ level: 'ok', text: 'runs as pid 41' })
  expect((await checkLeftovers(realFiles, data)).level).toBe('ok')
  lock?.release()
})

test('temporary files of each room are found', async () => {
  expect(await checkLeftovers(realFiles, data)).toMatchObject({ level: 'ok' })
  expect(await checkLeftovers(realFiles, join(data, 'nothing'))).toMatchObject({ level: 'ok' })
  const left = [
    'log/meta.new',
    'lake/ledger.new',
    'lake/default/swords/metadata/x.metadata.json.tmp',
    'definitions/active.new',
    '.probe-12',
  ]
  for (const name of [...left, 'log/meta', 'lake/ledger']) writeFileSync(join(data, name), '')
  expect(await checkLeftovers(realFiles, data)).toMatchObject({
    level: 'look',
    text: `5 temporary files left over, such as ${join(data, '.probe-12')}`,
  })
})

test('a backup, and a restore that was interrupted, are no data folders', () => {
  expect(checkData(join(root, 'nothing')).level).toBe('ok')
  expect(checkData(data).level).toBe('ok')
  mkdirSync(join(data, 'log/events-0'))
  expect(checkData(data)).toMatchObject({ level: 'bad', text: expect.stringContaining('log/meta') })
  writeFileSync(join(data, 'log/meta'), '')
  expect(checkData(data).level).toBe('ok')
  writeFileSync(join(data, 'backup.json'), '')
  expect(checkData(data)).toMatchObject({ level: 'bad', text: expect.stringContaining('backup') })
})
