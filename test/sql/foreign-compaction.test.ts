import { dirname, join } from 'node:path'
import { expect, test } from 'vitest'
import { realFiles } from '../../src/core/files.ts'
import { metadataFolder } from '../../src/lake/location.ts'
import { currentSnapshot } from '../../src/lake/metadata.ts'
import { buildReplace } from '../../src/lake/replace.ts'
import { createTable } from '../../src/lake/table.ts'
import { IcebergCatalog } from '../../src/sql/iceberg-catalog.ts'
import { createLake, plainColumns, plainRows, scanRows, writeRows } from '../lake/support.ts'

test("a compaction of another engine is taken only with Parquet files in the table's own folder", async () => {
  await using lake = await createLake()
  const at = lake.at()
  const table = await createTable(at, plainColumns, {})
  for (const n of [0, 1]) {
    const files = await writeRows(lake, table, plainRows(n * 10, 10), `batch-${n}`)
    await table.commit({ batchId: `batch-${n}`, files })
  }
  const catalog = new IcebergCatalog({ ...at, guestFolder: join(lake.folder, 'guests') })
  const [merged] = await writeRows(lake, table, plainRows(0, 20), 'merged')
  if (merged === undefined) throw new Error('nothing was written')
  const live = await table.liveFiles()
  /** Commits one file at this path in the place of all, as an engine does over REST. */
  const compactTo = async (path: string, spoil = (bytes: Buffer) => bytes) => {
    const folder = metadataFolder(table.folder)
    const { metadata } = table
    const manifests = [] as const
    const replaced = new Set(live.map((file) => file.path))
    const change = { replaced, added: [{ ...merged, path }] }
    const base = { metadata, manifests, live }
    const next = await buildReplace(realFiles, folder, base, change, lake.clock.ms)
    const snapshot = next && currentSnapshot(next.metadata)
    if (next === undefined || snapshot === undefined) throw new Error('nothing to replace')
    for (const each of next.pending)
      await realFiles.writeNew(each.path, spoil(Buffer.from(each.bytes)))
    await catalog.commit(
      { namespace: at.namespace, name: at.name },
      [],
      [
        { action: 'add-snapshot', snapshot },
        {
          action: 'set-snapshot-ref',
          'ref-name': 'main',
          type: 'branch',
          'snapshot-id': snapshot['snapshot-id'],
        },
      ],
    )
  }
  const refused = { code: 'TABLE_OWNED' }
  await expect(compactTo('/elsewhere/merged.parquet')).rejects.toMatchObject(refused)
  const above = `${dirname(merged.path)}/../../../other/data/merged.parquet`
  await expect(compactTo(above)).rejects.toMatchObject(refused)
  // Neither is one of which a manifest can't be read, and that is the client's error.
  const malformed = { code: 'REQUEST_MALFORMED', message: expect.stringContaining("can't be read") }
  const codec = (name: string) => (bytes: Buffer) =>
    Buffer.from(bytes.toString('latin1').replace('deflate', name), 'latin1')
  for (const spoil of [
    (bytes: Buffer) => bytes.subarray(0, -1),
    () => Buffer.from('{}'),
    codec('unknown'),
  ])
    await expect(compactTo(merged.path, spoil)).rejects.toMatchObject(malformed)
  await compactTo(merged.path)
  await table.reload()
  expect(await table.liveFiles()).toHaveLength(1)
  expect(await scanRows(lake, table)).toHaveLength(20)
})
