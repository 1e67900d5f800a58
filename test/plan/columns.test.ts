import { DuckDBInstance } from '@duckdb/node-api'
import { expect, test } from 'vitest'
import { queryRows } from '../../src/core/duckdb.ts'
import { columnsOf, assignIds } from '../../src/lake/schema.ts'
import {
  duckdbType,
  icebergPrimitive,
  typeName,
  type Column,
  type ColumnType,
  type TypeDialect,
} from '../../src/plan/columns.ts'
import { trinoTypeName } from '../../src/sql/type-names.ts'

const struct = (...fields: Column[]): ColumnType => ({ kind: 'struct', fields })
const text: ColumnType = { kind: 'string' }

/** The names that each engine's own manual gives. */
const names: readonly (readonly [ColumnType, Readonly<Record<TypeDialect, string>>])[] = (
  [
    [text, 'VARCHAR', 'string', 'string', 'string', 'varchar'],
    [{ kind: 'boolean' }, 'BOOLEAN', 'boolean', 'boolean', 'boolean', 'boolean'],
    [{ kind: 'int' }, 'INTEGER', 'int', 'int', 'int', 'integer'],
    [{ kind: 'long' }, 'BIGINT', 'long', 'bigint', 'bigint', 'bigint'],
    [{ kind: 'double' }, 'DOUBLE', 'double', 'double', 'double', 'double'],
    [
      { kind: 'decimal', precision: 12, scale: 2 },
      'DECIMAL(12,2)',
      'decimal(12, 2)',
      'decimal(12,2)',
      'decimal(12,2)',
      'decimal(12,2)',
    ],
    [{ kind: 'date' }, 'DATE', 'date', 'date', 'date', 'date'],
    [{ kind: 'timestamp' }, 'TIMESTAMP', 'timestamp', 'timestamp', 'timestamp_ntz', 'timestamp(6)'],
    [
      { kind: 'timestamptz' },
      'TIMESTAMP WITH TIME ZONE',
      'timestamptz',
      'timestamp',
      'timestamp',
      'timestamp(6) with time zone',
    ],
    [{ kind: 'uuid' }, 'VARCHAR', 'string', 'string', 'string', 'varchar'],
    [{ kind: 'binary' }, 'BLOB', 'binary', 'binary', 'binary', 'varbinary'],
    [
      { kind: 'list', element: { kind: 'long' } },
      'BIGINT[]',
      'list<long>',
      'array<bigint>',
      'array<bigint>',
      'array(bigint)',
    ],
    [
      { kind: 'map', value: { kind: 'int' } },
      'MAP(VARCHAR, INTEGER)',
      'map<string, int>',
      'map<string,int>',
      'map<string,int>',
      'map(varchar, integer)',
    ],
    [
      struct({ name: 'os', type: text }, { name: 'User-Agent', type: { kind: 'binary' } }),
      'STRUCT("os" VARCHAR, "User-Agent" BLOB)',
      'struct<os: string, User-Agent: binary>',
      'struct<os:string,`User-Agent`:binary>',
      'struct<os:string,`User-Agent`:binary>',
      'row(os varchar, "user-agent" varbinary)',
    ],
    [
      {
        kind: 'list',
        element: struct({ name: 'at', type: { kind: 'map', value: { kind: 'timestamptz' } } }),
      },
      'STRUCT("at" MAP(VARCHAR, TIMESTAMP WITH TIME ZONE))[]',
      'list<struct<at: map<string, timestamptz>>>',
      'array<struct<at:map<string,timestamp>>>',
      'array<struct<at:map<string,timestamp>>>',
      'array(row(at map(varchar, timestamp(6) with time zone)))',
    ],
  ] as const
).map(([type, duckdb, iceberg, hive, spark, trino]) => [
  type,
  { duckdb, iceberg, hive, spark, trino },
])

test.each(names)('%j has the name that each engine gives it', (type, expected) => {
  for (const [dialect, name] of Object.entries(expected))
    expect(typeName(type, dialect as TypeDialect)).toBe(name)
})

test('DuckDB takes its names, and our SQL calls the same types as Trino does', async () => {
  const instance = await DuckDBInstance.create(':memory:')
  const connection = await instance.connect()
  for (const [type, { trino, duckdb }] of names) {
    const reader = await connection.runAndReadAll(`SELECT CAST(NULL AS ${duckdbType(type)}) AS c`)
    expect(trinoTypeName(reader.columnType(0))).toBe(trino)
    const [row] = await queryRows(connection, `SELECT typeof(CAST(NULL AS ${duckdb})) AS t`)
    expect(row?.['t']).toBeDefined()
  }
  connection.closeSync()
  instance.closeSync()
})

test('a table gives back the types that it was made with; a uuid is text in it', () => {
  for (const [type] of names) {
    const { fields } = assignIds([], 0, [{ name: 'c', type }])
    const [column] = columnsOf({ type: 'struct', fields })
    expect(column?.type).toEqual(type.kind === 'uuid' ? text : type)
  }
  expect(() => icebergPrimitive(struct())).toThrow(TypeError)
})
