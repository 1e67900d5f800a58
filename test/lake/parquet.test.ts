import { readdir, readFile, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects } from 'hyparquet'
import { compressors } from 'hyparquet-compressors'
import { describe, expect, test } from 'vitest'
import { queryRows } from '../../src/core/duckdb.ts'
import { realFiles } from '../../src/core/files.ts'
import { scanSql, writeDataFiles } from '../../src/lake/parquet.ts'
import { createTable, openTable, type LakeTable } from '../../src/lake/table.ts'
import { duckdbType, type Column, type ColumnType } from '../../src/plan/columns.ts'
import {
  createLake,
  plainColumns,
  plainRows,
  readByIcebird,
  scanRows,
  writeRows,
} from './support.ts'

const decimal: ColumnType = { kind: 'decimal', precision: 20, scale: 3 }
const struct = (...fields: Column[]): ColumnType => ({ kind: 'struct', fields })

/** One column of each type, under names that are hard on quoting; two values each, as SQL. */
const everyType: readonly (readonly [string, ColumnType, string, string])[] = [
  ['User-Agent', { kind: 'string' }, "'é \u{1f5e1} ''quoted'''", "''"],
  ['say "hi"', { kind: 'boolean' }, 'true', 'false'],
  ["it's", { kind: 'int' }, '-2147483648', '2147483647'],
  ['größe', { kind: 'long' }, '-9223372036854775808', '9223372036854775807'],
  ['a b', { kind: 'double' }, "'nan'", '-0.1'],
  ['date', { kind: 'date' }, "'1969-12-31'", "'2026-11-21'"],
  ['at', { kind: 'timestamp' }, "'1900-01-01 00:00:00.000001'", "'2026-11-21 23:59:59.999999'"],
  ['zoned', { kind: 'timestamptz' }, "'2026-11-21 01:00:00+02'", "'1969-12-31 23:59:59.5+00'"],
  ['id', { kind: 'uuid' }, "'0f3c1d3e-0000-4000-8000-000000000000'", "'not a uuid'"],
  ['bytes', { kind: 'binary' }, "'\\x00\\xFF'::BLOB", "''::BLOB"],
  ['price', decimal, '-12345678901234567.891', '0.5'],
  [
    'wide',
    { kind: 'decimal', precision: 38, scale: 0 },
    '99999999999999999999999999999999999999',
    '-1',
  ],
  ['tags', { kind: 'list', element: { kind: 'string' } }, "['a', NULL]", '[]'],
  ['counts', { kind: 'map', value: { kind: 'long' } }, "MAP {'k': 1, 'l': NULL}", 'MAP {}'],
  [
    'device',
    struct(
      { name: 'os-name', type: { kind: 'string' } },
      { name: 'quote"d', type: { kind: 'list', element: struct({ name: 'w', type: decimal }) } },
    ),
    `{'os-name': 'x', 'quote"d': [{'w': 1.5}, NULL]}`,
    `{'os-name': NULL, 'quote"d': NULL}`,
  ],
]

const typedColumns: readonly Column[] = [
  ...everyType.map(([name, type]) => ({ name, type })),
  { name: '_log_partition', type: { kind: 'int' } },
  { name: '_offset', type: { kind: 'long' } },
  { name: '_timestamp', type: { kind: 'timestamptz' } },
]

const lastColumns = (offset: number) => `0, ${offset}, TIMESTAMPTZ '2026-11-21 10:00:00+00'`
const typedRow = (values: readonly string[], offset: number) =>
  [
    ...everyType.map(([, type], n) => `CAST(${values[n]} AS ${duckdbType(type)})`),
    lastColumns(offset),
  ].join(', ')
const typedRows = [
  typedRow(
    everyType.map(([, , first]) => first),
    0,
  ),
  typedRow(
    everyType.map(([, , , second]) => second),
    1,
  ),
  typedRow(
    everyType.map(() => 'NULL'),
    2,
  ),
]
const quoted = typedColumns.map(({ name }) => `"${name.replaceAll('"', '""')}"`).join(', ')
const typedSelect = `SELECT * FROM (VALUES ${typedRows.map((row) => `(${row})`).join(', ')}) v(${quoted})`

const onlyFile = async (table: LakeTable) => (await table.liveFiles())[0]?.path ?? ''

