import { join } from 'node:path'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { QuestlogError } from '../../src/core/errors.ts'
import { realFiles, type Files } from '../../src/core/files.ts'
import { Cleaner } from '../../src/lake/cleaner.ts'
import { pathOf } from '../../src/lake/location.ts'
import type { DataFile } from '../../src/lake/manifest.ts'
import { readManifestList } from '../../src/lake/manifest-list.ts'
import { createTable, openTable, type LakeTable } from '../../src/lake/table.ts'
import type { Column } from '../../src/plan/columns.ts'
import { createBareLake, faultyFiles, plainColumns, type Fault, type Lake } from './support.ts'

const moreColumns: readonly Column[] = [
  ...plainColumns,
  { name: 'description', type: { kind: 'string' } },
]

/** A data file that exists; what is in it does not matter to a commit. The same batch gives the same file. */
async function fileOf(table: LakeTable, batchId: string): Promise<DataFile> {
  const path = join(table.folder, 'data', `${batchId}.parquet`)
  if ((await realFiles.sizeOf(path)) === undefined)
    await realFiles.writeNew(path, Buffer.from(batchId))
  const none = new Map<number, never>()
  const [columnSizes, valueCounts, nullCounts, nanCounts] = [none, none, none, none]
  const counts = { columnSizes, valueCounts, nullCounts, nanCounts }
  const metrics = { ...counts, lowerBounds: none, upperBounds: none }
  return { path, recordCount: 1, sizeBytes: batchId.length, day: '2026-11-21', metrics }
}

async function commitBatch(table: LakeTable, batchId: string): Promise<void> {
  await table.commit({ batchId, files: [await fileOf(table, batchId)] })
}

async function openedOver(lake: Lake, files: Files): Promise<LakeTable> {
  const table = await openTable(lake.at('swords', files))
  if (table === undefined) throw new Error('the table is gone')
  return table
}

/** Opens the table as another process would, and checks that everything it refers to exists in full. */
async function openWhole(lake: Lake): Promise<LakeTable> {
  const table = await openedOver(lake, realFiles)
  const path = join(table.folder, 'metadata', `v${table.version}.metadata.json`)
  const text = (await realFiles.readAll(path)).toString()
  for (const [, list = ''] of text.matchAll(/"manifest-list":"([^"]+)"/g))
    for (const row of await readManifestList(realFiles, list))
      expect(await realFiles.sizeOf(pathOf(row.manifest_path))).toBe(Number(row.manifest_length))
  for (const [, previous = ''] of text.matchAll(/"metadata-file":"([^"]+)"/g))
    expect(await realFiles.sizeOf(pathOf(previous))).toBeGreaterThan(0)
  for (const file of await table.liveFiles())
    expect(await realFiles.sizeOf(file.path)).toBe(file.sizeBytes)
  return table
}

/** The batches in the table, in the order of their commits. */
async function batchesOf(table: LakeTable): Promise<(string | undefined)[]> {
  const files = await table.liveFiles()
  return files.map((file) => /([^/]+)\.parquet$/.exec(file.path)?.[1])
}

/** Files that work until they are armed; then operation n, counted from 1, meets `fault(n)`. */
function armable(fault: (n: number) => Fault) {
  let armedAt: number | undefined
  const files = faultyFiles((n) => (armedAt === undefined ? 'none' : fault(n - armedAt)))
  return {
    files,
    arm: () => {
      armedAt = files.count
    },
    /** Back to working files; gives the number of operations since they were armed. */
    disarm: () => {
      const operations = armedAt === undefined ? 0 : files.count - armedAt
      armedAt = undefined
      return operations
    },
  }
}

/** The process dies at operation `first`: that one did or did not take place, all later ones don't. */
const death = (first: number, kind: Fault) => (n: number) =>
  n < first ? 'none' : n === first ? kind : 'before'

/** One operation fails, the process lives. */
const hiccup = (at: number, kind: Fault) => (n: number) => (n === at ? kind : 'none')

