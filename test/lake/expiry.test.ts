import { expect, test } from 'vitest'
import { expiredSnapshots } from '../../src/lake/expiry.ts'
import {
  newMetadata,
  withoutSnapshots,
  withSnapshot,
  type TableMetadata,
} from '../../src/lake/metadata.ts'

const policy = { ageMsMin: 100, countMin: 2, countMax: 6 }

/** Metadata with a snapshot at each of these times; its id is its place, from 1. */
function tableWith(timesMs: readonly number[]): TableMetadata {
  const empty = newMetadata({
    uuid: 'b5f3c3c2-2d6b-4b3e-9f60-1f3a5e9c2b11',
    location: 'file:///lake/default/swords',
    fields: [],
    lastColumnId: 0,
    daySource: null,
    properties: {},
    nowMs: 0,
  })
  return timesMs.reduce<TableMetadata>(
    (metadata, timeMs, index) =>
      withSnapshot(metadata, {
        'snapshot-id': index + 1,
        ...(index === 0 ? {} : { 'parent-snapshot-id': index }),
        'sequence-number': index + 1,
        'timestamp-ms': timeMs,
        'manifest-list': `file:///lake/default/swords/metadata/snap-${index + 1}.avro`,
        summary: { operation: 'append' },
      }),
    empty,
  )
}

const idsOf = (metadata: TableMetadata, nowMs: number) =>
  expiredSnapshots(metadata, policy, nowMs).map(({ snapshot }) => snapshot['snapshot-id'])

test('a snapshot goes when it was replaced long ago, not when it is old: a reader may have opened the table a moment ago', () => {
  const metadata = tableWith([0, 1000, 1010, 1020, 1030])
  expect(idsOf(metadata, 1050)).toEqual([])
  expect(idsOf(metadata, 1100)).toEqual([1])
  expect(idsOf(metadata, 1115)).toEqual([1, 2])
})

test('the newest snapshots stay however old, and no more than the most are kept however young', () => {
  expect(idsOf(tableWith([0, 1, 2, 3]), 1_000_000)).toEqual([1, 2])
  expect(idsOf(tableWith([0]), 1_000_000)).toEqual([])
  expect(idsOf(tableWith([1, 2, 3, 4, 5, 6, 7, 8, 9]), 10)).toEqual([1, 2, 3])
})

test('the head of a branch or a tag of another engine stays', () => {
  const metadata = tableWith([0, 1, 2, 3, 4])
  const tagged = {
    ...metadata,
    refs: { ...metadata.refs, audited: { 'snapshot-id': 2, type: 'tag' } },
  }
  expect(idsOf(tagged, 1_000_000)).toEqual([1, 3])
})

test('the log of snapshots has no gap after some are gone, and notes about them are gone too', () => {
  const metadata: TableMetadata = {
    ...tableWith([0, 1, 2, 3, 4]),
    statistics: [
      { 'snapshot-id': 2, 'statistics-path': 'file:///lake/a.puffin' },
      { 'snapshot-id': 4, 'statistics-path': 'file:///lake/b.puffin' },
    ],
  }
  const left = withoutSnapshots(metadata, new Set([1, 3]))
  expect(left.snapshots?.map((snapshot) => snapshot['snapshot-id'])).toEqual([2, 4, 5])
  expect(left['snapshot-log']?.map((entry) => entry['snapshot-id'])).toEqual([4, 5])
  expect(left.statistics).toHaveLength(2)
  expect(withoutSnapshots(metadata, new Set([2])).statistics).toHaveLength(1)
  expect(left['current-snapshot-id']).toBe(5)
})
