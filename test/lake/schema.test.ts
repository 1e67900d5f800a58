import { describe, expect, test } from 'vitest'
import { QuestlogError } from '../../src/core/errors.ts'
import { assignIds, columnsOf, fieldIdsSql, leavesOf } from '../../src/lake/schema.ts'
import type { Column, ColumnType } from '../../src/plan/columns.ts'

const column = (name: string, type: ColumnType): Column => ({ name, type })
const int: ColumnType = { kind: 'int' }
const long: ColumnType = { kind: 'long' }
const text: ColumnType = { kind: 'string' }
const decimal = (precision: number, scale: number): ColumnType => ({
  kind: 'decimal',
  precision,
  scale,
})
const struct = (...fields: Column[]): ColumnType => ({ kind: 'struct', fields })

function evolved(from: Column[], to: Column[]) {
  const first = assignIds([], 0, from)
  return assignIds(first.fields, first.lastColumnId, to)
}

const device = struct(
  column('os', text),
  column('sizes', { kind: 'list', element: struct(column('w', int)) }),
  column('tags', { kind: 'map', value: long }),
)

describe('field ids', () => {
  test('are given to every column and nested part, each once', () => {
    const { fields, lastColumnId } = assignIds([], 0, [column('a', int), column('d', device)])
    const ids = JSON.stringify(fields).match(/"(?:id|[a-z]+-id)":\d+/g) ?? []
    expect(new Set(ids.map((id) => id.split(':')[1])).size).toBe(ids.length)
    expect(ids.length).toBe(9)
    expect(lastColumnId).toBe(9)
    expect(columnsOf({ type: 'struct', fields })).toEqual([column('a', int), column('d', device)])
  })

  test('stay with the name when columns move, are added or change case; a dropped one does not return', () => {
    const { fields } = evolved(
      [column('a', int), column('b', text)],
      [column('new', text), column('B', text), column('a', int)],
    )
    expect(fields.map(({ id, name }) => [id, name])).toEqual([
      [3, 'new'],
      [2, 'B'],
      [1, 'a'],
    ])
    const without = evolved([column('a', int), column('b', text)], [column('b', text)])
    const again = assignIds(without.fields, without.lastColumnId, [column('a', text)])
    expect(again.fields[0]?.id).toBe(3)
  })

  test('reach DuckDB with quoted names', () => {
    const { fields } = assignIds([], 0, [
      column('User-Agent', text),
      column('q"x', struct(column('é', { kind: 'list', element: int }))),
    ])
    expect(fieldIdsSql({ type: 'struct', fields })).toBe(
      '{"User-Agent": 1, "q""x": {__duckdb_field_id: 2, "é": {__duckdb_field_id: 3, "element": 4}}}',
    )
    expect(leavesOf({ type: 'struct', fields })).toEqual([
      { id: 1, type: 'string', key: '"User-Agent"', repeated: false },
      { id: 4, type: 'int', key: '"q""x"."é"."element"', repeated: true },
    ])
  })
})

describe('evolution', () => {
  test.each<[string, ColumnType, ColumnType]>([
    ['int to long', int, long],
    ['a decimal of more digits', decimal(10, 2), decimal(12, 2)],
    [
      'a field added to a struct',
      struct(column('a', int)),
      struct(column('b', text), column('a', int)),
    ],
    ['int to long inside a list', { kind: 'list', element: int }, { kind: 'list', element: long }],
    ['int to long inside a map', { kind: 'map', value: int }, { kind: 'map', value: long }],
    ['uuid and string, which are one in the lake', { kind: 'uuid' }, text],
  ])('allows %s, and the id stays', (_what, from, to) => {
    const { fields } = evolved([column('a', from)], [column('a', to)])
    expect(fields[0]?.id).toBe(1)
  })

  test.each<[string, ColumnType, ColumnType]>([
    ['long to int', long, int],
    ['int to text', int, text],
    ['int to double', int, { kind: 'double' }],
    ['a decimal of another scale', decimal(10, 2), decimal(12, 3)],
    ['a decimal of fewer digits', decimal(10, 2), decimal(9, 2)],
    ['text to a list', text, { kind: 'list', element: text }],
    ['a list to text', { kind: 'list', element: text }, text],
    ['a map to a struct', { kind: 'map', value: int }, struct(column('a', int))],
    [
      'a field of a struct left out',
      struct(column('b', int), column('c', int)),
      struct(column('b', int)),
    ],
  ])('refuses %s, and says which column and what to do', (_what, from, to) => {
    let error: unknown
    try {
      evolved([column('damage', from)], [column('damage', to)])
    } catch (caught) {
      error = caught
    }
    expect(error).toBeInstanceOf(QuestlogError)
    expect(error).toMatchObject({ code: 'EVOLUTION_REFUSED' })
    expect(String(error)).toContain('column damage')
    expect((error as QuestlogError).hint).not.toBe('')
  })

  test('refuses two columns that differ in case only', () => {
    expect(() => assignIds([], 0, [column('Host', text), column('host', text)])).toThrow(/twice/)
  })

  test('reads a float of another engine as a double, and widens it', () => {
    const float = [{ id: 1, name: 'x', required: false, type: 'float' }]
    const double = [column('x', { kind: 'double' })]
    expect(columnsOf({ type: 'struct', fields: float })).toEqual(double)
    expect(assignIds(float, 1, double).fields[0]).toMatchObject({ id: 1, type: 'double' })
  })

  test('names a column whose type questlog does not have', () => {
    const fields = [{ id: 1, name: 'at', required: false, type: 'time' }]
    expect(() => columnsOf({ type: 'struct', fields })).toThrow(/column at has the type "time"/)
  })
})