/** Repeats `scenario` with the fault at each operation in turn, until it ends before the fault. Gives the number of operations. */
async function atEveryOperation(
  scenario: (at: number, kind: Fault) => Promise<number>,
): Promise<number> {
  for (let at = 1; ; at++) {
    for (const kind of ['before', 'after'] as const)
      if ((await scenario(at, kind)) < at) return at - 1
  }
}

const failed = (work: Promise<void>) =>
  work.then(
    () => false,
    () => true,
  )

describe('a crash at any operation', () => {
  test('of a commit leaves the old or the new state whole; the same batch again never doubles', async () => {
    const operations = await atEveryOperation(async (at, kind) => {
      await using lake = await createBareLake()
      await commitBatch(await createTable(lake.at(), plainColumns, {}), 'old')
      const crash = armable(death(at, kind))
      const table = await openedOver(lake, crash.files)
      const change = { batchId: 'new', files: [await fileOf(table, 'new')] }
      crash.arm()
      const isFailed = await failed(table.commit(change))
      const after = await openWhole(lake)
      const found = await batchesOf(after)
      if (isFailed) expect([['old'], ['old', 'new']]).toContainEqual(found)
      else expect(found).toEqual(['old', 'new'])
      expect(after.properties['questlog.batch-id']).toBe(found.at(-1))
      await after.commit(change)
      await commitBatch(after, 'next')
      expect(await batchesOf(await openWhole(lake))).toEqual(['old', 'new', 'next'])
      return crash.disarm()
    })
    expect(operations).toBeGreaterThan(10)
  })

  test('of an evolution leaves the old or the new columns, and it can be done again', async () => {
    await atEveryOperation(async (at, kind) => {
      await using lake = await createBareLake()
      await commitBatch(await createTable(lake.at(), plainColumns, {}), 'old')
      const crash = armable(death(at, kind))
      const table = await openedOver(lake, crash.files)
      crash.arm()
      const isFailed = await failed(table.evolve(moreColumns))
      const after = await openWhole(lake)
      if (isFailed) expect([plainColumns, moreColumns]).toContainEqual(after.columns)
      else expect(after.columns).toEqual(moreColumns)
      await after.evolve(moreColumns)
      await commitBatch(after, 'next')
      const last = await openWhole(lake)
      expect(last.columns).toEqual(moreColumns)
      expect(await batchesOf(last)).toEqual(['old', 'next'])
      return crash.disarm()
    })
  })

  test('of a creation leaves no table or an empty one', async () => {
    await atEveryOperation(async (at, kind) => {
      await using lake = await createBareLake()
      const crash = armable(death(at, kind))
      crash.arm()
      const isFailed = await createTable(lake.at('swords', crash.files), plainColumns, {}).then(
        () => false,
        () => true,
      )
      const found = await openTable(lake.at())
      if (!isFailed) expect(found).toBeDefined()
      await commitBatch(found ?? (await createTable(lake.at(), plainColumns, {})), 'first')
      expect(await batchesOf(await openWhole(lake))).toEqual(['first'])
      return crash.disarm()
    })
  })
})

/** A table with these batches, one file each; the clock goes on between them. */
async function tableOf(lake: Lake, batches: readonly string[]): Promise<LakeTable> {
  const table = await createTable(lake.at(), plainColumns, {})
  for (const batch of batches) {
    lake.clock.ms += 1000
    await commitBatch(table, batch)
  }
  return table
}

