import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { findPath, getPath, sizeBelow } from '../../src/cli/fs.ts'
import { replaceLink } from '../../src/core/folders.ts'

let folder: string
let root: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'questlog-fs-'))
  root = join(folder, 'data', 'exports')
})
afterEach(() => rmSync(folder, { recursive: true }))

function writeVersion(name: string, bytes: number): void {
  const version = join(root, '.versions', name)
  mkdirSync(version, { recursive: true })
  for (const part of [1, 2, 3])
    writeFileSync(join(version, `part-${name}-${part}`), Buffer.alloc(bytes))
}

test('a folder that is replaced while it is copied is copied as it was', async () => {
  writeVersion('a', 4 * 1024 * 1024)
  writeVersion('b', 1)
  symlinkSync('.versions/a', join(root, 'swords'))
  const target = join(folder, 'copy')
  const copied = getPath(findPath(join(folder, 'data'), '/'), target)
  while (!existsSync(join(target, 'swords', 'part-a-1')))
    await new Promise((resolve) => setImmediate(resolve))
  replaceLink('.versions/b', join(root, 'swords'), join(root, '.link'))
  await copied
  expect(readdirSync(join(target, 'swords'))).toEqual(['part-a-1', 'part-a-2', 'part-a-3'])
  expect(sizeBelow(join(root, 'swords'))).toBe(3)
})
