import { spawn, type ChildProcess } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { acquireLock, isLocked } from '../../src/core/lock.ts'

const folder = mkdtempSync(join(tmpdir(), 'questlog-lock-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** Another process that takes the lock with the same kernel call, says so, and holds it. */
async function holdElsewhere(path: string): Promise<ChildProcess> {
  const addon = createRequire(import.meta.url).resolve('fs-native-extensions')
  const program = `const fd = require('node:fs').openSync(process.argv[1], 'a+'); console.log(require(process.argv[2]).tryLock(fd)); setInterval(() => {}, 1000)`
  const child = spawn(process.execPath, ['-e', program, path, addon], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const said = await new Promise<string>((resolve) =>
    child.stdout.once('data', (bytes: Buffer) => resolve(bytes.toString().trim())),
  )
  expect(said).toBe('true')
  return child
}

describe('a lock', () => {
  test('is had by one at a time, and again after it is released', () => {
    const path = join(folder, 'deep', 'in', 'a.lock')
    const lock = acquireLock(path)
    expect(lock).toBeDefined()
    lock?.release()
    expect(isLocked(path)).toBe(false)
  })

  test('ends with the process that holds it, however that ends', async () => {
    const path = join(folder, 'b.lock')
    const holder = await holdElsewhere(path)
    expect(acquireLock(path)).toBeUndefined()
    expect(isLocked(path)).toBe(true)
    const ended = new Promise((resolve) => holder.once('exit', resolve))
    holder.kill('SIGKILL')
    await ended
    expect(isLocked(path)).toBe(false)
    const lock = acquireLock(path)
    expect(lock).toBeDefined()
    lock?.release()
  })
})
