import { mkdtemp, open, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { createLineWriter } from '../../src/core/host.ts'

test('lines are written in order, those of one moment together, and all of them when flush resolves', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'questlog-lines-'))
  const file = await open(join(folder, 'lines'), 'a')
  const writer = createLineWriter(file.fd)
  const lines = Array.from({ length: 1_000 }, (_, n) => `line ${n}`)
  for (const line of lines) {
    writer.line(line)
    if (line.endsWith('00')) await new Promise((resolve) => setImmediate(resolve))
    if (line.endsWith('500')) await writer.flush()
  }
  await writer.flush()
  expect(await readFile(join(folder, 'lines'), 'utf8')).toBe(`${lines.join('\n')}\n`)
  await file.close()
  await rm(folder, { recursive: true })
})
