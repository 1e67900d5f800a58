import { dirname, join } from 'node:path'
import { expect, test } from 'vitest'
import { queryRows } from '../../src/core/duckdb.ts'
import { realFiles } from '../../src/core/files.ts'
import { Cleaner } from '../../src/lake/cleaner.ts'
import { compactFiles } from '../../src/lake/compact.ts'
import type { CompactionPlan } from '../../src/lake/compaction.ts'
import { isLive, readManifest, type ManifestEntry } from '../../src/lake/manifest.ts'
import { readManifestList } from '../../src/lake/manifest-list.ts'
import { currentSnapshot, ownSpec } from '../../src/lake/metadata.ts'
import { scanSql } from '../../src/lake/parquet.ts'
import { createTable, openTable, type LakeTable } from '../../src/lake/table.ts'
import { filesOfSnapshot, snapshotAt } from '../../src/lake/time-travel.ts'
import {
  createLake,
  plainColumns,
  plainRows,
  readByIcebird,
  scanRows,
  writeRows,
  type LakeWithDuckdb,
} from './support.ts'

const day = '2026-11-21'

/** A table of `commits` commits of ten rows each, a second apart. */
async function tableOf(lake: LakeWithDuckdb, commits: number): Promise<LakeTable> {
  const table = await createTable(lake.at(), plainColumns, { 'questlog.offsets': '{}' })
  for (let n = 0; n < commits; n++) await append(lake, table, n)
  return table
}

async function append(lake: LakeWithDuckdb, table: LakeTable, n: number): Promise<void> {
  lake.clock.ms += 1000
  const files = await writeRows(lake, table, plainRows(n * 10, 10), `batch-${n}`)
  await table.commit({
    batchId: `batch-${n}`,
    files,
    properties: { 'questlog.offsets': `{"${n}":{}}` },
  })
}

/** Merges these live files, or all. */
async function compact(
  lake: LakeWithDuckdb,
  table: LakeTable,
  options: { plan?: CompactionPlan; before?: () => Promise<void> } = {},
): Promise<boolean> {
  lake.clock.ms += 1000
  const plan = options.plan ?? { day, files: await table.liveFiles() }
  return compactFiles({
    connection: lake.connection,
    files: realFiles,
    table,
    plan,
    during: async (change) => {
      await options.before?.()
      await change()
    },
  })
}

async function entriesOf(table: LakeTable): Promise<ManifestEntry[]> {
  const snapshot = currentSnapshot(table.metadata)
  if (snapshot === undefined) throw new Error('no snapshot')
  const manifests = await readManifestList(realFiles, snapshot['manifest-list'])
  const entries = await Promise.all(
    manifests.map((manifest) => readManifest(realFiles, manifest, ownSpec(table.metadata))),
  )
  return entries.flat()
}

const offsetsOf = (rows: readonly Record<string, unknown>[]) =>
  rows.map((row) => Number(row['_offset'])).toSorted((a, b) => a - b)
const upTo = (count: number) => Array.from({ length: count }, (_, n) => n)

test('merged files are one sorted file in a replace snapshot; every reader sees the same rows, properties stay', async () => {
  await using lake = await createLake()
  const table = await tableOf(lake, 5)
  const files = await table.liveFiles()
  await append(lake, table, 5)
  expect(await compact(lake, table, { plan: { day, files } })).toBe(true)

  expect(await table.liveFiles()).toHaveLength(2)
  expect(offsetsOf(await scanRows(lake, table))).toEqual(upTo(60))
  expect(offsetsOf(await readByIcebird(table))).toEqual(upTo(60))
  const again = await openTable(lake.at())
  expect(new Set(await again?.liveFiles())).toEqual(new Set(await table.liveFiles()))
  expect(again?.recordCount).toBe(60)
  expect(again?.properties).toMatchObject({
    'questlog.offsets': '{"5":{}}',
    'questlog.batch-id': 'batch-5',
  })
  expect(table.snapshot?.summary).toMatchObject({
    operation: 'replace',
    'questlog.offsets': '{"5":{}}',
    'added-data-files': '1',
    'deleted-data-files': '5',
    'added-records': '50',
    'deleted-records': '50',
    'total-data-files': '2',
    'total-records': '60',
  })

  const [merged] = (await table.liveFiles()).filter(({ recordCount }) => recordCount === 50)
  const stored = await queryRows(
    lake.connection,
    `SELECT _offset::INTEGER AS o FROM '${merged?.path}'`,
  )
  expect(stored.map((row) => row['o'])).toEqual(upTo(50))
  const [codec] = await queryRows(
    lake.connection,
    `SELECT DISTINCT compression AS c FROM parquet_metadata('${merged?.path}')`,
  )
  expect(codec?.['c']).toBe('ZSTD')
})