describe('a crash at any operation of the maintenance', () => {
  test('of a merge leaves the old or the merged files whole, never both', async () => {
    const operations = await atEveryOperation(async (at, kind) => {
      await using lake = await createBareLake()
      const old = await tableOf(lake, ['one', 'two', 'three'])
      const added = [{ ...(await fileOf(old, 'merged')), recordCount: 2 }]
      const replaced = (await old.liveFiles()).slice(0, 2).map(({ path }) => path)
      const crash = armable(death(at, kind))
      const table = await openedOver(lake, crash.files)
      crash.arm()
      const isFailed = await failed(table.replaceFiles({ replaced, added }))
      const after = await openWhole(lake)
      const found = new Set(await batchesOf(after))
      const merged = new Set(['merged', 'three'])
      if (isFailed) expect([new Set(['one', 'two', 'three']), merged]).toContainEqual(found)
      else expect(found).toEqual(merged)
      expect(after.recordCount).toBe(3)
      if (!found.has('merged')) await after.replaceFiles({ replaced, added })
      await commitBatch(after, 'next')
      expect(new Set(await batchesOf(await openWhole(lake)))).toEqual(merged.add('next'))
      return crash.disarm()
    })
    expect(operations).toBeGreaterThan(10)
  })

  test('of the end of old snapshots, and of the removal of their files, leaves everything that is named', async () => {
    const operations = await atEveryOperation(async (at, kind) => {
      await using lake = await createBareLake()
      const old = await tableOf(lake, ['one', 'two', 'three'])
      const added = [{ ...(await fileOf(old, 'merged')), recordCount: 2 }]
      const replaced = (await old.liveFiles()).slice(0, 2).map(({ path }) => path)
      await old.replaceFiles({ replaced, added })
      const crash = armable(death(at, kind))
      const table = await openedOver(lake, crash.files)
      const cleanerOf = (of: LakeTable, files: Files) =>
        new Cleaner({
          files,
          clock: lake.clock,
          table: of,
          snapshots: { ageMsMin: 0, countMin: 1, countMax: 1 },
          orphanAgeMsMin: 1000,
          readersNow: () => () => true,
          isInUse: () => false,
        })
      crash.arm()
      const cleaner = cleanerOf(table, crash.files)
      await failed(cleaner.expire().then(() => {}))
      await failed(cleaner.removeExpired().then(() => {}))
      const after = await openWhole(lake)
      expect(new Set(await batchesOf(after))).toEqual(new Set(['merged', 'three']))
      const operationsDone = crash.disarm()
      // Whoever comes later removes what is left.
      const later = cleanerOf(after, realFiles)
      lake.clock.ms = Date.now()
      for (let round = 0; round < 3; round++) {
        lake.clock.ms += 1_000_000
        await later.expire()
        await later.removeExpired()
        await later.removeOrphans()
      }
      await openWhole(lake)
      const names = await realFiles.list(join(after.folder, 'data'))
      expect(names).toEqual(['merged.parquet', 'three.parquet'])
      const metadata = await realFiles.list(join(after.folder, 'metadata'))
      expect(metadata.filter((name) => name.endsWith('.avro'))).toHaveLength(2)
      return operationsDone
    })
    expect(operations).toBeGreaterThan(10)
  })
})

test('a commit gets its name when its data files are durable, not before, and not at all when their sync fails', async () => {
  await using lake = await createBareLake()
  const created = await createTable(lake.at(), plainColumns, {})
  const links: string[] = []
  const files: Files = {
    ...realFiles,
    link: async (from, to) => {
      links.push(isSynced ? 'after the sync' : 'before the sync')
      await realFiles.link(from, to)
    },
  }
  let isSynced = false
  const table = await openedOver(lake, files)
  let endSync = () => {}
  const synced = new Promise<void>((resolve) => (endSync = resolve))
  const metadata = join(created.folder, 'metadata')
  const list = async () => (await realFiles.list(metadata)).filter((name) => name.endsWith('.tmp'))
  const commit = table.commit({ batchId: 'new', files: [await fileOf(table, 'new')], synced })
  while ((await list()).length === 0) await realFiles.sizeOf(metadata)
  isSynced = true
  endSync()
  await commit
  expect(links).toEqual(['after the sync'])
  const change = { batchId: 'lost', files: [await fileOf(table, 'lost')] }
  const failing = Promise.reject(new Error('EIO: fsync'))
  await expect(table.commit({ ...change, synced: failing })).rejects.toThrow('EIO: fsync')
  expect(links).toHaveLength(1)
  expect(await list()).toEqual([])
  expect(await batchesOf(await openWhole(lake))).toEqual(['new'])
})

