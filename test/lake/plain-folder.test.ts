import { expect, test } from 'vitest'
import { realFiles } from '../../src/core/files.ts'
import type { LiveFile } from '../../src/lake/manifest.ts'
import { plainNames, requirePlainColumns } from '../../src/lake/plain-folder.ts'
import { createTable } from '../../src/lake/table.ts'
import { codecOf, dataFileName, formatProperties } from '../../src/lake/table-format.ts'
import type { Column, ColumnType } from '../../src/plan/columns.ts'
import { createBareLake, plainColumns } from './support.ts'

const uuid = (n: number) => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`
const folder = '/lake/default/swords'

function live(name: string, fieldIds: readonly number[] = [1]): LiveFile {
  const path = `${folder}/data/_timestamp_day=2026-11-22/${name}`
  return {
    path,
    recordCount: 1,
    sizeBytes: 1,
    day: '2026-11-22',
    snapshotId: '1',
    fieldIds,
    ranges: new Map(),
  }
}

const own = (n: number, fieldIds?: readonly number[], codec: 'snappy' | 'zstd' = 'snappy') =>
  live(dataFileName(`${uuid(n + 1000)}-0-${uuid(n)}`, codec), fieldIds)

function schemaOf(...ids: readonly number[]) {
  const fields = ids.map((id) => ({ id, name: `c${id}`, required: false, type: 'string' }))
  return { type: 'struct', 'schema-id': 0, fields } as const
}

const names = (files: readonly LiveFile[], ids: readonly number[] = [1], epoch = 'a') => [
  ...plainNames({ folder, schema: schemaOf(...ids) }, files, epoch).keys(),
]

test('a file is named as Spark names its own, and for what it holds; always the same in an epoch, and otherwise in the next', () => {
  const files = [own(1), own(2, [1], 'zstd'), live(`compacted-0-${uuid(3)}.snappy.parquet`)]
  const given = names(files)
  expect(given).toEqual(
    ['snappy', 'zstd', 'snappy'].map((codec) =>
      expect.stringMatching(new RegExp(`^part-00000-[0-9a-f-]{36}-c000\\.${codec}\\.parquet$`)),
    ),
  )
  expect(names(files.toReversed())).toEqual(given.toReversed())
  const others = names(files, [1], 'b')
  expect(new Set([...given, ...others]).size).toBe(6)
})

test("files of other engines get names of their own, always the same, that don't claim a codec", () => {
  // PyIceberg gives the files of one write one UUID.
  const files = [0, 1].map((n) => live(`0000${n}-${n}-${uuid(9)}.parquet`))
  const given = names(files)
  expect(new Set(given).size).toBe(2)
  for (const name of given) expect(name).toMatch(/^part-00000-[0-9a-f-]{36}-c000\.parquet$/)
  expect(names(files.toReversed())).toEqual(given.toReversed())
})

test('files that have the columns of now come first, so that readers that go by the first file see all of them', () => {
  const numbers = (ids: readonly number[], ...files: readonly (readonly number[])[]) =>
    names(
      files.map((fieldIds, n) => own(n, fieldIds)),
      ids,
    ).map((name) => Number(name.slice(5, 10)))
  expect(numbers([1, 2], [1], [1], [1])).toEqual([0, 0, 0]) // as long as no file has the new column
  expect(numbers([1, 2, 3], [1], [1, 2], [1, 2, 3], [1, 2])).toEqual([2, 1, 0, 1])
  expect(numbers([1, 3], [1, 2], [1, 2, 3], [1, 3], [1])).toEqual([3, 2, 0, 1]) // 2 was dropped
})

test('the format of a table says what its files are written with', () => {
  expect(codecOf({})).toBe('zstd')
  expect(codecOf(formatProperties('hive'))).toBe('snappy')
  expect(codecOf({ ...formatProperties('hive'), ...formatProperties('iceberg') })).toBe('zstd')
})

const text: ColumnType = { kind: 'string' }
const int: ColumnType = { kind: 'int' }
const long: ColumnType = { kind: 'long' }
const at = (kind: ColumnType): ColumnType => ({
  kind: 'struct',
  fields: [{ name: 'x', type: kind }],
})

/** What is said of each of these changes, one after the other, made when it is allowed. */
async function changes(
  ...steps: readonly { columns: readonly Column[]; renamed?: Record<string, string> }[]
): Promise<string[]> {
  await using lake = await createBareLake()
  const [first, ...others] = steps
  const table = await createTable(
    lake.at('swords', realFiles),
    [...plainColumns, ...(first?.columns ?? [])],
    {},
  )
  const said: string[] = []
  for (const step of others) {
    const columns = [...plainColumns, ...step.columns]
    try {
      requirePlainColumns(table.metadata, columns, step.renamed)
      said.push('allowed')
    } catch (error) {
      said.push(error instanceof Error ? error.message : String(error))
    }
    await table.evolve(columns, step.renamed)
  }
  return said
}

test('columns of a plain folder may come and go', async () => {
  const said = await changes(
    { columns: [{ name: 'color', type: text }] },
    {
      columns: [
        { name: 'color', type: text },
        { name: 'damage', type: int },
      ],
    },
    { columns: [{ name: 'damage', type: int }] },
    { columns: [{ name: 'damage', type: int }] },
  )
  expect(said).toEqual(['allowed', 'allowed', 'allowed'])
})

test('a name that older files have for another column, or a type that they do not have, is refused, whenever it came', async () => {
  const said = await changes(
    { columns: [{ name: 'strength', type: int }] },
    { columns: [{ name: 'damage', type: int }], renamed: { damage: 'strength' } },
    { columns: [{ name: 'damage', type: int }] }, // a table that was renamed before
  )
  expect(said).toEqual(Array(2).fill(expect.stringContaining('damage is called strength in older')))
  expect(
    await changes(
      { columns: [{ name: 'at', type: at(int) }] },
      { columns: [{ name: 'at', type: at(long) }] },
    ),
  ).toEqual([expect.stringContaining('at.x is int in older files and can not become long')])
  expect(
    await changes(
      { columns: [{ name: 'color', type: text }] },
      { columns: [] },
      { columns: [{ name: 'Color', type: text }] },
    ),
  ).toEqual(['allowed', expect.stringContaining('Color was dropped')])
})
