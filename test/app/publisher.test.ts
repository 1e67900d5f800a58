import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { exportRows } from '../../src/app/export.ts'
import { removeDrafts, removeReplaced } from '../../src/app/export-versions.ts'
import { Publisher, type PublishedTable } from '../../src/app/publisher.ts'
import { realClock } from '../../src/core/clock.ts'
import { Exclusive } from '../../src/core/exclusive.ts'
import { realFiles, type Files } from '../../src/core/files.ts'
import { silentLogger } from '../../src/core/logger.ts'
import type { LiveFile } from '../../src/lake/manifest.ts'
import type { TableSnapshot } from '../../src/lake/table.ts'
import { dataFileName } from '../../src/lake/table-format.ts'

const uuid = (n: number) => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`
const partPattern = /^part-00000-[0-9a-f-]{36}-c000\.snappy\.parquet$/

let data: string
let swords: FakeTable

beforeEach(() => {
  data = mkdtempSync(join(tmpdir(), 'questlog-publisher-'))
  swords = new FakeTable('swords')
})
afterEach(() => rmSync(data, { recursive: true }))

/** A table whose data files hold their numbers as text. */
class FakeTable implements PublishedTable {
  readonly name: string
  readonly folder: string
  readonly uuid = uuid(7)
  readonly schema = { type: 'struct', 'schema-id': 0, fields: [] } as const
  #commits = 0
  #live: readonly LiveFile[] = []

  constructor(name: string) {
    this.name = name
    this.folder = join(data, 'lake', 'default', name)
    mkdirSync(join(this.folder, 'data'), { recursive: true })
  }

  get snapshot(): TableSnapshot | null {
    if (this.#commits === 0) return null
    return { id: String(this.#commits), sequenceNumber: this.#commits, timestampMs: 0, summary: {} }
  }

  /** Makes these files, by their numbers, the next snapshot. */
  commit(...numbers: readonly number[]): void {
    this.#commits++
    this.#live = numbers.map((n) => {
      const path = this.pathOf(n)
      if (!existsSync(path)) writeFileSync(path, String(n))
      return {
        path,
        recordCount: 1,
        sizeBytes: 1,
        day: null,
        snapshotId: '1',
        fieldIds: [1],
        ranges: new Map(),
      }
    })
  }

  pathOf(n: number): string {
    return join(this.folder, 'data', dataFileName(`${uuid(n)}-0-${uuid(n)}`, 'snappy'))
  }

  async liveFiles(): Promise<readonly LiveFile[]> {
    return this.#live
  }
}

const turn = new Exclusive<null>(null)

function publisherOf(files: Files = realFiles, tables = [swords]): Publisher {
  return new Publisher({
    files,
    clock: realClock,
    logger: silentLogger,
    settings: { publishIntervalMs: 50, commitRetryDelayMs: 0 },
    data,
    turn,
    tables: () => tables,
  })
}

const exportsRoot = () => join(data, 'exports')

/** The numbers in the part files of a folder that has its `_SUCCESS`. */
function read(name = 'swords'): number[] {
  const folder = join(exportsRoot(), name)
  const found = readdirSync(folder).filter((file) => !file.startsWith('.'))
  expect(found).toContain('_SUCCESS')
  return found
    .filter((file) => file.endsWith('.parquet'))
    .map((file) => Number(readFileSync(join(folder, file), 'utf8')))
    .toSorted((a, b) => a - b)
}

const parts = () =>
  readdirSync(join(exportsRoot(), 'swords')).filter((name) => name.endsWith('.parquet'))

const versions = () => readdirSync(join(exportsRoot(), '.versions'))

test('the folder has the files of the snapshot as links, not as copies, and _SUCCESS', async () => {
  const publisher = publisherOf()
  await publisher.publish()
  expect(readdirSync(join(exportsRoot(), 'swords'))).toEqual(['_SUCCESS'])
  swords.commit(1, 2)
  await publisher.publish()
  expect(readdirSync(join(exportsRoot(), 'swords'))).toEqual([
    '_SUCCESS',
    expect.stringMatching(partPattern),
    expect.stringMatching(partPattern),
  ])
  const inodes = parts().map((name) => statSync(join(exportsRoot(), 'swords', name)).ino)
  expect(new Set(inodes)).toEqual(new Set([1, 2].map((n) => statSync(swords.pathOf(n)).ino)))
  expect(publisher.failures.size).toBe(0)
})

test('a reader that lists, and opens when the next version is there, finds all files while they are only added to, and none when one is gone', async () => {
  swords.commit(1, 2, 3)
  await publisherOf().publish()
  const listed = parts()
  swords.commit(1, 2, 3, 4)
  await publisherOf().publish() // also after a restart
  expect(parts()).toEqual(expect.arrayContaining(listed))
  expect(parts()).toHaveLength(4)
  const all = parts()
  swords.commit(5, 4)
  for (const n of [1, 2, 3]) unlinkSync(swords.pathOf(n))
  await publisherOf().publish()
  expect(read()).toEqual([4, 5])
  // The file of 4 is there, but the reader is not to take it for all rows.
  expect(parts().filter((name) => all.includes(name))).toEqual([])
})

test('commits that come faster are published together, and nothing is done without one', async () => {
  const publisher = publisherOf()
  for (const n of [1, 2, 3]) swords.commit(n)
  await publisher.publish()
  await publisher.publish()
  expect(read()).toEqual([3])
  expect(versions()).toHaveLength(1)
})

/** The machine stops before operation number `n` of those that change something. */
function stoppingFiles(n: number): { files: Files; stopped: () => boolean } {
  let count = 0
  const step = <Words extends readonly unknown[]>(
    operation: (...words: Words) => Promise<void>,
  ) => {
    return async (...words: Words): Promise<void> => {
      if (++count > n) throw new Error('stopped')
      await operation(...words)
    }
  }
  const files: Files = {
    ...realFiles,
    writeNew: step((path: string, bytes: Uint8Array) => realFiles.writeNew(path, bytes)),
    syncFolder: step((path: string) => realFiles.syncFolder(path)),
    link: step((from: string, to: string) => realFiles.link(from, to)),
    rename: step((from: string, to: string) => realFiles.rename(from, to)),
    makeFolder: step((path: string) => realFiles.makeFolder(path)),
  }
  return { files, stopped: () => count > n }
}

test('wherever the process is killed, the folder is the old version or the new one, and the next start brings it up', async () => {
  const seen = new Set<string>()
  for (let n = 0; ; n++) {
    rmSync(data, { recursive: true })
    swords = new FakeTable('swords')
    swords.commit(1, 2)
    await publisherOf().publish()
    swords.commit(3)
    const { files, stopped } = stoppingFiles(n)
    const publisher = publisherOf(files)
    await publisher.publish()
    expect(publisher.failures.size).toBe(stopped() ? 1 : 0)
    const rows = read().join()
    expect(['1,2', '3']).toContain(rows)
    seen.add(rows)
    removeDrafts(data)
    await publisherOf().publish()
    expect(read()).toEqual([3])
    if (!stopped()) break
  }
  expect([...seen]).toEqual(['1,2', '3'])
})

test('a folder that was removed, changed or left behind is made anew', async () => {
  swords.commit(1, 2)
  const running = publisherOf()
  await running.publish()
  rmSync(join(exportsRoot(), 'swords'))
  await running.publish() // while it runs
  expect(read()).toEqual([1, 2])
  unlinkSync(join(exportsRoot(), 'swords', parts()[0] ?? ''))
  await publisherOf().publish() // at a start
  expect(read()).toEqual([1, 2])
  writeFileSync(join(exportsRoot(), 'swords', 'part-mine.parquet'), '9')
  await publisherOf().publish()
  expect(read()).toEqual([1, 2])
  swords.commit(1, 2, 3)
  await publisherOf().publish()
  expect(read()).toEqual([1, 2, 3])
  rmSync(exportsRoot(), { recursive: true }) // as after a restore
  await publisherOf().publish()
  expect(read()).toEqual([1, 2, 3])
})

test('a folder that is as it should be is left alone at a start', async () => {
  swords.commit(1)
  await publisherOf().publish()
  const before = versions()
  await publisherOf().publish()
  expect(versions()).toEqual(before)
})

test('a table that can not be published says why, holds no other up, and comes back by itself', async () => {
  const shields = new FakeTable('shields')
  swords.commit(1)
  shields.commit(2)
  mkdirSync(join(exportsRoot(), 'swords'), { recursive: true })
  const publisher = publisherOf(realFiles, [swords, shields])
  await publisher.publish()
  expect(publisher.failures.get('swords')?.reason).toContain("can't be published as /swords")
  expect(read('shields')).toEqual([2])
  await publisher.publish()
  expect(publisher.failures.get('swords')?.attempts).toBe(2)
  renameSync(join(exportsRoot(), 'swords'), join(exportsRoot(), 'mine'))
  await publisher.publish()
  expect(publisher.failures.size).toBe(0)
  expect(read()).toEqual([1])
})

test('a file that is gone because the table has moved on is no failure: the newer snapshot is published', async () => {
  swords.commit(1, 2)
  let moved = false
  const files: Files = {
    ...realFiles,
    async link(from, to) {
      if (!moved) {
        moved = true
        swords.commit(3)
        unlinkSync(from)
      }
      await realFiles.link(from, to)
    },
  }
  const publisher = publisherOf(files)
  await publisher.publish()
  expect(publisher.failures.size).toBe(0)
  await publisher.publish()
  expect(read()).toEqual([3])
})

test('the folder follows by itself while it runs, and is level when it has stopped', async () => {
  const publisher = publisherOf()
  publisher.start()
  swords.commit(1)
  await expect.poll(() => (existsSync(join(exportsRoot(), 'swords')) ? read() : [])).toEqual([1])
  swords.commit(1, 2)
  await publisher.stop()
  await publisher.stop()
  expect(read()).toEqual([1, 2])
})

function exportTo(path: string, mode: 'overwrite' | 'append' | 'error') {
  const engine = {
    async copy({ folder, fileName }: { folder: string; fileName: string }): Promise<number> {
      writeFileSync(join(folder, `${fileName}.snappy.parquet`), '100')
      return 1
    },
  }
  return exportRows(
    { sql: 'x', path, mode, partitionBy: [] },
    {
      files: realFiles,
      clock: realClock,
      logger: silentLogger,
      data,
      engine,
      signal: new AbortController().signal,
      turn,
      publishedTables: () => ['swords'],
    },
  )
}

test('an export is not put where a table publishes itself, nor the other way round', async () => {
  swords.commit(1)
  for (const mode of ['overwrite', 'append', 'error'] as const)
    for (const path of ['/swords', 'hdfs://host:8020/swords/2026'])
      await expect(exportTo(path, mode)).rejects.toMatchObject({
        code: 'EXPORT_EXISTS',
        message: expect.stringContaining('the folder of the table swords'),
      })
  const shields = new FakeTable('shields')
  shields.commit(2)
  await exportTo('/shields', 'error')
  const publisher = publisherOf(realFiles, [swords, shields])
  await publisher.publish()
  expect([...publisher.failures.keys()]).toEqual(['shields'])
  expect(read('shields')).toEqual([100])
})

test('what a table has left behind can be overwritten when asked to, but not added to', async () => {
  const shields = new FakeTable('shields')
  shields.commit(2)
  await publisherOf(realFiles, [shields]).publish()
  await expect(exportTo('/shields', 'error')).rejects.toMatchObject({ code: 'EXPORT_EXISTS' })
  await expect(exportTo('/shields', 'append')).rejects.toThrow('was published by a table')
  expect(read('shields')).toEqual([2])
  await exportTo('/shields', 'overwrite')
  expect(read('shields')).toEqual([100])
})

test('of the versions that were replaced the newest hundred of a table stay for an hour, and half removed ones go', async () => {
  const publisher = publisherOf()
  for (let n = 1; n <= 105; n++) {
    swords.commit(n)
    await publisher.publish()
  }
  const parts = { files: realFiles, clock: realClock, logger: silentLogger, data }
  const clean = () => removeReplaced(parts)
  mkdirSync(join(exportsRoot(), '.versions', 'half'))
  symlinkSync('.versions/other', join(exportsRoot(), 'elsewhere'))
  await clean()
  expect(versions()).toHaveLength(101)
  expect(versions()).not.toContain('half')
  for (const name of versions())
    for (const file of ['.replaced', '_SUCCESS']) {
      const path = join(exportsRoot(), '.versions', name, file)
      if (existsSync(path)) utimesSync(path, 0, 0)
    }
  await clean()
  expect(versions()).toHaveLength(1)
  expect(read()).toEqual([105])
})