test('its manifest says what was added, what stays and what went, with the sequence numbers of the spec', async () => {
  await using lake = await createLake()
  const table = await tableOf(lake, 5)
  const files = (await table.liveFiles()).slice(0, 3)
  await compact(lake, table, { plan: { day, files } })
  const entries = await entriesOf(table)
  const by = (status: number) => entries.filter((entry) => entry.status === status)
  expect(by(2).map((entry) => entry.sequence_number)).toEqual([1n, 2n, 3n])
  for (const entry of by(2)) expect(String(entry.snapshot_id)).toBe(table.snapshot?.id)
  expect(by(0).map((entry) => [entry.sequence_number, entry.file_sequence_number])).toEqual([
    [4n, 4n],
    [5n, 5n],
  ])
  // The data is as old as the newest of what it was merged from; the file is new.
  expect(by(1)).toMatchObject([{ sequence_number: 3n, file_sequence_number: null }])
  const snapshot = currentSnapshot(table.metadata)
  const [manifest, ...others] = await readManifestList(realFiles, snapshot?.['manifest-list'] ?? '')
  expect(others).toEqual([])
  expect(manifest).toMatchObject({
    sequence_number: 6n,
    min_sequence_number: 3n,
    added_files_count: 1,
    existing_files_count: 2,
    deleted_files_count: 3,
  })
  // What went is no longer mentioned by the next merge.
  await compact(lake, table)
  expect((await entriesOf(table)).filter((entry) => !isLive(entry))).toHaveLength(3)
})

test('every kept snapshot can still be read as it was', async () => {
  await using lake = await createLake()
  const table = await tableOf(lake, 4)
  await compact(lake, table)
  await append(lake, table, 4)
  await compact(lake, table)
  const counts: number[] = []
  for (const { 'snapshot-id': id } of table.metadata.snapshots ?? []) {
    const snapshot = snapshotAt(table.metadata, { id: String(id) })
    const files = await filesOfSnapshot(realFiles, table.metadata, snapshot)
    counts.push((await queryRows(lake.connection, scanSql(table, files))).length)
  }
  expect(counts).toEqual([10, 20, 30, 40, 40, 50, 50])
  const third = table.metadata.snapshots?.[2]
  const at = (timestampMs: number) => snapshotAt(table.metadata, { timestampMs })
  expect(at((third?.['timestamp-ms'] ?? 0) + 999)).toBe(third)
  expect(() => at(0)).toThrow(/no snapshot of 1970-01-01.*its oldest is/)
  expect(() => snapshotAt(table.metadata, { id: '7' })).toThrow(/no snapshot 7/)
})

test('rows of files from before an evolution are merged under the columns of now', async () => {
  await using lake = await createLake()
  const int = { kind: 'int' } as const
  const [host, ...rest] = plainColumns
  if (host === undefined) throw new Error('no columns')
  const table = await createTable(lake.at(), [host, { name: 'damage', type: int }, ...rest], {})
  const write = async (n: number, columns: string) => {
    const select = `SELECT *, ${columns} FROM (${plainRows(n, 1)})`
    const files = await writeRows(lake, table, select, `batch-${n}`)
    await table.commit({ batchId: `batch-${n}`, files })
  }
  await write(0, '1 AS damage')
  const text = { kind: 'string' } as const
  await table.evolve([
    host,
    { name: 'damage', type: { kind: 'long' } },
    { name: 'color', type: text },
    ...rest,
  ])
  await write(1, "5000000000 AS damage, 'red' AS color")
  await compact(lake, table)
  const rows = await readByIcebird(table)
  const values = rows
    .toSorted((a, b) => Number(a['_offset']) - Number(b['_offset']))
    .map((row) => [row['damage'], row['color'] ?? null])
  expect(values).toEqual([
    [1n, null],
    [5_000_000_000n, 'red'],
  ])
})

test('commits of another writer meanwhile only move the merge to their version', async () => {
  await using lake = await createLake()
  const table = await tableOf(lake, 4)
  const other = await openTable(lake.at())
  if (other === undefined) throw new Error('no table')
  const done = await compact(lake, table, {
    before: async () => {
      await append(lake, other, 4)
      await other.evolve([...plainColumns, { name: 'color', type: { kind: 'string' } }])
    },
  })
  expect(done).toBe(true)
  expect(table.recordCount).toBe(50)
  expect(table.columns.map(({ name }) => name)).toContain('color')
  expect(offsetsOf(await readByIcebird(table))).toEqual(upTo(50))
  expect(table.properties['questlog.offsets']).toBe('{"4":{}}')
})

