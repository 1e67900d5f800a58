import { describe, expect, test } from 'vitest'
import {
  currentSnapshot,
  decodeMetadata,
  encodeMetadata,
  formerSchemas,
  holdsBatch,
  newMetadata,
  withProperties,
  withSchema,
  withSnapshot,
  type Long,
  type TableMetadata,
} from '../../src/lake/metadata.ts'

const empty = newMetadata({
  uuid: '0f3c1d3e-0000-4000-8000-000000000000',
  location: 'file:///lake/default/swords',
  fields: [{ id: 1, name: '_timestamp', required: false, type: 'timestamptz' }],
  lastColumnId: 1,
  daySource: 1,
  properties: {},
  nowMs: 1000,
})

const snapshot = (id: Long, parent: Long | undefined, batch: string) => ({
  'snapshot-id': id,
  ...(parent === undefined ? {} : { 'parent-snapshot-id': parent }),
  'sequence-number': 1,
  'timestamp-ms': 1000,
  'manifest-list': 'file:///list.avro',
  summary: { operation: 'append', 'questlog.batch-id': batch },
})

describe('table metadata', () => {
  test('keeps every digit of another engine’s snapshot ids, and keys that questlog does not know', () => {
    const text = encodeMetadata(withSnapshot(empty, snapshot(4737925929071426333n, undefined, 'a')))
      .toString()
      .replace('{', '{"statistics":[{"snapshot-id":4737925929071426333,"size":1.5}],')
    expect(text.match(/4737925929071426333\b/g)).toHaveLength(5)
    const read = decodeMetadata(Buffer.from(text), 'v1.metadata.json')
    expect(currentSnapshot(read)?.['snapshot-id']).toBe(4737925929071426333n)
    expect(encodeMetadata(read).toString()).toBe(text)
  })

  test('is the same text as JSON.stringify gives, also of a version that repeats most of one before', () => {
    const first = withSnapshot(empty, snapshot(1, undefined, 'a "first" one'))
    const second = withProperties(withSnapshot(first, snapshot(2, 1, 'b')), { comment: 'é' })
    for (const table of [empty, first, second, second])
      expect(encodeMetadata(table).toString()).toBe(JSON.stringify(table))
  })

  test('of a new table has no current snapshot', () => {
    expect(currentSnapshot(empty)).toBeUndefined()
    const { 'current-snapshot-id': _none, ...without } = empty
    expect(currentSnapshot(without)).toBeUndefined()
    expect(empty['last-partition-id']).toBe(1000)
  })

  test('finds a batch in the history of the current snapshot, not in an abandoned branch', () => {
    let table: TableMetadata = withSnapshot(empty, snapshot(1, undefined, 'first'))
    table = withSnapshot(table, snapshot(2, 1, 'abandoned'))
    table = withSnapshot(table, snapshot(3, 1, 'last'))
    expect(holdsBatch(table, 'first')).toBe(true)
    expect(holdsBatch(table, 'last')).toBe(true)
    expect(holdsBatch(table, 'abandoned')).toBe(false)
    expect(holdsBatch(withProperties(table, { 'questlog.batch-id': 'p' }), 'p')).toBe(true)
  })

  test.each([
    ['not JSON', '{"format-version":2', 'TABLE_DAMAGED'],
    ['nothing', '', 'TABLE_DAMAGED'],
    ['null', 'null', 'TABLE_DAMAGED'],
    ['a key missing', '{"format-version":2,"table-uuid":"x"}', 'TABLE_DAMAGED'],
    ['a newer format', '{"format-version":3}', 'FORMAT_UNKNOWN'],
  ])('that is %s is refused with the file’s name', (_what, text, code) => {
    expect(() => decodeMetadata(Buffer.from(text), '/lake/v7.metadata.json')).toThrow(
      expect.objectContaining({ code, message: expect.stringContaining('/lake/v7') }),
    )
  })

  test('no schema that a snapshot names is one to go back behind, also when another engine has gone back to an older snapshot', () => {
    const fields = empty.schemas[0]?.fields ?? []
    const ids = (metadata: TableMetadata) =>
      formerSchemas(metadata).map((schema) => schema['schema-id'])
    const first = withSnapshot(empty, { ...snapshot(1n, undefined, 'a'), 'schema-id': 0 })
    const evolved = withSchema(first, fields, 1)
    expect(ids(evolved)).toEqual([0])
    const written = withSnapshot(evolved, { ...snapshot(2n, 1n, 'b'), 'schema-id': 1 })
    const rolledBack = { ...written, 'current-snapshot-id': 1n }
    expect(ids(withSchema(written, fields, 1))).toEqual([1])
    expect(ids(withSchema(rolledBack, fields, 1))).toEqual([1])
  })
})
