import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { exportRows, type ExportRequest } from '../../src/app/export.ts'
import { makeDraft, publishVersion, removeDrafts } from '../../src/app/export-versions.ts'
import { exportPath } from '../../src/app/export-root.ts'
import { realClock } from '../../src/core/clock.ts'
import { Exclusive } from '../../src/core/exclusive.ts'
import { realFiles, type Files } from '../../src/core/files.ts'
import { silentLogger } from '../../src/core/logger.ts'
import type { CopyRequest } from '../../src/sql/engine.ts'

let data: string
/** Called between the files of an export: what a reader sees then. */
let during: () => void
let turn: Exclusive<null>
let published: string[]

beforeEach(() => {
  data = mkdtempSync(join(tmpdir(), 'questlog-export-'))
  during = () => {}
  turn = new Exclusive(null)
  published = []
})
afterEach(() => rmSync(data, { recursive: true }))

/** A statement that is a folder's name is written into that folder. */
const partitionFolders = (sql: string) => (sql.startsWith('clan=') ? [sql] : ['k=1', 'k=2'])

/** Writes the statement's text as the rows, into one file, or one in each of two folders. */
const engine = {
  async copy({ sql, folder, fileName, partitionBy }: CopyRequest): Promise<number> {
    if (sql === 'fail') throw new Error('no such table')
    const folders =
      partitionBy.length === 0 ? [folder] : partitionFolders(sql).map((name) => join(folder, name))
    for (const each of folders) {
      mkdirSync(each, { recursive: true })
      writeFileSync(join(each, `${fileName}.snappy.parquet`), sql)
      during()
    }
    return sql.length
  },
}

function run(sql: string, more: Partial<ExportRequest> = {}, files: Files = realFiles) {
  const request = { sql, path: '/tmp/purchases', mode: 'error', partitionBy: [], ...more } as const
  const signal = new AbortController().signal
  return exportRows(request, {
    files,
    clock: realClock,
    logger: silentLogger,
    data,
    engine,
    signal,
    turn,
    publishedTables: () => published,
  })
}

/** What a reader of the folder finds: names, and all bytes of the part files. */
function read(path = 'tmp/purchases') {
  const folder = join(data, 'exports', path)
  const names = readdirSync(folder, { recursive: true }).map(String).toSorted()
  const parts = names.filter((name) => name.endsWith('.parquet'))
  return { names, rows: parts.map((name) => readFileSync(join(folder, name), 'utf8')) }
}

test('an export has the form that Spark leaves: a part file with a UUID, and _SUCCESS', async () => {
  const result = await run('abc')
  expect(result.rows).toBe(3)
  const { names, rows } = read()
  expect(names).toEqual([
    '_SUCCESS',
    expect.stringMatching(/^part-00000-[0-9a-f-]{36}-c000\.snappy\.parquet$/),
  ])
  expect(rows).toEqual(['abc'])
  expect(readFileSync(join(result.folder, '_SUCCESS'), 'utf8')).toBe('')
})

test('what is there is only replaced when asked to, and then a reader sees the old rows until it sees all of the new', async () => {
  await run('old', { partitionBy: ['k'] })
  await expect(run('new')).rejects.toMatchObject({ code: 'EXPORT_EXISTS' })
  const seen: string[][] = []
  during = () => seen.push(read().rows)
  await run('new', { mode: 'overwrite', partitionBy: ['k'] })
  expect(seen).toEqual([
    ['old', 'old'],
    ['old', 'old'],
  ])
  expect(read().rows).toEqual(['new', 'new'])
  expect(read().names).toContain('_SUCCESS')
})

test('folders have the names that Hive and Spark read: ASCII after %, all else as it is', async () => {
  await run('clan=%C3%9Cn%C3%AFted%20100%25%2F', { partitionBy: ['clan'] })
  expect(read().names).toContain('clan=Ünïted 100%25%2F')
})

test('an overwritten single file keeps its name, so that a reader that has just listed it can open it', async () => {
  await run('old')
  const before = read().names
  await run('new', { mode: 'overwrite' })
  expect(read()).toEqual({ names: before, rows: ['new'] })
})

test('an appended file is added to what is there', async () => {
  await run('one')
  await run('two', { mode: 'append' })
  expect(read().rows.toSorted()).toEqual(['one', 'two'])
  await run('three', { mode: 'append', path: 'hdfs://namenode:8020/tmp/other' })
  expect(read('tmp/other').rows).toEqual(['three'])
})