describe('data files', () => {
  test('give back every type exactly, nulls and hard names included', async () => {
    await using lake = await createLake()
    const table = await createTable(lake.at(), typedColumns, {})
    await table.commit({ batchId: 'a', files: await writeRows(lake, table, typedSelect, 'a') })
    const written = await queryRows(lake.connection, 'SELECT * FROM staged ORDER BY _offset')
    expect(await scanRows(lake, table, 'ORDER BY _offset')).toEqual(written)
    expect(written[2]?.['tags']).toBeNull()
    const types = await queryRows(
      lake.connection,
      `DESCRIBE ${scanSql(table, await table.liveFiles())}`,
    )
    const staged = await queryRows(lake.connection, 'DESCRIBE staged')
    const shape = (rows: typeof types) =>
      rows.map((row) => [row['column_name'], row['column_type']])
    expect(shape(types)).toEqual(shape(staged))
  })

  test('are plain Parquet for another reader: names, values, zstd, field ids', async () => {
    await using lake = await createLake()
    const table = await createTable(lake.at(), typedColumns, {})
    await table.commit({ batchId: 'a', files: await writeRows(lake, table, typedSelect, 'a') })
    const file = await asyncBufferFromFile(await onlyFile(table))
    const [row] = await parquetReadObjects({ file, compressors })
    expect(row).toMatchObject({
      'User-Agent': "é \u{1f5e1} 'quoted'",
      'say "hi"': true,
      "it's": -2147483648,
      größe: -9223372036854775808n,
      date: new Date('1969-12-31'),
      zoned: new Date('2026-11-20T23:00:00Z'),
      tags: ['a', null],
      counts: { k: 1n, l: null },
      device: { 'os-name': 'x', 'quote"d': [{ w: 1.5 }, undefined] }, // as hyparquet gives a null struct
      _offset: 0n,
    })
    const metadata = await parquetMetadataAsync(file)
    expect(metadata.row_groups[0]?.columns.map((column) => column.meta_data?.codec)).toContain(
      'ZSTD',
    )
    const ids = new Map(metadata.schema.map((element) => [element.name, element.field_id]))
    for (const field of table.schema.fields) expect(ids.get(field.name)).toBe(field.id)
    expect(ids.has('_timestamp_day')).toBe(false)
    expect(await readByIcebird(table)).toHaveLength(3)
  })

  test('hold one UTC day each, in log order, under the folder of the day', async () => {
    await using lake = await createLake()
    await lake.connection.run("SET TimeZone = 'Pacific/Auckland'")
    const table = await createTable(lake.at(), plainColumns, {})
    const select = `SELECT 'h' AS "Host", i % 2 AS _log_partition, 100 - i AS _offset,
      TIMESTAMPTZ '2026-11-20 23:59:59.999999+00' + INTERVAL (i // 3) MICROSECOND AS _timestamp FROM range(6) r(i)`
    const files = await writeRows(lake, table, select, 'b 1/x')
    expect(files.map((file) => [file.day, file.recordCount])).toEqual([
      ['2026-11-20', 3],
      ['2026-11-21', 3],
    ])
    for (const [n, file] of files.entries()) {
      expect(dirname(file.path)).toBe(join(table.folder, 'data', `_timestamp_day=${file.day}`))
      expect(file.path).toMatch(new RegExp(`/b_1_x-${n}-[0-9a-f-]{36}\\.parquet$`))
      expect((await stat(file.path)).size).toBe(file.sizeBytes)
      const rows = await parquetReadObjects({
        file: await asyncBufferFromFile(file.path),
        compressors,
      })
      const keys = rows.map((row) => [row['_log_partition'], row['_offset']])
      expect(keys).toEqual(
        keys.toSorted((a, b) => Number(a[0]) - Number(b[0]) || Number(a[1]) - Number(b[1])),
      )
    }
    await table.commit({ batchId: 'a', files })
    expect((await table.liveFiles()).map((file) => file.day)).toEqual(['2026-11-20', '2026-11-21'])
    expect(await (await openTable(lake.at()))?.liveFiles()).toEqual(await table.liveFiles())
  })

  test('are not written for no rows, and need no partition when the table has no time', async () => {
    await using lake = await createLake()
    const table = await createTable(lake.at(), plainColumns, {})
    expect(await writeRows(lake, table, plainRows(0, 0), 'a')).toEqual([])
    const timeless = await createTable(lake.at('timeless'), plainColumns.slice(0, 1), {})
    expect(await writeRows(lake, timeless, `SELECT 'x' AS "Host" WHERE false`, 'a')).toEqual([])
    const files = await writeRows(lake, timeless, `SELECT 'x' AS "Host"`, 'a')
    expect(files).toMatchObject([{ day: null, recordCount: 1 }])
    await timeless.commit({ batchId: 'a', files })
    const opened = await openTable(lake.at('timeless'))
    expect(opened?.dayColumn).toBeNull()
    expect(await opened?.liveFiles()).toMatchObject([{ day: null, path: files[0]?.path }])
    expect(await readByIcebird(timeless)).toEqual([{ Host: 'x' }])
    expect(await readdir(join(timeless.folder, 'data'))).toHaveLength(1)
  })

  test('are synced, and so are their folders, before they are handed out', async () => {
    await using lake = await createLake()
    const table = await createTable(lake.at(), plainColumns, {})
    await writeRows(lake, table, plainRows(0, 5), 'a')
    const synced: string[] = []
    const recording = {
      ...realFiles,
      makeFolder: async (path: string) => void synced.push(path),
      syncFile: async (path: string) => void synced.push(path),
      syncFolder: async (path: string) => void synced.push(path),
    }
    const { connection } = lake
    const options = { connection, files: recording, table, relation: 'staged', batchId: 'a' }
    const [file] = await writeDataFiles(options)
    const folder = dirname(file?.path ?? '')
    expect(synced[0]).toBe(folder)
    expect(new Set(synced.slice(1))).toEqual(new Set([folder, file?.path]))
  })

  test('that can not be synced are not handed out', async () => {
    await using lake = await createLake()
    const table = await createTable(lake.at(), plainColumns, {})
    await writeRows(lake, table, plainRows(0, 5), 'a')
    const { connection } = lake
    const failing = { ...realFiles, syncFile: () => Promise.reject(new Error('EIO')) }
    const options = { connection, files: failing, table, relation: 'staged', batchId: 'b' }
    await expect(writeDataFiles(options)).rejects.toThrow('EIO')
  })
})

