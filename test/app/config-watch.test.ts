import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { watchConfig, type ConfigWatch } from '../../src/app/config-watch.ts'
import { realClock } from '../../src/core/clock.ts'
import { until } from './fixtures/fake-system.ts'

let folder = ''
let watch: ConfigWatch | undefined
let saves = 0

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'questlog-watch-'))
  writeFileSync(join(folder, 'questlog.config.ts'), '1')
  saves = 0
  watch = watchConfig(join(folder, 'questlog.config.ts'), realClock, async () => void saves++)
})
afterEach(async () => {
  await watch?.close()
  rmSync(folder, { recursive: true, force: true })
})

test('a save is noticed: written in place, renamed over it, and in a file that it may import', async () => {
  writeFileSync(join(folder, 'questlog.config.ts'), '22')
  await until('the first save', () => saves === 1)
  writeFileSync(join(folder, 'swap'), '333')
  renameSync(join(folder, 'swap'), join(folder, 'questlog.config.ts'))
  await until('the second save', () => saves === 2)
  writeFileSync(join(folder, 'tables.ts'), '4')
  await until('the third save', () => saves === 3)
})

test('other files in the folder mean nothing, and nothing comes after close', async () => {
  writeFileSync(join(folder, 'notes.txt'), 'x')
  writeFileSync(join(folder, 'questlog.config.ts'), '22')
  await until('the save', () => saves === 1)
  await watch?.close()
  writeFileSync(join(folder, 'questlog.config.ts'), '333')
  expect(saves).toBe(1)
})
