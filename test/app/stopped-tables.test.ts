import { join } from 'node:path'
import { expect, test } from 'vitest'
import { maintainStopped } from '../../src/app/stopped-tables.ts'
import { realClock } from '../../src/core/clock.ts'
import { realFiles } from '../../src/core/files.ts'
import { acquireLock } from '../../src/core/lock.ts'
import { openTable, createTable, type LakeTable } from '../../src/lake/table.ts'
import { createLake, plainColumns, plainRows, readByIcebird, writeRows } from '../lake/support.ts'

test('a table of a stopped folder is merged and its snapshots are given up, under the lock of the lake', async () => {
  await using lake = await createLake()
  const data = lake.folder
  const location = { ...lake.at(), clock: realClock, lakeFolder: join(data, 'lake') }
  const table = await createTable(location, plainColumns, { 'questlog.offsets': '{}' })
  for (let n = 0; n < 3; n++) {
    const batchId = `batch-${n}`
    const files = await writeRows(lake, table, plainRows(n * 10, 10), batchId)
    await table.commit({ batchId, files })
  }
  const name = { namespace: 'default', name: 'swords' }
  const run = (work: Parameters<typeof maintainStopped>[3]) =>
    maintainStopped(realFiles, realClock, data, work)

  const lock = acquireLock(join(data, 'lake', 'lock'))
  await expect(run({ ...name, work: 'compact' })).rejects.toMatchObject({ code: 'ALREADY_RUNNING' })
  lock?.release()

  expect(await run({ ...name, work: 'compact' })).toMatchObject({
    files: { before: 3, after: 1 },
    snapshots: { before: 3, after: 4 },
  })
  expect(await run({ ...name, work: 'compact' })).toMatchObject({ files: { before: 1, after: 1 } })
  expect(await run({ ...name, work: 'expire', ageMsMin: null, countMin: 1 })).toMatchObject({
    snapshots: { before: 4, after: 4 }, // the settings keep what is younger than an hour
  })
  expect(await run({ ...name, work: 'expire', ageMsMin: 0, countMin: 1 })).toEqual({
    files: { before: 1, after: 1 },
    snapshots: { before: 4, after: 1 },
    removedFiles: 3 + 3 + 3, // lists, manifests and data files of the three commits
    waitingFiles: 0,
  })
  const after = (await openTable(location)) as LakeTable
  expect(await readByIcebird(after)).toHaveLength(30)
  expect(after.properties['questlog.offsets']).toBe('{}')
  const unknown = run({ namespace: 'default', name: 'axes', work: 'compact' })
  await expect(unknown).rejects.toMatchObject({ code: 'TABLE_UNKNOWN' })
})
