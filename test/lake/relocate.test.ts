import { cp, mkdtemp, readdir, readFile, rename, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inflateRawSync } from 'node:zlib'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { realFiles } from '../../src/core/files.ts'
import { locationOf } from '../../src/lake/location.ts'
import { pinTable } from '../../src/lake/pinned-table.ts'
import { relocateTable } from '../../src/lake/relocate.ts'
import { createTable, openTable, type LakeTable } from '../../src/lake/table.ts'
import {
  createLake,
  noMetrics,
  plainColumns,
  plainRows,
  readByIcebird,
  scanRows,
  writeRows,
  type LakeWithDuckdb,
} from './support.ts'

/** A copy of a table elsewhere, relocated to a third place; the original is gone meanwhile. */
async function moved(table: LakeTable, target: string): Promise<string> {
  const copy = await mkdtemp(join(tmpdir(), 'questlog-copy-'))
  const hidden = `${table.folder}-hidden`
  try {
    await cp(table.folder, join(copy, 'swords'), { recursive: true })
    const to = join(target, 'default', 'swords')
    await rename(table.folder, hidden)
    const { folder: original, version } = table
    const from = join(copy, 'swords')
    const read = await relocateTable({ files: realFiles, from, original, to, version })
    for (const path of read)
      expect(await realFiles.sizeOf(join(from, path)), path).toBeGreaterThan(0)
    await cp(join(from, 'data'), join(to, 'data'), { recursive: true })
    await rename(hidden, table.folder)
    return to
  } finally {
    await rm(copy, { recursive: true })
  }
}

async function commitRows(lake: LakeWithDuckdb, table: LakeTable, first: number, count: number) {
  const batchId = `batch ${first}`
  const files = await writeRows(lake, table, plainRows(first, count), batchId)
  await table.commit({ batchId, files, properties: { 'questlog.offsets': String(first + count) } })
}

const byOffset = (rows: readonly Record<string, unknown>[]) =>
  rows.toSorted((left, right) => Number(left['_offset']) - Number(right['_offset']))

/** Every text in the metadata folder, Avro blocks inflated. */
async function textsOf(folder: string): Promise<string> {
  const metadata = join(folder, 'metadata')
  const parts: string[] = []
  for (const name of await readdir(metadata)) {
    const bytes = await readFile(join(metadata, name))
    parts.push(bytes.toString('latin1'))
    if (!name.endsWith('.avro')) continue
    const sync = bytes.subarray(-16)
    // The block begins behind the first sync marker and two varints of at most ten bytes.
    const start = bytes.indexOf(sync) + 16
    for (let at = start; at < start + 20; at++)
      try {
        parts.push(inflateRawSync(bytes.subarray(at, -16)).toString('latin1'))
      } catch {
        // Not yet the block.
      }
  }
  return parts.join('\n')
}

test('whatever was committed, a relocated table holds the same rows for us and for another reader, and names nothing of the old place', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.oneof(fc.integer({ min: 1, max: 40 }), fc.constant('properties' as const)), {
        minLength: 1,
        maxLength: 5,
      }),
      fc.boolean(),
      fc.constantFrom('questlog moved ', 'ümläut-', 'a%20b-'),
      async (commits, isByDay, prefix) => {
        await using lake = await createLake()
        await using other = await createLake(prefix)
        const columns = isByDay ? plainColumns : plainColumns.slice(0, 3)
        const table = await createTable(lake.at(), columns, { owner: 'w205' })
        let rows = 0
        for (const [index, commit] of commits.entries()) {
          if (commit === 'properties')
            await table.commit({ batchId: `p${index}`, files: [], properties: { n: `${index}` } })
          else if (isByDay) {
            await commitRows(lake, table, rows, commit)
            rows += commit
          } else {
            const select = `SELECT 'h' AS "Host", 0 AS _log_partition, i AS _offset FROM range(${rows}, ${rows + commit}) r(i)`
            const files = await writeRows(lake, table, select, `b${index}`)
            await table.commit({ batchId: `b${index}`, files })
            rows += commit
          }
        }
        expect(await textsOf(table.folder)).toContain(lake.folder)
        const folder = await moved(table, other.folder)
        const found = await openTable(other.at())
        if (found === undefined) throw new Error('the table is gone')
        expect(found).toMatchObject({
          uuid: table.uuid,
          version: table.version,
          recordCount: rows,
          properties: table.properties,
        })
        expect(byOffset(await scanRows(other, found))).toEqual(
          byOffset(await scanRows(lake, table)),
        )
        if (rows > 0)
          expect(byOffset(await readByIcebird(found))).toEqual(byOffset(await readByIcebird(table)))
        expect(await textsOf(folder)).not.toContain(lake.folder)
        const pinned = await pinTable(realFiles, other.folder, 'default', 'swords')
        for (const { source, bytes } of pinned?.files ?? []) {
          const size = await realFiles.sizeOf(source)
          expect(size, source).toBe(bytes ?? size)
          expect(source.startsWith(`${folder}/`)).toBe(true)
        }
      },
    ),
    { numRuns: Number(process.env['QUESTLOG_RUNS'] ?? 8) },
  )
})