describe('metrics', () => {
  test('count values and nulls, and bound every column that has one value a row', async () => {
    await using lake = await createLake()
    const table = await createTable(lake.at(), typedColumns, {})
    const [file] = await writeRows(lake, table, typedSelect, 'a')
    const id = (name: string) => table.schema.fields.find((field) => field.name === name)?.id ?? 0
    const metrics = file?.metrics
    for (const name of ['User-Agent', 'größe', 'a b', 'price', 'bytes']) {
      expect(metrics?.valueCounts.get(id(name))).toBe(3)
      expect(metrics?.nullCounts.get(id(name))).toBe(1)
      expect(metrics?.columnSizes.get(id(name))).toBeGreaterThan(0)
      expect(metrics?.lowerBounds.has(id(name))).toBe(true)
    }
    expect(metrics?.nullCounts.get(id('_offset'))).toBe(0)
    expect(metrics?.lowerBounds.get(id('größe'))?.readBigInt64LE()).toBe(-9223372036854775808n)
    expect(metrics?.upperBounds.get(id('_offset'))?.readBigInt64LE()).toBe(2n)
    expect(metrics?.upperBounds.get(id('bytes'))?.toString('hex')).toBe('00ff')
    expect(metrics?.nanCounts.has(id('a b'))).toBe(false) // there is one; DuckDB does not count them
    expect(metrics?.valueCounts.has(id('tags'))).toBe(false)
    expect(metrics?.lowerBounds.size).toBe(everyType.length - 3 + 3 + 1) // less list, map, struct; questlog's own; device.os-name
  })

  test('bound texts by prefixes that enclose them; what DuckDB has no statistics of has no bounds', async () => {
    await using lake = await createLake()
    const table = await createTable(lake.at(), plainColumns, {})
    const boundsOf = async (highest: string, length: number) => {
      const select = `SELECT repeat(chr(i::INTEGER), ${length}) AS "Host", 0 AS _log_partition, i AS _offset,
        TIMESTAMPTZ '2026-11-21 10:00:00+00' AS _timestamp FROM (VALUES (97), (unicode('${highest}'))) r(i)`
      const [file] = await writeRows(lake, table, select, 'a')
      return [
        file?.metrics.lowerBounds.get(1)?.toString(),
        file?.metrics.upperBounds.get(1)?.toString(),
      ]
    }
    const lower = 'a'.repeat(16)
    expect(await boundsOf('b', 16)).toEqual([lower, 'b'.repeat(16)])
    expect(await boundsOf('b', 20_000)).toEqual([lower, `${'b'.repeat(15)}c`]) // DuckDB itself cut it at 256 bytes
    expect(await boundsOf('\u{1f5e1}', 40)).toEqual([lower, `${'\u{1f5e1}'.repeat(15)}\u{1f5e2}`])
    expect(await boundsOf('\u{1f5e1}', 20_000)).toEqual([undefined, undefined])
  })
})

