import { mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { Instance, questlog } from '../support/instance.ts'
import { runScript, venvPython } from './clients.ts'
import { readersFolder } from './readers.ts'

test("DuckDB's and PyIceberg's own tables are what they were after a restore elsewhere, deletes too, and can be written to", async () => {
  const folder = mkdtempSync(join(tmpdir(), 'questlog-guests-'))
  using _removed = { [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true }) }
  const [first, second, backup] = ['first', 'second', 'backup'].map((name) => join(folder, name))
  if (first === undefined || second === undefined || backup === undefined) throw new Error('paths')
  const tables = (mode: string, { endpoints }: Instance) =>
    runScript(venvPython, 'guests.py', [mode, readersFolder, `${endpoints.sql}/iceberg`])
  mkdirSync(first)
  {
    await using instance = await Instance.start(undefined, { folder: first })
    await tables('write', instance)
    const { code, stdout } = await questlog('backup', backup, '--data', instance.data)
    expect(code).toBe(0)
    expect(stdout).toContain('table lab.kept of another engine')
  }
  // Nothing is read from where it was.
  renameSync(first, join(folder, 'hidden'))
  mkdirSync(second)
  const restored = await questlog('restore', backup, '--data', join(second, 'data'))
  expect(restored).toMatchObject({ code: 0 })
  await using instance = await Instance.start(undefined, { folder: second })
  const left = [66, 3267, 1]
  expect(await tables('read', instance)).toEqual({
    duckdb: left,
    pyiceberg: left,
    past: [1, 2],
    'goes-on': [67, 3],
  })
})
