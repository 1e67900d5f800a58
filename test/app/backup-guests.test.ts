import {
  existsSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { backUp, verifyBackup } from '../../src/app/backup.ts'
import { readBackup } from '../../src/app/backup-file.ts'
import { restore } from '../../src/app/restore.ts'
import { realClock } from '../../src/core/clock.ts'
import { sumBytes } from '../../src/core/copy.ts'
import { openDuckdb, queryRows, type DuckDBConnection } from '../../src/core/duckdb.ts'
import { realFiles, type Files } from '../../src/core/files.ts'
import { emptyMetadata } from '../../src/lake/guest-metadata.ts'
import { GuestTables } from '../../src/lake/guest-tables.ts'
import { locationOf, pathOf } from '../../src/lake/location.ts'
import { addedEntry, encodeManifest, readManifest } from '../../src/lake/manifest.ts'
import { encodeManifestList, manifestRow, readManifestList } from '../../src/lake/manifest-list.ts'
import { applyUpdates } from '../../src/lake/metadata-updates.ts'
import type { TableMetadata } from '../../src/lake/metadata.ts'
import { createTable } from '../../src/lake/table.ts'
import { IcebergCatalog } from '../../src/sql/iceberg-catalog.ts'

const noSpec = { 'spec-id': 0, fields: [] }
const noSchema = { 'schema-id': 0, type: 'struct', fields: [] } as const
const deletedPathId = 2147483546

let folder: string
let data: string
let guests: GuestTables
let connection: DuckDBConnection
let close: () => void

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'questlog-guests-'))
  data = join(folder, 'data')
  const at = { files: realFiles, clock: realClock, lakeFolder: join(data, 'lake') }
  const columns = [{ name: 'raw_event', type: { kind: 'string' } }] as const
  await createTable({ ...at, namespace: 'default', name: 'swords' }, columns, {})
  guests = new GuestTables({ ...at, folder: join(data, 'guests') })
  const temporary = { temporaryFolder: join(folder, 'temporary'), temporaryMiB: 100 }
  const instance = await openDuckdb({ memoryMiB: 100, threads: 1, ...temporary })
  connection = await instance.connect()
  close = () => {
    connection.closeSync()
    instance.closeSync()
  }
})

afterEach(() => {
  close()
  rmSync(folder, { recursive: true })
})

async function writeParquet(path: string, select: string): Promise<void> {
  await realFiles.makeFolder(dirname(path))
  await queryRows(connection, `COPY (${select}) TO '${path}' (FORMAT parquet)`)
}

/** A file as a manifest has it; position deletes with the bounds of their paths, as engines write them. */
async function entryOf(path: string, snapshotId: number, deletes: boolean) {
  const sizes = new Map<number, number>()
  const bounds = new Map([[deletedPathId, Buffer.from(locationOf(path).slice(0, 16))]])
  const none = new Map<number, Buffer>()
  const [lowerBounds, upperBounds] = deletes ? [bounds, bounds] : [none, none]
  const counts = { columnSizes: sizes, valueCounts: sizes, nullCounts: sizes, nanCounts: sizes }
  const metrics = { ...counts, lowerBounds, upperBounds }
  const sizeBytes = (await realFiles.sizeOf(path)) ?? 0
  const entry = addedEntry(
    { path, recordCount: 1, sizeBytes, day: null, metrics },
    BigInt(snapshotId),
    noSpec,
  )
  return { ...entry, data_file: { ...entry.data_file, content: deletes ? 1 : 0 } }
}