describe('a scan', () => {
  test('of no files has the columns and no rows', async () => {
    await using lake = await createLake()
    const table = await createTable(lake.at(), typedColumns, {})
    const rows = await queryRows(lake.connection, `DESCRIBE ${scanSql(table, [])}`)
    expect(rows.map((row) => row['column_name'])).toEqual(typedColumns.map(({ name }) => name))
    expect(rows.map((row) => row['column_type'])).toContain('TIMESTAMP WITH TIME ZONE')
    expect(await scanRows(lake, table)).toEqual([])
  })

  test('reads files of every age: nested fields that were added are null, narrower types are widened', async () => {
    await using lake = await createLake()
    const columns = (inner: ColumnType): readonly Column[] => [
      { name: 'one', type: inner },
      { name: 'many', type: { kind: 'list', element: inner } },
      { name: 'named', type: { kind: 'map', value: inner } },
      ...plainColumns,
    ]
    const rows = (value: string, offset: number) =>
      `SELECT ${value} AS one, [${value}, NULL] AS many, MAP {'k': ${value}} AS named, * FROM (${plainRows(offset, 1)})`
    const small = struct({ name: 'w', type: { kind: 'int' } })
    const big = struct(
      { name: 'new one', type: { kind: 'string' } },
      { name: 'w', type: { kind: 'long' } },
    )
    const table = await createTable(lake.at(), columns(small), {})
    await table.commit({
      batchId: 'a',
      files: await writeRows(lake, table, rows("{'w': 1}", 0), 'a'),
    })
    await table.evolve(columns(big))
    const newer = rows(`{'new one': 'x', 'w': 5000000000}`, 1)
    await table.commit({ batchId: 'b', files: await writeRows(lake, table, newer, 'b') })
    const old = { 'new one': null, w: '1' }
    const young = { 'new one': 'x', w: '5000000000' }
    expect(await scanRows(lake, table, 'ORDER BY _offset')).toMatchObject([
      { one: old, many: [old, null], named: [{ key: 'k', value: old }] },
      { one: young, many: [young, null], named: [{ key: 'k', value: young }] },
    ])
  })

  test('gives null for a table whose columns are all newer than its files', async () => {
    await using lake = await createLake()
    const table = await createTable(lake.at(), plainColumns.slice(0, 1), {})
    await table.commit({
      batchId: 'a',
      files: await writeRows(lake, table, `SELECT 'x' AS "Host"`, 'a'),
    })
    await table.evolve([{ name: 'other', type: { kind: 'double' } }])
    expect(await scanRows(lake, table)).toEqual([{ other: null }])
  })

  test.each(['[glob] *? ', 'per%20cent ', 'quote\' " ', 'ümlaut '])(
    'works in a folder with a hard name: %s',
    async (prefix) => {
      await using lake = await createLake(prefix)
      const columns = [
        ...plainColumns,
        { name: '_timestamp_day', type: { kind: 'string' } as const },
      ]
      const table = await createTable(lake.at(), columns, {})
      for (const [n, batchId] of ['a', 'b'].entries()) {
        const files = await writeRows(lake, table, plainRows(n, 1), batchId)
        await table.commit({ batchId, files })
      }
      const opened = await openTable(lake.at())
      if (opened === undefined) throw new Error('the table is gone')
      const rows = await scanRows(lake, opened)
      expect(rows.map((row) => row['_timestamp_day'])).toEqual([null, null])
      expect(await readByIcebird(opened)).toHaveLength(2)
      const text = await readFile(join(table.folder, 'metadata', 'v3.metadata.json'), 'utf8')
      expect((JSON.parse(text) as { location: string }).location).toBe(`file://${table.folder}`)
    },
  )
})
