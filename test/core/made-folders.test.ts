import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, expect, test, vi } from 'vitest'
import { realFiles } from '../../src/core/files.ts'

/** Paths that were synced, and how many syncs fail before the next works. */
const disk = vi.hoisted(() => ({
  paths: new Map<number, string>(),
  synced: new Array<string>(),
  failing: 0,
}))

vi.mock('node:fs', async (original) => {
  const fs = await original<typeof import('node:fs')>()
  return {
    ...fs,
    openSync: (path: string, flags: string) => {
      const fd = fs.openSync(path, flags)
      disk.paths.set(fd, path)
      return fd
    },
    fsync: (fd: number, done: (error: Error | null) => void) => {
      if (disk.failing-- > 0) return done(new Error('EIO: i/o error, fsync'))
      disk.synced.push(disk.paths.get(fd) ?? '')
      return fs.fsync(fd, done)
    },
  }
})

const root = mkdtempSync(join(tmpdir(), 'questlog-made-'))
afterAll(() => rmSync(root, { recursive: true, force: true }))

test('a folder whose name could not be made durable is not taken for one that is there', async () => {
  const path = join(root, 'data', 'day')
  disk.failing = 1
  await expect(realFiles.makeFolder(path)).rejects.toThrow('EIO')
  disk.failing = 0
  disk.synced = []
  await realFiles.makeFolder(join(path, 'more'))
  expect(disk.synced).toEqual([path, dirname(path), root])
  disk.synced = []
  await realFiles.makeFolder(path)
  expect(disk.synced).toEqual([])
})
