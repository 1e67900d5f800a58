import { readdir, readFile, rm, symlink, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { realFiles, type Files } from '../../src/core/files.ts'
import type { DataFile } from '../../src/lake/manifest.ts'
import { createTable, openTable, type LakeTable } from '../../src/lake/table.ts'
import type { TableContent } from '../../src/lake/table-content.ts'
import type { Column } from '../../src/plan/columns.ts'
import {
  createBareLake,
  createLake,
  faultyFiles,
  noMetrics,
  plainColumns,
  plainRows,
  readByIcebird,
  scanRows,
  writeRows,
  type Lake,
} from './support.ts'

/** A file as writeDataFiles describes one; the table layer does not look into it. */
const someFile = (table: LakeTable, name: string): DataFile => ({
  path: join(table.folder, 'data', `${name}.parquet`),
  recordCount: 7,
  sizeBytes: 100,
  day: '2026-11-21',
  metrics: noMetrics,
})

async function reopened(lake: Lake): Promise<LakeTable> {
  const table = await openTable(lake.at())
  if (table === undefined) throw new Error('the table is gone')
  return table
}

async function metadataFiles(table: LakeTable): Promise<string[]> {
  const names = await readdir(join(table.folder, 'metadata'))
  return names.filter((name) => name.endsWith('.metadata.json'))
}

const names = async (table: LakeTable) =>
  (await table.liveFiles()).map((file) => file.path.split('/').at(-1))

describe('a table', () => {
  test('that does not exist is undefined; a new one is empty; a second creation is a conflict', async () => {
    await using lake = await createLake()
    expect(await openTable(lake.at())).toBeUndefined()
    const created = await createTable(lake.at(), plainColumns, { owner: 'w205' })
    const table = await reopened(lake)
    expect(table).toMatchObject({ version: 1, recordCount: 0, snapshot: null, uuid: created.uuid })
    expect(table.columns).toEqual(plainColumns)
    expect(table.properties).toEqual({ owner: 'w205' })
    expect(await table.liveFiles()).toEqual([])
    expect(await scanRows(lake, table)).toEqual([])
    await expect(createTable(lake.at(), plainColumns, {})).rejects.toMatchObject({
      code: 'COMMIT_CONFLICT',
    })
  })

  test('shows a commit to itself, to who opens it later and to another reader', async () => {
    await using lake = await createLake()
    const table = await createTable(lake.at(), plainColumns, {})
    for (const [batch, first] of [['a', 0] as const, ['b', 10] as const]) {
      const files = await writeRows(lake, table, plainRows(first, 10), batch)
      await table.commit({ batchId: batch, files, properties: { 'questlog.offsets': batch } })
    }
    const opened = await reopened(lake)
    for (const each of [table, opened]) {
      expect(each).toMatchObject({ version: 3, recordCount: 20 })
      expect(each.properties).toEqual({ 'questlog.offsets': 'b', 'questlog.batch-id': 'b' })
      expect(each.snapshot).toMatchObject({
        sequenceNumber: 2,
        summary: {
          operation: 'append',
          'added-records': '10',
          'total-records': '20',
          'total-data-files': '2',
          'questlog.offsets': 'b',
          'questlog.batch-id': 'b',
        },
      })
      expect(await scanRows(lake, each)).toHaveLength(20)
    }
    expect(await opened.liveFiles()).toEqual(await table.liveFiles())
    const rows = await readByIcebird(opened)
    expect(rows.map((row) => Number(row['_offset'])).sort((a, b) => a - b)).toEqual(
      Array.from({ length: 20 }, (_, offset) => offset),
    )
  })

  test('commits properties alone without a snapshot', async () => {
    await using lake = await createBareLake()
    const table = await createTable(lake.at(), plainColumns, {})
    await table.commit({ batchId: 'a', files: [], properties: { 'questlog.offsets': '{}' } })
    expect(table).toMatchObject({ version: 2, snapshot: null })
    await table.commit({ batchId: 'b', files: [someFile(table, 'b')] })
    await table.commit({ batchId: 'c', files: [], properties: { 'questlog.offsets': 'x' } })
    expect(table.snapshot?.summary['questlog.batch-id']).toBe('b')
    expect((await reopened(lake)).properties['questlog.offsets']).toBe('x')
    expect(await names(await reopened(lake))).toEqual(['b.parquet'])
  })

  test('takes a batch once, however often it is committed', async () => {
    await using lake = await createBareLake()
    const table = await createTable(lake.at(), plainColumns, {})
    const change = { batchId: 'a', files: [someFile(table, 'a')] }
    await Promise.all([table.commit(change), table.commit(change)])
    await table.commit({ batchId: 'b', files: [someFile(table, 'b')] })
    await table.commit(change)
    await (await reopened(lake)).commit(change)
    expect(await names(await reopened(lake))).toEqual(['a.parquet', 'b.parquet'])
    expect(table.version).toBe(3)
  })

  test('runs commits of one object one after the other', async () => {
    await using lake = await createBareLake()
    const table = await createTable(lake.at(), plainColumns, {})
    const batches = ['a', 'b', 'c', 'd']
    await Promise.all(
      batches.map((batchId) => table.commit({ batchId, files: [someFile(table, batchId)] })),
    )
    expect(await names(await reopened(lake))).toEqual(batches.map((name) => `${name}.parquet`))
  })

  test('gives snapshots times that never go back, though the clock does', async () => {
    await using lake = await createBareLake()
    const table = await createTable(lake.at(), plainColumns, {})
    await table.commit({ batchId: 'a', files: [someFile(table, 'a')] })
    const before = table.snapshot?.timestampMs ?? 0
    lake.clock.ms -= 3_600_000
    await table.commit({ batchId: 'b', files: [someFile(table, 'b')] })
    expect(table.snapshot?.timestampMs).toBe(before)
  })

  test('that was removed under an open object says so', async () => {
    await using lake = await createBareLake()
    const table = await createTable(lake.at(), plainColumns, {})
    await rm(table.folder, { recursive: true })
    await expect(table.reload()).rejects.toMatchObject({ code: 'TABLE_UNKNOWN' })
    await createTable(lake.at(), plainColumns, {})
    await (await reopened(lake)).commit({ batchId: 'a', files: [] })
    await expect(table.reload()).rejects.toMatchObject({ code: 'TABLE_UNKNOWN' })
  })
})

describe('two writers', () => {
  test('on one base: the second gets COMMIT_CONFLICT, sees the first, and succeeds when it tries again', async () => {
    await using lake = await createBareLake()
    const first = await createTable(lake.at(), plainColumns, {})
    const second = await reopened(lake)
    await first.commit({ batchId: 'a', files: [someFile(first, 'a')] })
    const change = { batchId: 'b', files: [someFile(second, 'b')] }
    await expect(second.commit(change)).rejects.toMatchObject({ code: 'COMMIT_CONFLICT' })
    expect(await names(second)).toEqual(['a.parquet'])
    await second.commit(change)
    await first.reload()
    expect(await names(first)).toEqual(['a.parquet', 'b.parquet'])
    expect(await names(await reopened(lake))).toEqual(['a.parquet', 'b.parquet'])
  })

  test('of the same batch: the second finds it done', async () => {
    await using lake = await createBareLake()
    const first = await createTable(lake.at(), plainColumns, {})
    const second = await reopened(lake)
    await first.commit({ batchId: 'a', files: [someFile(first, 'a')] })
    await second.commit({ batchId: 'a', files: [someFile(second, 'again')] })
    expect(await names(second)).toEqual(['a.parquet'])
  })

  test('one of them 120 commits behind: its name is free again, but it does not win', async () => {
    await using lake = await createBareLake()
    const ahead = await createTable(lake.at(), plainColumns, {})
    const behind = await reopened(lake)
    for (let n = 0; n < 120; n++) await ahead.commit({ batchId: `ahead-${n}`, files: [] })
    await expect(
      behind.commit({ batchId: 'late', files: [someFile(behind, 'late')] }),
    ).rejects.toMatchObject({ code: 'COMMIT_CONFLICT' })
    expect(behind.version).toBe(121)
    await behind.commit({ batchId: 'late', files: [someFile(behind, 'late')] })
    expect(await names(await reopened(lake))).toEqual(['late.parquet'])
  })
})

describe('the files of many commits', () => {
  test('150 commits leave 101 metadata files, the newest', async () => {
    await using lake = await createBareLake()
    const table = await createTable(lake.at(), plainColumns, {})
    for (let n = 0; n < 150; n++) await table.commit({ batchId: `b${n}`, files: [] })
    const kept = (await metadataFiles(table)).map((name) => Number(/\d+/.exec(name)?.[0]))
    expect(kept.sort((a, b) => a - b)).toEqual(Array.from({ length: 101 }, (_, n) => 51 + n))
    const bytes = await readFile(join(table.folder, 'metadata', 'v151.metadata.json'), 'utf8')
    const log = (JSON.parse(bytes) as { 'metadata-log': { 'metadata-file': string }[] })[
      'metadata-log'
    ]
    expect(log).toHaveLength(100)
    expect(log[0]?.['metadata-file']).toBe(`file://${table.folder}/metadata/v51.metadata.json`)
  })

  test('the 101st manifest merges them into one; every file keeps its snapshot and is there once', async () => {
    await using lake = await createLake()
    const table = await createTable(lake.at(), plainColumns, {})
    const files = await writeRows(lake, table, plainRows(0, 1), 'real')
    await table.commit({ batchId: 'real', files })
    for (let n = 0; n < 104; n++) {
      const [copy] = files
      if (copy === undefined) throw new Error('no file was written')
      const path = copy.path.replace(/real/, `copy${n}`)
      await symlink(copy.path, path)
      await table.commit({ batchId: `b${n}`, files: [{ ...copy, path }] })
    }
    const opened = await reopened(lake)
    expect(await opened.liveFiles()).toEqual(await table.liveFiles())
    expect(await opened.liveFiles()).toHaveLength(105)
    expect(new Set((await opened.liveFiles()).map((file) => file.snapshotId)).size).toBe(105)
    expect(opened.recordCount).toBe(105)
    const manifests = (await readdir(join(table.folder, 'metadata'))).filter((name) =>
      name.endsWith('-m0.avro'),
    )
    expect(manifests).toHaveLength(105)
    expect(await readByIcebird(opened)).toHaveLength(105)
    expect(await scanRows(lake, opened)).toHaveLength(105)
  })
})

describe('opening', () => {
  test.each([
    ['is missing', undefined],
    ['is behind', '2'],
    ['is empty after a power cut', ''],
    ['is garbage', 'v3'],
    ['names a version that is not there', '99'],
  ])('finds the newest version when the hint %s', async (_what, hint) => {
    await using lake = await createBareLake()
    const table = await createTable(lake.at(), plainColumns, {})
    for (const batchId of ['a', 'b', 'c']) await table.commit({ batchId, files: [] })
    const path = join(table.folder, 'metadata', 'version-hint.text')
    expect(await readFile(path, 'utf8')).toBe('4')
    if (hint === undefined) await unlink(path)
    else await writeFile(path, hint)
    expect(await reopened(lake)).toMatchObject({ version: 4 })
  })

  test('leaves temporary and unknown files alone', async () => {
    await using lake = await createBareLake()
    const table = await createTable(lake.at(), plainColumns, {})
    const strangers = ['x.metadata.json.tmp', 'v0.metadata.json', 'v9.metadata.json.tmp', 'vx.avro']
    for (const name of strangers) await writeFile(join(table.folder, 'metadata', name), 'x')
    await table.commit({ batchId: 'a', files: [] })
    await unlink(join(table.folder, 'metadata', 'version-hint.text'))
    expect(await reopened(lake)).toMatchObject({ version: 2 })
    expect(await readdir(join(table.folder, 'metadata'))).toEqual(expect.arrayContaining(strangers))
  })

  test('names the file that is missing or damaged', async () => {
    await using lake = await createBareLake()
    const table = await createTable(lake.at(), plainColumns, {})
    await table.commit({ batchId: 'a', files: [someFile(table, 'a')] })
    const folder = join(table.folder, 'metadata')
    const [manifest = ''] = (await readdir(folder)).filter((name) => name.endsWith('-m0.avro'))
    const bytes = await readFile(join(folder, manifest))
    for (const wrong of [bytes.subarray(0, -1), Buffer.from(bytes).fill(0, 0, 50)]) {
      await writeFile(join(folder, manifest), wrong)
      await expect((await reopened(lake)).liveFiles()).rejects.toMatchObject({
        code: 'TABLE_DAMAGED',
        facts: { path: join(folder, manifest) },
      })
    }
    const [list = ''] = (await readdir(folder)).filter((name) => name.startsWith('snap-'))
    await unlink(join(folder, list))
    await expect(openTable(lake.at())).rejects.toMatchObject({
      code: 'TABLE_DAMAGED',
      facts: { path: join(folder, list) },
    })
  })
})

describe('evolution of a table', () => {
  test('changes metadata only: old files stay byte for byte, old rows are null in the new column', async () => {
    await using lake = await createLake()
    const table = await createTable(lake.at(), plainColumns, {})
    await table.commit({ batchId: 'a', files: await writeRows(lake, table, plainRows(0, 3), 'a') })
    const [old] = await table.liveFiles()
    const bytes = await readFile(old?.path ?? '')
    const wider: Column[] = plainColumns
      .map((column) =>
        column.name === '_log_partition' ? { ...column, type: { kind: 'long' } as const } : column,
      )
      .toSpliced(1, 0, { name: 'description', type: { kind: 'string' }, doc: 'of a knife' })
    await table.evolve(wider)
    expect(table.columns).toEqual(wider)
    expect((await reopened(lake)).columns).toEqual(wider)
    const select = `SELECT *, 'very sharp knife' AS description FROM (${plainRows(3, 2)})`
    await table.commit({ batchId: 'b', files: await writeRows(lake, table, select, 'b') })
    const rows = await scanRows(lake, table, 'ORDER BY _offset')
    expect(rows.map((row) => [row['_offset'], row['description'], row['_log_partition']])).toEqual([
      ['0', null, '0'],
      ['1', null, '0'],
      ['2', null, '0'],
      ['3', 'very sharp knife', '0'],
      ['4', 'very sharp knife', '0'],
    ])
    expect(await readFile(old?.path ?? '')).toEqual(bytes)
    expect((await readByIcebird(table)).filter((row) => row['description'])).toHaveLength(2)
  })

  test('to the same columns writes nothing; a dropped column disappears and its data stays', async () => {
    await using lake = await createLake()
    const table = await createTable(lake.at(), plainColumns, {})
    await table.evolve(plainColumns)
    expect(table.version).toBe(1)
    await table.commit({ batchId: 'a', files: await writeRows(lake, table, plainRows(0, 3), 'a') })
    await table.evolve(plainColumns.slice(1))
    expect(Object.keys((await scanRows(lake, table))[0] ?? {})).not.toContain('Host')
    await table.evolve(plainColumns)
    expect((await scanRows(lake, table)).map((row) => row['Host'])).toEqual([null, null, null])
  })

  test('that is refused leaves the table as it was', async () => {
    await using lake = await createBareLake()
    const table = await createTable(lake.at(), plainColumns, {})
    const asInt = plainColumns.map((column) =>
      column.name === '_offset' ? { ...column, type: { kind: 'int' } as const } : column,
    )
    for (const columns of [asInt, plainColumns.slice(0, -1)])
      await expect(table.evolve(columns)).rejects.toMatchObject({ code: 'EVOLUTION_REFUSED' })
    expect(table).toMatchObject({ version: 1, columns: plainColumns })
  })

  test('conflicts with another writer, and is done when the other did the same', async () => {
    await using lake = await createBareLake()
    const first = await createTable(lake.at(), plainColumns, {})
    const [second, third] = [await reopened(lake), await reopened(lake)]
    const more = [...plainColumns, { name: 'x', type: { kind: 'string' } as const }]
    await first.evolve(more)
    await second.evolve(more)
    expect(second.version).toBe(2)
    await expect(
      third.evolve([...plainColumns, { name: 'y', type: { kind: 'int' } as const }]),
    ).rejects.toMatchObject({ code: 'COMMIT_CONFLICT' })
    expect(third.columns).toEqual(more)
  })
})

describe('an answer of link() that is lost', () => {
  test.each(['commit', 'evolve', 'create'] as const)(
    'is found out by looking, not by repeating: %s',
    async (what) => {
      await using lake = await createBareLake()
      let links = 0
      const files = faultyFiles((_n, name) => {
        return name === 'link' && ++links === (what === 'create' ? 1 : 2) ? 'after' : 'none'
      })
      const table = await createTable(lake.at('swords', files), plainColumns, {})
      if (what === 'commit') await table.commit({ batchId: 'a', files: [someFile(table, 'a')] })
      const more = [...plainColumns, { name: 'x', type: { kind: 'string' } as const }]
      if (what === 'evolve') await table.evolve(more)
      const opened = await reopened(lake)
      expect(table.version).toBe(what === 'create' ? 1 : 2)
      expect(opened.version).toBe(table.version)
      expect(await names(opened)).toEqual(what === 'commit' ? ['a.parquet'] : [])
    },
  )

  test('and that can not be found out is said to be unknown; the next try finds it', async () => {
    await using lake = await createBareLake()
    let isBroken = false
    const files = faultyFiles((_n, name) => {
      if (isBroken && name === 'link') return 'after'
      return isBroken && name === 'list' ? 'before' : 'none'
    })
    const table = await createTable(lake.at('swords', files), plainColumns, {})
    const change = { batchId: 'a', files: [someFile(table, 'a')] }
    isBroken = true
    await expect(table.commit(change)).rejects.toMatchObject({ code: 'OUTCOME_UNKNOWN' })
    isBroken = false
    await table.commit(change)
    expect(await names(table)).toEqual(['a.parquet'])
    expect((await reopened(lake)).version).toBe(2)
  })
})

test('everything that a commit names is on the disk before its link, and the link before the commit is done', async () => {
  await using lake = await createBareLake()
  const done: string[] = []
  const record = (name: string) => (path: string) => {
    const short = path
      .replace(/^.*\/metadata/, 'metadata')
      .replace(/[0-9a-f]{8}-[0-9a-f-]{27}|\d{6,}/g, '#')
    done.push(`${name} ${short}`)
  }
  const files: Files = {
    ...realFiles,
    writeNew: (path, bytes, named) =>
      realFiles.writeNew(path, bytes, named).then(() => record('synced')(path)),
    syncFolder: (path) => realFiles.syncFolder(path).then(() => record('synced')(path)),
    link: (from, to) => realFiles.link(from, to).then(() => record('linked')(to)),
  }
  const table = await createTable(lake.at('swords', files), plainColumns, {})
  done.length = 0
  await table.commit({ batchId: 'a', files: [someFile(table, 'a')] })
  expect([...done.slice(0, 4).toSorted(), ...done.slice(4)]).toEqual([
    'synced metadata',
    'synced metadata/#-m0.avro',
    'synced metadata/#.metadata.json.tmp',
    'synced metadata/snap-#-1-#.avro',
    'linked metadata/v2.metadata.json',
    'synced metadata',
  ])
})

test('what was prepared for a commit is shown when that has happened; when another wins it is dropped, and prepared anew for the next try', async () => {
  await using lake = await createBareLake()
  const first = await createTable(lake.at('swords'), plainColumns, {})
  const second = await reopened(lake)
  const done: string[] = []
  const prepare = (name: string) => async (content: TableContent) => {
    const what = `${name} of ${content.recordCount} rows in ${content.files.length} files`
    const { version } = second
    done.push(`${what} prepared`)
    return {
      show: async () => void done.push(`${what} shown after v${version}, now v${second.version}`),
      drop: async () => void done.push(`${what} dropped`),
    }
  }
  const other = someFile(first, 'a')
  await first.commit({ batchId: 'a', files: [other] })
  const change = { batchId: 'b', files: [someFile(second, 'b')] }
  await expect(second.commit(change, prepare('b'))).rejects.toThrow('another writer committed')
  await second.commit(change, prepare('b'))
  await second.commit(change, prepare('b')) // it is in the table already
  const rows = other.recordCount
  expect(done).toEqual([
    `b of ${rows} rows in 1 files prepared`,
    `b of ${rows} rows in 1 files dropped`,
    `b of ${2 * rows} rows in 2 files prepared`,
    `b of ${2 * rows} rows in 2 files shown after v2, now v3`,
    `b of ${2 * rows} rows in 2 files prepared`,
    `b of ${2 * rows} rows in 2 files shown after v3, now v3`,
  ])
})

test('what can not be prepared is prepared again when the commit has happened, and stops only what comes after it', async () => {
  await using lake = await createBareLake()
  const table = await createTable(lake.at('swords'), plainColumns, {})
  const versions: number[] = []
  const prepare = async () => {
    versions.push(table.version)
    throw new Error('no room for a plan')
  }
  const change = { batchId: 'a', files: [someFile(table, 'a')] }
  await expect(table.commit(change, prepare)).rejects.toThrow('no room for a plan')
  expect([versions, table.version]).toEqual([[1, 2], 2])
})

test('realFiles and the faulty ones have the same operations', () => {
  expect(Object.keys(faultyFiles(() => 'none'))).toEqual(
    expect.arrayContaining(Object.keys(realFiles)),
  )
})