/** Commits one more snapshot with these files, which takes the place of the one before when `forget` is set. */
async function commit(
  [namespace, name]: readonly [string, string],
  id: number,
  files: readonly string[],
  options: { deletes?: string; forget?: number } = {},
): Promise<void> {
  const table = await guests.load(namespace, name)
  const place = pathOf(table?.metadata.location ?? (await guests.location(namespace, name)))
  const rows = []
  for (const [index, paths] of [files, [options.deletes ?? '']].entries()) {
    if (paths[0] === '') continue
    const entries = []
    for (const path of paths) entries.push(await entryOf(path, id, index === 1))
    const bytes = encodeManifest(entries, noSchema, noSpec)
    const path = join(place, 'metadata', `m${id}-${index}.avro`)
    await realFiles.makeFolder(dirname(path))
    await realFiles.writeNew(path, bytes)
    const numbers = { snapshotId: BigInt(id), sequenceNumber: BigInt(id) }
    const row = manifestRow({
      location: locationOf(path),
      bytes,
      entries,
      spec: noSpec,
      ...numbers,
    })
    rows.push({ ...row, content: index })
  }
  const list = join(place, 'metadata', `list${id}.avro`)
  const head = { id: BigInt(id), parentId: null, sequenceNumber: BigInt(id) }
  await realFiles.writeNew(list, encodeManifestList(rows, head))
  const snapshot = {
    'snapshot-id': id,
    'sequence-number': id,
    'timestamp-ms': id,
    'manifest-list': locationOf(list),
    summary: { operation: 'append' },
  }
  const ref = { 'ref-name': 'main', type: 'branch', 'snapshot-id': id }
  await guests.commit(namespace, name, (current, nowMs) => {
    const uuid = '00000000-0000-4000-8000-000000000000'
    const base = current ?? readable(emptyMetadata({ uuid, location: locationOf(place), nowMs }))
    const updates = [
      { action: 'add-snapshot', snapshot },
      { action: 'set-snapshot-ref', ...ref },
    ]
    const gone = { action: 'remove-snapshots', 'snapshot-ids': [options.forget] }
    return applyUpdates(base, options.forget === undefined ? updates : [...updates, gone], nowMs)
  })
}

function readable(metadata: TableMetadata): TableMetadata {
  const own = { schemas: [noSchema], 'current-schema-id': 0 }
  return { ...metadata, ...own, 'partition-specs': [noSpec], 'default-spec-id': 0 }
}

async function backUpTo(target: string, files: Files = realFiles) {
  const ends = { read: async () => [], close: async () => {} }
  return backUp({ files, clock: realClock, data, folder: target, ends, version: 'test' })
}

