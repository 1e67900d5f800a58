import { appendFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { followLogs, readLogs, type LogLine } from '../../src/cli/component-logs.ts'
import { realClock } from '../../src/core/clock.ts'
import { realFiles } from '../../src/core/files.ts'
import { createLogger } from '../../src/core/logger.ts'
import { until } from '../app/fixtures/fake-system.ts'

let data = ''

beforeEach(() => {
  data = mkdtempSync(join(tmpdir(), 'questlog-logs-'))
  mkdirSync(join(data, 'run'))
})
afterEach(() => rmSync(data, { recursive: true, force: true }))

const pathOf = (component: string) => join(data, 'run', `${component}.log`)

function logAt(component: string, timeMs: number, text: string, facts = {}): void {
  createLogger(
    component,
    () => timeMs,
    (line) => appendFileSync(pathOf(component), `${line}\n`),
  ).info(text, facts)
}

test('lines of several components come by time, a stack trace stays with its line', async () => {
  logAt('ingest', 1_000, 'ready', { port: 5000, path: 'a b' })
  appendFileSync(pathOf('ingest'), 'Error: boom\n    at here\n')
  logAt('lake', 500, 'starting')
  logAt('lake', 1_500, 'ready')
  appendFileSync(pathOf('lake'), '{"time":"half a li')
  const { lines } = await readLogs(realFiles, data, ['ingest', 'lake'], undefined)
  expect(lines.map(({ component, text }) => `${component} ${text}`)).toEqual([
    'lake 1970-01-01T00:00:00.500Z info  starting',
    'ingest 1970-01-01T00:00:01.000Z info  ready port=5000 path="a b"',
    'ingest Error: boom',
    'ingest     at here',
    'lake 1970-01-01T00:00:01.500Z info  ready',
  ])
  expect((await readLogs(realFiles, data, ['lake'], 1)).lines).toHaveLength(1)
  expect((await readLogs(realFiles, data, ['supervisor'], undefined)).lines).toEqual([])
})

test('following shows what is added, also after the file was begun anew', async () => {
  logAt('ingest', 1_000, 'one')
  const { ends } = await readLogs(realFiles, data, ['ingest'], undefined)
  const seen: LogLine[] = []
  const stop = new AbortController()
  const print = (lines: readonly LogLine[]) => void seen.push(...lines)
  const running = followLogs(realFiles, realClock, data, ends, print, stop.signal)
  logAt('ingest', 2_000, 'two')
  await until('the second line', () => seen.length === 1)
  writeFileSync(pathOf('ingest'), '')
  logAt('ingest', 3_000, 'x')
  await until('the third line', () => seen.length === 2)
  stop.abort()
  await running
  expect(seen.map(({ text }) => text.slice(31))).toEqual(['two', 'x'])
})
