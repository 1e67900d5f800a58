import { expect, test } from 'vitest'
import type { LiveFile } from '../../src/lake/manifest.ts'
import { filesInRanges, type ColumnRange } from '../../src/lake/pruning.ts'
import type { TableSchema } from '../../src/lake/schema.ts'

const types = ['int', 'timestamptz', 'timestamp', 'date', 'string']
const schema: TableSchema = {
  type: 'struct',
  'schema-id': 0,
  fields: types.map((type, index) => ({ id: index + 1, name: type, required: false, type })),
}

const day = 86_400_000_000

/** Values from the start of the third day until noon of the fifth. */
const ranges = new Map([
  [1, [2, 4]],
  [2, [2 * day, 4.5 * day]],
  [3, [2 * day, 4.5 * day]],
  [4, [2, 4]],
  [5, [2, 4]],
] as const)

function isRead(range: ColumnRange): boolean {
  const file: LiveFile = {
    path: '/a.parquet',
    recordCount: 1,
    sizeBytes: 1,
    day: null,
    snapshotId: '1',
    fieldIds: [],
    ranges,
  }
  return filesInRanges([file], schema, [range]).length > 0
}

test('a file is left out when no value of its bounds is wanted, in the unit of the column', () => {
  const all = { min: Number.NEGATIVE_INFINITY, max: Number.POSITIVE_INFINITY }
  for (const column of ['timestamptz', 'timestamp', 'date']) {
    const wanted = (some: Partial<ColumnRange>) =>
      isRead({ ...all, ...some, column, microseconds: true })
    expect(wanted({})).toBe(true)
    expect(wanted({ max: 2 * day })).toBe(true)
    expect(wanted({ max: 2 * day - 1 })).toBe(false)
    expect(wanted({ min: 4.5 * day })).toBe(true)
    expect(wanted({ min: 5 * day })).toBe(false)
    expect(isRead({ column, min: 100, max: 200 })).toBe(true)
  }
  // A day is as long as it lasts.
  expect(isRead({ ...all, column: 'date', min: 4.9 * day, microseconds: true })).toBe(true)
  expect(isRead({ ...all, column: 'timestamp', min: 4.9 * day, microseconds: true })).toBe(false)
  expect(isRead({ ...all, column: 'int', min: 5 })).toBe(false)
  expect(isRead({ ...all, column: 'int', min: 5, microseconds: true })).toBe(true)
  expect(isRead({ ...all, column: 'string', min: 5 })).toBe(true)
  expect(isRead({ ...all, column: 'string', min: 5 * day, microseconds: true })).toBe(true)
})