test('tables of other engines are in a backup with everything they name, and name each other in the new place after a restore', async () => {
  await guests.setNamespaceProperties('empty', { owner: 'nobody' })
  await guests.setNamespaceProperties('lab', {})
  const rows = join(data, 'guests/lab/report/data/rows.parquet')
  const more = join(data, 'guests/lab/report/data/more.parquet')
  const deletes = join(data, 'guests/lab/report/data/gone-deletes.parquet')
  await writeParquet(rows, 'SELECT 1 AS id UNION ALL SELECT 2')
  await writeParquet(more, 'SELECT 3 AS id')
  await writeParquet(
    deletes,
    `SELECT '${locationOf(rows)}' AS file_path, 1::BIGINT AS pos UNION ALL SELECT 'file:${rows}', 0`,
  )
  await commit(['lab', 'report'], 1, [rows])
  await commit(['lab', 'report'], 2, [rows, more], { deletes })
  const [from, to] = ['report', 'yours'].map((name) => ({ namespace: 'lab', name }))
  if (from === undefined || to === undefined) throw new Error('two names')
  await guests.rename(from, to) // its files stay where they are
  const metadata = (await guests.load('lab', 'yours'))?.metadata
  if (metadata === undefined) throw new Error('the table is gone')
  await guests.register('lab', 'twin', metadata)
  const dropped = join(data, 'guests/lab/dropped/data/rows.parquet')
  await writeParquet(dropped, 'SELECT 1 AS id')
  await commit(['lab', 'dropped'], 1, [dropped])
  await guests.drop('lab', 'dropped', false)

  const target = join(folder, 'backup')
  await backUpTo(target)
  const backup = await verifyBackup(realFiles, target)
  expect(backup.guests?.map(({ name }) => name)).toEqual(['twin', 'yours'])
  expect(backup.files.filter(({ path }) => path.includes('/dropped/'))).toEqual([])
  renameSync(data, join(folder, 'hidden'))
  const restored = join(folder, 'restored')
  await restore(realFiles, target, restored)

  const parts = { files: realFiles, clock: realClock }
  const there = new GuestTables({ ...parts, folder: join(restored, 'guests') })
  expect(await there.namespaces()).toEqual(['empty', 'lab'])
  expect(await there.namespaceProperties('empty')).toEqual({ owner: 'nobody' })
  expect(await there.tables('lab')).toEqual(['twin', 'yours'])
  for (const name of ['twin', 'yours']) {
    const found = (await there.load('lab', name))?.metadata
    expect(pathOf(found?.location ?? '')).toBe(join(restored, 'guests/lab/report'))
    expect(found?.snapshots).toHaveLength(2)
    for (const snapshot of found?.snapshots ?? [])
      for (const manifest of await readManifestList(realFiles, snapshot['manifest-list']))
        for (const { data_file: file } of await readManifest(realFiles, manifest, noSpec)) {
          const path = pathOf(file.file_path)
          expect(dirname(path)).toBe(join(restored, 'guests/lab/report/data'))
          expect(await realFiles.sizeOf(path)).toBe(Number(file.file_size_in_bytes))
          expect((file as { lower_bounds?: unknown }).lower_bounds).toEqual([])
        }
  }
  const moved = deletes.replace(data, restored)
  const select = `SELECT file_path, pos::INTEGER AS pos FROM read_parquet('${moved}')`
  const file_path = locationOf(rows.replace(data, restored))
  expect(await queryRows(connection, select)).toEqual([
    { file_path, pos: 0 },
    { file_path, pos: 1 },
  ])
  const texts = backup.files
    .filter(({ path }) => path.startsWith('guests/') && path.endsWith('.json'))
    .map(({ path }) => readFileSync(join(restored, path), 'utf8'))
  expect(texts.join()).not.toContain(`${data}/`)
  // They go on being written to.
  await there.commit('lab', 'yours', (current) => ({
    ...(current ?? readable(emptyMetadata({ uuid: '', location: '', nowMs: 0 }))),
    properties: { a: 'b' },
  }))
  expect((await there.load('lab', 'yours'))?.metadata.properties).toMatchObject({ a: 'b' })
  // The name under which their files lie is free, as it was; the files of a table of that name lie elsewhere.
  const catalog = new IcebergCatalog({
    ...parts,
    lakeFolder: join(restored, 'lake'),
    guestFolder: join(restored, 'guests'),
  })
  const { metadata: made } = await catalog.create('lab', { name: 'report', schema: noSchema })
  expect(pathOf(made.location)).toMatch(join(restored, 'guests/lab/report.'))
  const staged = await catalog.create('lab', {
    name: 'other',
    schema: noSchema,
    'stage-create': true,
  })
  expect(pathOf(staged.metadata.location)).toBe(join(restored, 'guests/lab/other'))
})

test('a namespace that is dropped while a backup is taken is left out', async () => {
  await guests.setNamespaceProperties('gone', {})
  await guests.setNamespaceProperties('lab', {})
  const files: Files = {
    ...realFiles,
    openRead: async (path) => {
      if (path === join(data, 'guests/gone/namespace.json')) await guests.dropNamespace('gone')
      return realFiles.openRead(path)
    },
  }
  const target = join(folder, 'backup')
  await backUpTo(target, files)
  const { files: listed } = await verifyBackup(realFiles, target)
  expect(listed.map(({ path }) => path).filter((path) => path.startsWith('guests/'))).toEqual([
    'guests/lab/namespace.json',
  ])
})

