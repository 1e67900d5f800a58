import { readdir } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { realFiles } from '../../src/core/files.ts'
import { rehearseCommit } from '../../src/lake/rehearsal.ts'
import { createTable, type LakeTable } from '../../src/lake/table.ts'
import type { ColumnType } from '../../src/plan/columns.ts'
import { createLake, plainColumns, plainRows, writeRows } from './support.ts'

const types: readonly ColumnType[] = [
  { kind: 'boolean' },
  { kind: 'int' },
  { kind: 'double' },
  { kind: 'decimal', precision: 10, scale: 2 },
  { kind: 'date' },
  { kind: 'timestamp' },
  { kind: 'uuid' },
  { kind: 'binary' },
  { kind: 'list', element: { kind: 'string' } },
  { kind: 'struct', fields: [{ name: 'a b', type: { kind: 'long' } }] },
  { kind: 'map', value: { kind: 'double' } },
]

const stateOf = async (table: LakeTable) => [
  table.version,
  JSON.stringify(table.metadata),
  (await table.liveFiles()).length,
  await readdir(table.folder, { recursive: true }),
]

test('a rehearsed commit changes nothing and leaves nothing behind, whatever the columns are', async () => {
  await using lake = await createLake()
  const columns = [...plainColumns, ...types.map((type) => ({ name: `a "${type.kind}"`, type }))]
  const table = await createTable(lake.at(), columns, {})
  const files = await writeRows(lake, table, plainRows(0, 5), 'a')
  const { connection } = lake
  for (const codec of ['zstd', 'snappy'] as const) {
    const before = await stateOf(table)
    await rehearseCommit(table, { connection, files: realFiles, codec, level: 1 })
    expect(await stateOf(table)).toEqual(before)
    await table.commit({ batchId: codec, files: codec === 'zstd' ? files : [] })
  }
})