test('an append of one file costs the same however many are there', async () => {
  const costs: number[] = []
  await run('first')
  for (let n = 0; n < 5; n++) {
    let calls = 0
    const counted =
      <Args extends unknown[], Result>(change: (...args: Args) => Promise<Result>) =>
      (...args: Args) => {
        calls++
        return change(...args)
      }
    const files: Files = {
      ...realFiles,
      link: counted((from: string, to: string) => realFiles.link(from, to)),
      rename: counted((from: string, to: string) => realFiles.rename(from, to)),
      syncFolder: counted((path: string) => realFiles.syncFolder(path)),
    }
    await run(`row ${n}`, { mode: 'append' }, files)
    costs.push(calls)
  }
  expect(new Set(costs).size).toBe(1)
  expect(read().rows).toHaveLength(6)
  expect(read().names).toContain('_SUCCESS')
  expect(readdirSync(join(data, 'exports', '.versions'))).toHaveLength(1)
})

test.each([
  ['several files', ['k'], ['old', 'old'], ['new', 'new', 'old', 'old']],
  ['one file', [], ['old'], ['new', 'old']],
])(
  'whatever an append of %s fails at, a reader finds all of what it adds or nothing of it, and what was there always',
  async (_what, partitionBy, before, after) => {
    const rows = () => read().rows.toSorted().join()
    for (let failing = 1; ; failing++) {
      await run('old', { mode: 'overwrite', partitionBy })
      const seen = new Set<string>()
      let calls = 0
      /** Looks as a reader does, before each change of a file or folder. */
      const watched =
        <Args extends unknown[], Result>(change: (...args: Args) => Promise<Result>) =>
        async (...args: Args) => {
          seen.add(rows())
          if (++calls === failing) throw new Error('the disk is gone')
          return change(...args)
        }
      const files: Files = {
        ...realFiles,
        link: watched((from: string, to: string) => realFiles.link(from, to)),
        rename: watched((from: string, to: string) => realFiles.rename(from, to)),
        writeNew: watched((path: string, bytes: Uint8Array) => realFiles.writeNew(path, bytes)),
        makeFolder: watched((path: string) => realFiles.makeFolder(path)),
        syncFile: watched((path: string) => realFiles.syncFile(path)),
        syncFolder: watched((path: string) => realFiles.syncFolder(path)),
      }
      const result = await run('new', { mode: 'append', partitionBy }, files).catch(() => null)
      expect([before.join(), after.join()]).toContain(rows())
      if (partitionBy.length === 0) expect(rows()).toBe((result === null ? before : after).join())
      expect([...seen].filter((each) => ![before.join(), after.join()].includes(each))).toEqual([])
      if (result === null) continue
      expect(rows()).toBe(after.join())
      expect(failing).toBeGreaterThan(5)
      expect(read().names).toContain('_SUCCESS')
      return
    }
  },
)

test('a statement that fails leaves what was there, and nothing else', async () => {
  await run('old')
  await expect(run('fail', { mode: 'overwrite' })).rejects.toThrow('no such table')
  expect(read().rows).toEqual(['old'])
  expect(readdirSync(join(data, 'lake', '.exports'))).toEqual([])
})

test('replaced versions go after an hour, and drafts of a process that was killed at the next start', async () => {
  for (const rows of ['one', 'two', 'three']) await run(rows, { mode: 'overwrite' })
  const versions = join(data, 'exports', '.versions')
  expect(readdirSync(versions)).toHaveLength(3)
  for (const name of readdirSync(versions))
    for (const file of ['.replaced', '_SUCCESS'].filter((each) =>
      readdirSync(join(versions, name)).includes(each),
    ))
      utimesSync(join(versions, name, file), 0, 0)
  await run('four', { mode: 'overwrite' })
  // The third was replaced a moment ago: a reader may still have it open.
  expect(read().rows).toEqual(['four'])
  expect(readdirSync(versions)).toHaveLength(2)
  mkdirSync(join(data, 'lake', '.exports', 'half'), { recursive: true })
  removeDrafts(data)
  expect(readdirSync(join(data, 'lake'))).toEqual([])
})

test('an export that has taken its place is done, also when replaced versions can not be removed', async () => {
  const loop = join(data, 'exports', 'loop')
  await run('one')
  symlinkSync(loop, loop)
  await run('two', { mode: 'overwrite' })
  expect(readdirSync(join(data, 'exports', '.versions'))).toHaveLength(2)
  const modifiedMs = () => Promise.reject(new Error('the disk is gone'))
  await run('three', { mode: 'append' }, { ...realFiles, modifiedMs })
  expect(read().rows.toSorted()).toEqual(['three', 'two'])
})