test('a relocated table takes further commits, also one that merges a hundred manifests', async () => {
  await using lake = await createLake()
  await using other = await createLake()
  const table = await createTable(lake.at(), plainColumns, {})
  await commitRows(lake, table, 0, 3)
  const [file] = await table.liveFiles()
  if (file === undefined) throw new Error('no file')
  for (let commit = 1; commit < 102; commit++)
    await table.commit({ batchId: `b${commit}`, files: [{ ...file, metrics: noMetrics }] })
  await moved(table, other.folder)
  const found = await openTable(other.at())
  if (found === undefined) throw new Error('the table is gone')
  expect(found.recordCount).toBe(3 * 102)
  expect((await found.liveFiles()).every(({ path }) => path.startsWith(other.folder))).toBe(true)
  await commitRows(other, found, 500, 2)
  expect(found).toMatchObject({ version: table.version + 1, recordCount: 3 * 102 + 2 })
  expect(await scanRows(other, found)).toHaveLength(3 * 102 + 2)
  expect(await readByIcebird(found)).toHaveLength(3 * 102 + 2)
})

test('a table that was written by two paths, one through a symbolic link, is relocated whole', async () => {
  await using lake = await createLake()
  await using other = await createLake()
  const linked = `${lake.folder}-link`
  await symlink(lake.folder, linked)
  const table = await createTable({ ...lake.at(), lakeFolder: linked }, plainColumns, {})
  await commitRows(lake, table, 0, 3)
  const direct = await openTable(lake.at())
  if (direct === undefined) throw new Error('the table is gone')
  await commitRows(lake, direct, 3, 3)
  const folder = await moved(direct, other.folder)
  await rm(linked)
  const found = await openTable(other.at())
  expect((await found?.liveFiles())?.map(({ path }) => path.startsWith(folder))).toEqual([
    true,
    true,
  ])
  expect(found === undefined ? [] : await scanRows(other, found)).toHaveLength(6)
})

test('every snapshot of a relocated table can be read, and its pinned files are those that it names', async () => {
  await using lake = await createLake()
  await using other = await createLake()
  const table = await createTable(lake.at(), plainColumns, {})
  await commitRows(lake, table, 0, 3)
  await commitRows(lake, table, 3, 3)
  const pinned = await pinTable(realFiles, lake.folder, 'default', 'swords')
  expect(pinned).toMatchObject({ version: 3, recordCount: 6, uuid: table.uuid })
  // Two lists, two manifests, two data files.
  expect(pinned?.files.map(({ path }) => path.split('/')[0]).toSorted()).toEqual([
    'data',
    'data',
    'metadata',
    'metadata',
    'metadata',
    'metadata',
  ])
  const folder = await moved(table, other.folder)
  const metadata = JSON.parse(
    await readFile(join(folder, 'metadata/v3.metadata.json'), 'utf8'),
  ) as {
    location: string
    snapshots: { 'manifest-list': string }[]
    'metadata-log': unknown[]
  }
  expect(metadata.location).toBe(locationOf(folder))
  expect(metadata['metadata-log']).toEqual([])
  expect(metadata.snapshots).toHaveLength(2)
  expect(await readFile(join(folder, 'metadata/version-hint.text'), 'utf8')).toBe('3')
})

test('a file outside of the table, or one that is gone, is told by name', async () => {
  await using lake = await createLake()
  const table = await createTable(lake.at(), plainColumns, {})
  expect(await pinTable(realFiles, lake.folder, 'default', 'nothing')).toBeUndefined()
  const files = await writeRows(lake, table, plainRows(0, 2), 'a')
  const outside = files.map((file) => ({ ...file, path: join(lake.folder, 'else.parquet') }))
  await table.commit({ batchId: 'a', files: outside })
  await expect(pinTable(realFiles, lake.folder, 'default', 'swords')).rejects.toMatchObject({
    code: 'TABLE_DAMAGED',
    message: expect.stringContaining('else.parquet'),
  })
})
