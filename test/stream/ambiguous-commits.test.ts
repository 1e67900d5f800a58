import { expect, test } from 'vitest'
import { auditRunning } from '../../src/app/audit.ts'
import { realClock } from '../../src/core/clock.ts'
import { realFiles, type Files } from '../../src/core/files.ts'
import { metadataFolder, pathOf } from '../../src/lake/location.ts'
import { readManifest } from '../../src/lake/manifest.ts'
import { readManifestList } from '../../src/lake/manifest-list.ts'
import { decodeMetadata, ownSpec } from '../../src/lake/metadata.ts'
import { openTable, type LakeTable } from '../../src/lake/table.ts'
import { versionPath } from '../../src/lake/versions.ts'
import { FailingFiles } from './failing-files.ts'
import { define, World } from './world.ts'

const definition = define({
  events: {
    purchase_sword: { params: { type: 'object', properties: { damage: { type: 'integer' } } } },
  },
  tables: { swords: { from: 'purchase_sword', trigger: '1h' } },
})

/** One in five does not fit. */
const events = (count: number) =>
  Array.from({ length: count }, (_, n) => ({
    event_type: 'purchase_sword',
    damage: n % 5 === 4 ? 'a lot' : n,
  }))

async function expectEachOnce(world: World, swords: number, aside: number): Promise<void> {
  const { stream, instance } = world
  if (stream === undefined || instance === undefined) throw new Error('not running')
  const lines: string[] = []
  const say = async (line: string) => void lines.push(line)
  const exit = await auditRunning(stream, instance, realFiles, world.folder, say)
  expect(lines.join('\n')).toContain('everything adds up')
  expect(exit).toBe(0)
  expect(await world.count('"default".swords')).toBe(swords)
  expect(await world.count('questlog.dead_letters')).toBe(aside)
}

/** The table as another process sees it. */
async function opened(world: World): Promise<LakeTable> {
  const lakeFolder = `${world.folder}/lake`
  const where = { files: realFiles, clock: realClock, lakeFolder }
  const table = await openTable({ ...where, namespace: 'default', name: 'swords' })
  if (table === undefined) throw new Error('no table')
  return table
}

/** Every file that any snapshot of the table names. */
async function namedFiles(table: LakeTable): Promise<ReadonlySet<string>> {
  const path = versionPath(metadataFolder(table.folder), table.version)
  const metadata = decodeMetadata(await realFiles.readAll(path), path)
  const named = new Set<string>()
  for (const snapshot of metadata.snapshots ?? []) {
    named.add(pathOf(snapshot['manifest-list']))
    for (const manifest of await readManifestList(realFiles, snapshot['manifest-list'])) {
      named.add(pathOf(manifest.manifest_path))
      for (const entry of await readManifest(realFiles, manifest, ownSpec(metadata)))
        named.add(pathOf(entry.data_file.file_path))
    }
  }
  return named
}

test('a link that was made but whose answer is lost is found by its batch id, not made again', async () => {
  let lost = 0
  const files: Files = {
    ...realFiles,
    async link(from, to) {
      await realFiles.link(from, to)
      lost++
      throw Object.assign(new Error(`EIO: link '${to}'`), { code: 'EIO' })
    },
  }
  await using world = await World.open({ files })
  const stream = await world.start(definition)
  await world.append(events(10))
  await world.query('SELECT 1')
  const before = lost
  const { version } = await opened(world)
  await stream.activate(definition)
  expect(lost).toBe(before + 2) // the dead letters and the table, one link each
  expect((await opened(world)).version).toBe(version + 1)
  await expectEachOnce(world, 8, 2)
})

test('a process that dies right after a link, before its answer, leaves a commit that the next one builds on', async () => {
  for (const dying of ['dead_letters', 'swords']) {
    const failing = new FailingFiles()
    let armed = false
    const files: Files = {
      ...failing.files,
      async link(from, to) {
        await failing.files.link(from, to)
        if (!armed || !to.includes(`/${dying}/`)) return
        failing.dieAt = 0
        throw new Error('died in link')
      },
    }
    await using world = await World.open({ files })
    const stream = await world.start(definition)
    await world.append(events(10))
    await world.query('SELECT 1')
    armed = true
    await stream.stop().catch(() => {})
    expect(failing.dead).toBe(true)
    armed = false
    failing.dieAt = Number.POSITIVE_INFINITY
    world.abandon()
    await world.start(definition)
    await expectEachOnce(world, 8, 2)
    await world.append(events(5))
    await expectEachOnce(world, 12, 3)
  }
})

test("another writer's commit that takes no records is welcome: the batch follows it, once", async () => {
  await using world = await World.open()
  const stream = await world.start(definition)
  await world.append(events(10))
  await world.query('SELECT 1')
  const other = await opened(world)
  await other.commit({ batchId: 'other', files: [], properties: { comment: 'by another writer' } })
  await stream.activate(definition)
  const after = await opened(world)
  expect(after.properties['comment']).toBe('by another writer')
  expect(after.version).toBe(other.version + 1)
  await expectEachOnce(world, 8, 2)
})

test('no file that a snapshot names is ever deleted, whatever fails', async () => {
  const failing = new FailingFiles()
  const unlinked: string[] = []
  let links = 0
  const files: Files = {
    ...failing.files,
    async link(from, to) {
      links++
      if (links % 3 === 0) throw Object.assign(new Error('EIO: link'), { code: 'EIO' })
      await failing.files.link(from, to)
      if (links % 3 === 1) throw Object.assign(new Error('EIO: link'), { code: 'EIO' })
    },
    async unlink(path) {
      unlinked.push(path)
      await failing.files.unlink(path)
    },
  }
  await using world = await World.open({ files, settings: { commitRetryDelayMs: 10 } })
  const often = define({
    events: { purchase_sword: {} },
    tables: { swords: { from: 'purchase_sword', trigger: '100ms' } },
  })
  const start = async () => {
    for (;;) {
      try {
        return await world.start(often)
      } catch (error) {
        if (!String(error).includes('EIO')) throw error
      }
    }
  }
  await start()
  let sent = 0
  for (let life = 0; life < 3; life++) {
    const from = (await opened(world)).version
    while ((await opened(world)).version < from + 4) {
      await world.append([{ event_type: 'purchase_sword' }])
      sent++
      expect(await world.count('"default".swords')).toBe(sent)
    }
    failing.dieAt = failing.operations + 7
    await world.stream?.stop().catch(() => {})
    failing.dieAt = Number.POSITIVE_INFINITY
    world.abandon()
    await start()
  }
  await expectEachOnce(world, sent, 0)
  const named = await namedFiles(await opened(world))
  expect(named.size).toBeGreaterThan(20)
  expect(unlinked.filter((path) => named.has(path))).toEqual([])
})