test('two writers that merge the same files: one wins, the other changes nothing and leaves nothing behind', async () => {
  await using lake = await createLake()
  const table = await tableOf(lake, 4)
  const other = await openTable(lake.at())
  if (other === undefined) throw new Error('no table')
  const files = await table.liveFiles()
  const second = compact(lake, table, {
    before: async () => void (await compact(lake, other, { plan: { day, files } })),
  })
  await expect(second).rejects.toMatchObject({ code: 'COMMIT_CONFLICT' })
  expect(await table.liveFiles()).toEqual(await other.liveFiles())
  const folder = dirname(files[0]?.path ?? '')
  expect(await realFiles.list(folder)).toHaveLength(5)
  expect(offsetsOf(await readByIcebird(table))).toEqual(upTo(40))
})

test('files that hold other rows than the table says are not replaced', async () => {
  await using lake = await createLake()
  const table = await tableOf(lake, 2)
  const [first, second] = await table.liveFiles()
  if (first === undefined || second === undefined) throw new Error('no files')
  const bytes = await realFiles.readAll(first.path)
  await realFiles.unlink(second.path)
  await realFiles.writeNew(second.path, bytes.subarray(0, bytes.length - 1))
  await expect(compact(lake, table)).rejects.toThrow()
  const wrong = { day, files: [first, { ...first, recordCount: 3 }] }
  await expect(compact(lake, table, { plan: wrong })).rejects.toMatchObject({
    code: 'TABLE_DAMAGED',
  })
  expect(await table.liveFiles()).toHaveLength(2)
})

test('files of snapshots that are gone are removed after their time, when all who read them have ended, and orphans at their age', async () => {
  await using lake = await createLake()
  const table = await tableOf(lake, 6)
  const old = await table.liveFiles()
  await compact(lake, table)
  let hasEnded = false
  const cleaner = new Cleaner({
    files: realFiles,
    clock: lake.clock,
    table,
    snapshots: { ageMsMin: 3_600_000, countMin: 1, countMax: 3 },
    orphanAgeMsMin: 86_400_000,
    readersNow: () => () => hasEnded,
    isInUse: (path) => path.endsWith('mine.parquet'),
  })
  const isThere = async (path: string) => (await realFiles.sizeOf(path)) !== undefined
  expect(await cleaner.expire()).toBe(4)
  expect(table.metadata.snapshots).toHaveLength(3)
  lake.clock.ms += 3_500_000
  expect(await cleaner.removeExpired()).toBe(0)
  lake.clock.ms += 110_000
  expect(await cleaner.removeExpired()).toBe(0)
  hasEnded = true
  expect(await cleaner.removeExpired()).toBe(4) // four manifest lists; their files belong to the two snapshots that are left as well
  for (const { path } of old) expect(await isThere(path)).toBe(true)
  expect(await cleaner.expire()).toBe(2)
  lake.clock.ms += 60_000
  expect(await cleaner.removeExpired()).toBe(2 + 6 + 6)
  for (const { path } of old) expect(await isThere(path)).toBe(false)
  expect(offsetsOf(await readByIcebird(table))).toEqual(upTo(60))

  const left = ['left.parquet', 'mine.parquet', 'notes.txt'].map((name) =>
    join(table.folder, 'data', name),
  )
  for (const path of left) await realFiles.writeNew(path, Buffer.from('x'))
  lake.clock.ms = ((await realFiles.modifiedMs(left[0] ?? '')) ?? 0) + 86_000_000
  await cleaner.removeOrphans()
  lake.clock.ms += 4_000_000
  expect(await cleaner.removeOrphans()).toBe(0) // seen for the first time as one
  lake.clock.ms += 4_000_000
  expect(await cleaner.removeOrphans()).toBe(1)
  expect(await Promise.all(left.map(isThere))).toEqual([false, true, true])
  expect(offsetsOf(await readByIcebird(table))).toEqual(upTo(60))
})

test('a file that snapshots of two clean-ups have named stays until both are due', async () => {
  await using lake = await createLake()
  const table = await tableOf(lake, 6)
  const [old] = await table.liveFiles()
  const leases = new Set<string>()
  const cleaner = new Cleaner({
    files: realFiles,
    clock: lake.clock,
    table,
    snapshots: { ageMsMin: 3_600_000, countMin: 1, countMax: 3 },
    orphanAgeMsMin: 86_400_000,
    readersNow() {
      const held = [...leases]
      return () => held.every((lease) => !leases.has(lease))
    },
    isInUse: () => false,
  })
  const isThere = async () => (await realFiles.sizeOf(old?.path ?? '')) !== undefined
  expect(await cleaner.expire()).toBe(3)
  lake.clock.ms += 3_700_000
  leases.add('a statement that reads the old files')
  await compact(lake, table)
  for (const n of [6, 7]) await append(lake, table, n)
  expect(await cleaner.expire()).toBe(3)
  await cleaner.removeExpired()
  expect(await isThere()).toBe(true)
  lake.clock.ms += 3_700_000
  await cleaner.removeExpired()
  expect(await isThere()).toBe(true)
  leases.clear()
  await cleaner.removeExpired()
  expect(await isThere()).toBe(false)
})