test('readers of a version that is replaced get their hour, also when the process is killed at any point of it', async () => {
  await run('one')
  const versions = join(data, 'exports', '.versions')
  const [first = ''] = readdirSync(versions)
  utimesSync(join(versions, first, '_SUCCESS'), 0, 0) // it was there for long
  // Killed when it is noted, and the link is not turned yet.
  const writeNew = async (path: string, bytes: Uint8Array) => {
    await realFiles.writeNew(path, bytes)
    if (path.endsWith('.replaced')) throw new Error('killed')
  }
  await expect(run('two', { mode: 'overwrite' }, { ...realFiles, writeNew })).rejects.toThrow(
    'killed',
  )
  expect(read().rows).toEqual(['one'])
  utimesSync(join(versions, first, '.replaced'), 0, 0)
  await run('two', { mode: 'overwrite' })
  await run('three', { mode: 'overwrite' })
  expect(readdirSync(versions)).toContain(first)
  expect(read().rows).toEqual(['three'])
})

test('a version that somebody has removed can be replaced and added to', async () => {
  for (const mode of ['overwrite', 'append'] as const) {
    await run('old', { mode: 'overwrite' })
    rmSync(join(data, 'exports', '.versions'), { recursive: true })
    await run('new', { mode })
    expect(read().rows).toEqual(['new'])
  }
})

test('a process that is killed before the link is turned leaves nothing that looks like an export', async () => {
  const path = join(data, 'exports', 'purchases')
  mkdirSync(path, { recursive: true }) // so that the link can't be turned
  const draft = await makeDraft(realFiles, data)
  const version = { path, draft, name: 'v1', replaced: null }
  await expect(publishVersion({ files: realFiles, data }, version)).rejects.toThrow()
  expect(readdirSync(join(data, 'exports'))).toEqual(['.versions', 'purchases'])
  const versions = join(data, 'exports', '.versions')
  utimesSync(join(versions, 'v1', '_SUCCESS'), 0, 0)
  await run('abc')
  expect(readdirSync(versions)).toHaveLength(1)
})

test('an export never lands outside of its root, nor under a name that readers skip, nor on other files', async () => {
  expect(exportPath('/d', '../../etc').real).toBe('/d/exports/etc')
  expect(exportPath('/d', 'hdfs://h:8020/tmp/x')).toEqual({
    shown: '/tmp/x',
    real: '/d/exports/tmp/x',
  })
  expect(() => exportPath('/d', '/tmp/.versions')).toThrow('readers skip')
  mkdirSync(join(data, 'exports', 'tmp', 'purchases'), { recursive: true })
  await expect(run('x', { mode: 'overwrite' })).rejects.toMatchObject({ code: 'EXPORT_EXISTS' })
})

test('of exports to one path at once each does what it says, as if one came after the other', async () => {
  await Promise.all([run('abc', { mode: 'append' }), run('de', { mode: 'append' })])
  expect(read().rows.toSorted()).toEqual(['abc', 'de'])
  await Promise.all(['f', 'g', 'h'].map((sql) => run(sql, { mode: 'overwrite' })))
  expect(read().rows).toHaveLength(1)
  const tries = ['i', 'j'].map((sql) => run(sql, { path: '/new' }))
  const outcomes = await Promise.allSettled(tries)
  expect(outcomes.map(({ status }) => status).toSorted()).toEqual(['fulfilled', 'rejected'])
})

test('an export is not put into another one, nor where a link of somebody leads', async () => {
  await run('abc')
  const refused = { code: 'EXPORT_EXISTS' }
  await expect(run('de', { path: '/tmp/purchases/2026' })).rejects.toMatchObject(refused)
  expect(read().rows).toEqual(['abc'])
  const elsewhere = join(data, 'elsewhere')
  mkdirSync(elsewhere)
  symlinkSync(elsewhere, join(data, 'exports', 'mine'))
  for (const path of ['/mine', '/mine/purchases'])
    for (const mode of ['overwrite', 'append'] as const)
      await expect(run('de', { path, mode })).rejects.toMatchObject(refused)
  expect(readdirSync(elsewhere)).toEqual([])
  await expect(run('de', { path: '/' })).rejects.toMatchObject({ code: 'USAGE' })
})