test('an operation that fails once, anywhere in a commit, costs at most a second try of the same batch', async () => {
  await atEveryOperation(async (at, kind) => {
    await using lake = await createBareLake()
    await commitBatch(await createTable(lake.at(), plainColumns, {}), 'old')
    const fault = armable(hiccup(at, kind))
    const table = await openedOver(lake, fault.files)
    const change = { batchId: 'new', files: [await fileOf(table, 'new')] }
    fault.arm()
    if (await failed(table.commit(change))) await table.commit(change)
    const operations = fault.disarm()
    expect(await batchesOf(table)).toEqual(['old', 'new'])
    await commitBatch(table, 'next')
    expect(await batchesOf(await openWhole(lake))).toEqual(['old', 'new', 'next'])
    return operations
  })
})

type Step = {
  readonly writer: 0 | 1
  readonly kind: 'commit' | 'evolve' | 'reopen' | 'merge'
}

const step: fc.Arbitrary<Step> = fc.record({
  writer: fc.constantFrom(0, 1),
  kind: fc.constantFrom('commit', 'commit', 'commit', 'evolve', 'reopen', 'merge'),
})
const fault = fc.record({ at: fc.nat(120), kind: fc.constantFrom<Fault>('before', 'after') })

test('two writers on a disk that fails now and then: every batch that was tried until it was done is there once', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { maxLength: 12 }),
      fc.array(fault, { maxLength: 6 }),
      async (steps, faults) => {
        await using lake = await createBareLake()
        await createTable(lake.at(), plainColumns, {})
        const byOperation = new Map(faults.map(({ at, kind }) => [at, kind]))
        const files = faultyFiles((n) => byOperation.get(n) ?? 'none')
        const open = () => untilDone(() => openedOver(lake, files))
        const writers = [await open(), await open()] as const
        const wanted: string[] = []
        const held = new Map<string, readonly string[]>()
        for (const [n, { writer, kind }] of steps.entries()) {
          const table = writers[writer]
          if (kind === 'reopen') await untilDone(() => table.reload())
          if (kind === 'evolve') await untilDone(() => table.evolve([...moreColumns]))
          if (kind === 'merge') await mergeAll(table, `merged${n}`, held)
          if (kind !== 'commit') continue
          held.set(`batch${n}`, [`batch${n}`])
          wanted.push(`batch${n}`)
          await untilDone(() => commitBatch(table, `batch${n}`))
        }
        const last = await openWhole(lake)
        const found = (await batchesOf(last)).flatMap((batch = '') => held.get(batch) ?? [batch])
        expect(found.toSorted()).toEqual(wanted.toSorted())
        expect(last.recordCount).toBe(wanted.length)
      },
    ),
    { numRuns: 40 },
  )
})

/** Merges all files, as far as this writer knows them; a merge that fails is given up. `held` gets the batches in each file. */
async function mergeAll(
  table: LakeTable,
  name: string,
  held: Map<string, readonly string[]>,
): Promise<void> {
  const live = await untilDone(() => table.liveFiles())
  if (live.length < 2) return
  const batches = await batchesOf(table)
  held.set(
    name,
    batches.flatMap((batch = '') => held.get(batch) ?? []),
  )
  const recordCount = live.reduce((sum, file) => sum + file.recordCount, 0)
  const added = [{ ...(await fileOf(table, name)), recordCount }]
  await failed(table.replaceFiles({ replaced: live.map(({ path }) => path), added }))
}

/** Tries again after the errors that a caller tries again after: a conflict, an unknown outcome, a failed operation. */
async function untilDone<T>(work: () => Promise<T>): Promise<T> {
  for (let tries = 0; ; tries++) {
    try {
      return await work()
    } catch (error) {
      const isExpected =
        error instanceof QuestlogError
          ? ['COMMIT_CONFLICT', 'OUTCOME_UNKNOWN'].includes(error.code)
          : String(error).includes('EIO')
      if (!isExpected || tries === 20) throw error
    }
  }
}
