import { asyncBufferFromFile, parquetReadObjects } from 'hyparquet'
import { compressors } from 'hyparquet-compressors'
import { expect, test } from 'vitest'
import { createTable } from '../../src/lake/table.ts'
import { duckdbType, type Column, type ColumnType } from '../../src/plan/columns.ts'
import { createLake, readByIcebird, scanRows, writeRows } from './support.ts'

interface TypeCase {
  readonly name: string
  readonly type: ColumnType
  /** A value as SQL; as our own SQL gives it back in JSON form; as readers of the files give it. */
  readonly sql: string
  readonly json: unknown
  readonly value: unknown
}

const struct = (...fields: Column[]): ColumnType => ({ kind: 'struct', fields })
const price: ColumnType = { kind: 'decimal', precision: 9, scale: 2 }

const cases: readonly TypeCase[] = [
  {
    name: 'string',
    type: { kind: 'string' },
    sql: "'größe \u{1f5e1}'",
    json: 'größe \u{1f5e1}',
    value: 'größe \u{1f5e1}',
  },
  { name: 'boolean', type: { kind: 'boolean' }, sql: 'false', json: false, value: false },
  { name: 'int', type: { kind: 'int' }, sql: '-2147483648', json: -2147483648, value: -2147483648 },
  {
    name: 'long',
    type: { kind: 'long' },
    sql: '9007199254740993',
    json: '9007199254740993',
    value: 9007199254740993n,
  },
  { name: 'double', type: { kind: 'double' }, sql: '-0.1', json: -0.1, value: -0.1 },
  { name: 'decimal', type: price, sql: '-1234567.75', json: '-1234567.75', value: -1234567.75 },
  {
    name: 'date',
    type: { kind: 'date' },
    sql: "'1969-12-31'",
    json: '1969-12-31',
    value: new Date('1969-12-31'),
  },
  {
    name: 'timestamp',
    type: { kind: 'timestamp' },
    sql: "'2026-11-21 23:59:59.999'",
    json: '2026-11-21 23:59:59.999',
    value: new Date('2026-11-21T23:59:59.999Z'),
  },
  {
    name: 'timestamptz',
    type: { kind: 'timestamptz' },
    sql: "'2026-11-21 01:00:00+02'",
    json: '2026-11-20 23:00:00+00',
    value: new Date('2026-11-20T23:00:00Z'),
  },
  {
    name: 'uuid',
    type: { kind: 'uuid' },
    sql: "'0f3c1d3e-0000-4000-8000-000000000000'",
    json: '0f3c1d3e-0000-4000-8000-000000000000',
    value: '0f3c1d3e-0000-4000-8000-000000000000',
  },
  {
    name: 'binary',
    type: { kind: 'binary' },
    sql: "'\\x41\\x42'::BLOB",
    json: 'AB',
    value: new Uint8Array([0x41, 0x42]),
  },
  {
    name: 'list',
    type: { kind: 'list', element: { kind: 'long' } },
    sql: '[1, NULL, 3]',
    json: ['1', null, '3'],
    value: [1n, null, 3n],
  },
  {
    name: 'map',
    type: { kind: 'map', value: { kind: 'int' } },
    sql: "MAP {'a': 1, 'b': 2}",
    json: [
      { key: 'a', value: 1 },
      { key: 'b', value: 2 },
    ],
    value: { a: 1, b: 2 },
  },
  {
    name: 'struct',
    type: struct({ name: 'os', type: { kind: 'string' } }, { name: 'bits', type: { kind: 'int' } }),
    sql: "{'os': 'linux', 'bits': 64}",
    json: { os: 'linux', bits: 64 },
    value: { os: 'linux', bits: 64 },
  },
  {
    name: 'nested',
    type: struct({
      name: 'items',
      type: { kind: 'list', element: struct({ name: 'price', type: price }) },
    }),
    sql: "{'items': [{'price': 1.5}, {'price': 2.25}]}",
    json: { items: [{ price: '1.50' }, { price: '2.25' }] },
    value: { items: [{ price: 1.5 }, { price: 2.25 }] },
  },
]

const columns: readonly Column[] = [
  ...cases.map(({ name, type }) => ({ name, type })),
  { name: '_offset', type: { kind: 'long' } },
]

test('a value of every type, and its null, comes back the same through our SQL, hyparquet and icebird', async () => {
  await using lake = await createLake()
  const table = await createTable(lake.at(), columns, {})
  const row = (values: readonly string[], offset: number) =>
    `SELECT ${cases.map(({ name, type }, at) => `CAST(${values[at]} AS ${duckdbType(type)}) AS "${name}"`).join(', ')}, ${offset} AS _offset`
  const select = `${row(
    cases.map(({ sql }) => sql),
    0,
  )} UNION ALL ${row(
    cases.map(() => 'NULL'),
    1,
  )}`
  await table.commit({ batchId: 'a', files: await writeRows(lake, table, select, 'a') })
  const [path = ''] = (await table.liveFiles()).map((file) => file.path)

  const own = await scanRows(lake, table, 'ORDER BY _offset')
  const plain = await parquetReadObjects({
    file: await asyncBufferFromFile(path),
    compressors,
    utf8: false,
  })
  // icebird shows binary as text.
  const iceberg = (await readByIcebird(table)).map(({ binary, ...rest }) => ({
    ...rest,
    binary: typeof binary === 'string' ? new TextEncoder().encode(binary) : binary,
  }))
  for (const { name, json, value } of cases) {
    expect(
      own.map((each) => each[name]),
      name,
    ).toEqual([json, null])
    for (const rows of [plain, iceberg] as Record<string, unknown>[][])
      expect(
        rows.map((each) => each[name] ?? null),
        name,
      ).toEqual([value, null])
  }
})