test('a table whose engine gives up a snapshot while it is copied is copied as it is then', async () => {
  await guests.setNamespaceProperties('lab', {})
  const paths = [1, 2].map((n) => join(data, `guests/lab/mine/data/${n}.parquet`))
  const [first = '', second = ''] = paths
  for (const path of paths) await writeParquet(path, 'SELECT 1 AS id')
  await commit(['lab', 'mine'], 1, [first])
  let reads = 0
  const files: Files = {
    ...realFiles,
    openRead: async (path) => {
      if (path === first && ++reads === 1) {
        await commit(['lab', 'mine'], 2, [second], { forget: 1 })
        unlinkSync(first)
      }
      return realFiles.openRead(path)
    },
  }
  const target = join(folder, 'backup')
  const { guests: copied } = await backUpTo(target, files)
  expect(reads).toBe(1)
  expect(copied).toMatchObject([{ namespace: 'lab', name: 'mine', version: 2 }])
  const listed = (await verifyBackup(realFiles, target)).files.map(({ path }) => path)
  expect(listed.filter((path) => path.endsWith('.parquet'))).toEqual([
    'guests/lab/mine/data/2.parquet',
  ])
  const restored = join(folder, 'restored')
  await restore(realFiles, target, restored)
  expect(existsSync(join(restored, 'guests/lab/mine/data/2.parquet'))).toBe(true)
})

test('a file of so many position deletes that they have no room in memory is restored, too', async () => {
  await guests.setNamespaceProperties('lab', {})
  const [rows = '', deletes = ''] = ['rows', 'gone'].map((name) =>
    join(data, `guests/lab/mine/data/${name}.parquet`),
  )
  await writeParquet(rows, 'SELECT 1 AS id')
  const path = `'${locationOf(dirname(rows))}/' || repeat('x', 500)`
  await writeParquet(
    deletes,
    `SELECT ${path} AS file_path, range AS pos FROM range(500_000, 0, -1)`,
  )
  await commit(['lab', 'mine'], 1, [rows], { deletes })
  const target = join(folder, 'backup')
  await backUpTo(target)
  const restored = join(folder, 'restored')
  await restore(realFiles, target, restored)
  const moved = deletes.replace(data, restored)
  expect(
    await queryRows(connection, `SELECT count(DISTINCT pos) AS n FROM read_parquet('${moved}')`),
  ).toEqual([{ n: '500000' }])
  expect(await realFiles.list(join(restored, 'guests'))).toEqual(['lab'])
})

test('a table that names a file which is not there ends the backup with its name, and nothing is left', async () => {
  await guests.setNamespaceProperties('lab', {})
  const path = join(data, 'guests/lab/mine/data/1.parquet')
  await writeParquet(path, 'SELECT 1 AS id')
  await commit(['lab', 'mine'], 1, [path])
  unlinkSync(path)
  const target = join(folder, 'backup')
  await expect(backUpTo(target)).rejects.toMatchObject({
    code: 'TABLE_DAMAGED',
    message: expect.stringContaining('lab.mine'),
  })
  expect(await realFiles.list(target)).toEqual([])
})

test('a backup of version 1, which had no such tables, is read and restored', async () => {
  const target = join(folder, 'backup')
  await backUpTo(target)
  const path = join(target, 'backup.json')
  const stored = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>
  const { guests: _, crc32c: __, ...rest } = stored
  const old = { ...rest, formatVersion: 1 }
  const { crc32c } = sumBytes(Buffer.from(JSON.stringify(old)))
  writeFileSync(path, JSON.stringify({ ...old, crc32c }))
  expect((await readBackup(realFiles, target)).guests).toBeUndefined()
  const restored = join(folder, 'restored')
  await restore(realFiles, target, restored)
  expect(existsSync(join(restored, 'lake/default/swords/metadata/v1.metadata.json'))).toBe(true)
})
