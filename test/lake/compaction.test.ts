import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { planCompaction, type CompactionPolicy } from '../../src/lake/compaction.ts'
import type { LiveFile } from '../../src/lake/manifest.ts'

const policy: CompactionPolicy = { bytesMax: 10_000_000, liveFilesMax: 50 }
const openDay = '2026-11-21'
const isClosed = (day: string | null) => day !== null && day < openDay

let files = 0
function fileOf(recordCount: number, day: string | null = openDay, bytesPerRow = 10): LiveFile {
  const path = `/lake/${files++}.parquet`
  const sizeBytes = 500 + recordCount * bytesPerRow
  return { path, recordCount, sizeBytes, day, snapshotId: '1', fieldIds: [], ranges: new Map() }
}

/** Merges until nothing is left to do; gives the files and the rows that were written again. */
function settle(start: readonly LiveFile[]): { live: readonly LiveFile[]; rewritten: number } {
  let live = start
  let rewritten = 0
  for (;;) {
    const plan = planCompaction(live, policy, isClosed)
    if (plan === undefined) return { live, rewritten }
    expect(plan.files.length).toBeGreaterThan(1)
    expect(new Set(plan.files.map(({ day }) => day))).toEqual(new Set([plan.day]))
    const rows = plan.files.reduce((sum, file) => sum + file.recordCount, 0)
    const gone = new Set(plan.files)
    rewritten += rows
    live = [...live.filter((file) => !gone.has(file)), fileOf(rows, plan.day)]
  }
}

test('eight files of a tier become one, and smaller ones go along', () => {
  const seven = Array.from({ length: 7 }, () => fileOf(100))
  expect(planCompaction(seven, policy, isClosed)).toBeUndefined()
  const small = [fileOf(3), fileOf(20)]
  const large = fileOf(100_000)
  const plan = planCompaction([large, ...seven, fileOf(100), ...small], policy, isClosed)
  expect(plan?.files).toHaveLength(10)
  expect(plan?.files).not.toContain(large)
})

test('a closed day becomes one file, a large one as many as its size asks for', () => {
  const closed = '2026-11-20'
  const { live } = settle([fileOf(100, closed), fileOf(90_000, closed), fileOf(5, closed)])
  expect(live).toHaveLength(1)
  const large = Array.from({ length: 40 }, () => fileOf(200_000, closed))
  const settled = settle(large).live
  expect(settled.length).toBeLessThan(16)
  for (const file of settled) expect(file.sizeBytes).toBeLessThan(2 * policy.bytesMax)
})

test('a day of commits every ten seconds stays within the live files, and each row is written again a few times only', () => {
  let live: readonly LiveFile[] = []
  let rewritten = 0
  let most = 0
  const commits = 8640
  for (let n = 0; n < commits; n++) {
    const settled = settle([...live, fileOf(80 + (n % 50))])
    live = settled.live
    rewritten += settled.rewritten
    most = Math.max(most, live.length)
  }
  expect(most).toBeLessThanOrEqual(policy.liveFilesMax)
  const rows = live.reduce((sum, file) => sum + file.recordCount, 0)
  expect(rewritten / rows).toBeLessThan(5)
})

test('whatever is there, it settles, within the live files and one for each closed day, and no row is lost', () => {
  const day = fc.constantFrom(null, '2026-11-18', '2026-11-19', '2026-11-20', openDay, '2026-11-22')
  const some = fc.record({ rows: fc.integer({ min: 0, max: 300_000 }), day })
  fc.assert(
    fc.property(fc.array(some, { maxLength: 150 }), (list) => {
      const start = list.map(({ rows, day: of }) => fileOf(rows, of))
      const { live } = settle(start)
      const rowsOf = (each: readonly LiveFile[]) =>
        each.reduce((sum, file) => sum + file.recordCount, 0)
      expect(rowsOf(live)).toBe(rowsOf(start))
      const full = live.filter((file) => file.sizeBytes > policy.bytesMax / 4).length
      expect(live.length - full).toBeLessThanOrEqual(policy.liveFilesMax + 3)
    }),
    { numRuns: 200 },
  )
})
