import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { realFiles } from '../../src/core/files.ts'
import { listTables } from '../../src/lake/catalog.ts'
import { createTable } from '../../src/lake/table.ts'
import { createBareLake, plainColumns } from './support.ts'

test('the catalog lists the tables that exist, in order, whatever else lies in the folder', async () => {
  await using lake = await createBareLake()
  expect(await listTables(realFiles, join(lake.folder, 'not-there'))).toEqual([])
  await createTable(lake.at('swords'), plainColumns, {})
  await createTable(lake.at('knives'), plainColumns, {})
  await createTable({ ...lake.at('dead_letters'), namespace: 'questlog' }, plainColumns, {})
  await writeFile(join(lake.folder, 'progress'), '{}')
  await writeFile(join(lake.folder, 'default', 'notes.txt'), 'a file among the tables')
  await mkdir(join(lake.folder, 'default', 'half-made', 'metadata'), { recursive: true })
  expect(await listTables(realFiles, lake.folder)).toEqual([
    { namespace: 'default', name: 'knives' },
    { namespace: 'default', name: 'swords' },
    { namespace: 'questlog', name: 'dead_letters' },
  ])
})
