import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { openDuckdb, queryRows, type DuckDBConnection } from '../../src/core/duckdb.ts'
import { newCatalog } from '../../src/stream/catalog-writer.ts'
import { ViewChanges } from '../../src/stream/view-changes.ts'

async function open() {
  const instance = await openDuckdb({
    memoryMiB: 64,
    threads: 1,
    temporaryFolder: join(tmpdir(), 'questlog-views'),
    temporaryMiB: 1,
  })
  const writer = await instance.connect()
  await writer.run('CREATE TABLE fresh (i INTEGER); CREATE VIEW seen AS SELECT 0 AS n')
  const catalog = newCatalog()
  const views = new ViewChanges(await instance.connect(), catalog)
  return { writer, catalog, views, [Symbol.dispose]: () => instance.closeSync() }
}

const seen = async (connection: DuckDBConnection) =>
  (await queryRows(connection, 'SELECT n FROM seen'))[0]?.['n']

const replace = (n: number) => async (sink: { run(sql: string): Promise<unknown> }) => {
  await sink.run(
    `CREATE OR REPLACE VIEW seen AS SELECT ${n} AS n FROM (SELECT count(*) FROM fresh)`,
  )
  return n
}

test('a change of views is seen when it is committed, not before, and rows and tables come meanwhile', async () => {
  using world = await open()
  const change = await world.views.prepare(replace(1))
  await world.writer.run(
    'BEGIN; INSERT INTO fresh VALUES (1); CREATE TABLE more (i INTEGER); COMMIT',
  )
  expect([await seen(world.writer), world.catalog.version]).toEqual([0, 0])
  expect(await change.commit()).toBe(1)
  expect([await seen(world.writer), world.catalog.version]).toEqual([1, 1])
})

test('a change that is rolled back, or fails, leaves the views and the next change alone', async () => {
  using world = await open()
  await (await world.views.prepare(replace(1))).rollback()
  const failing = world.views.prepare((sink) => sink.run('CREATE VIEW other AS SELECT nothing'))
  await expect(failing).rejects.toThrow('nothing')
  expect([await seen(world.writer), world.catalog.version]).toEqual([0, 0])
  await (await world.views.prepare(replace(2))).commit()
  expect(await seen(world.writer)).toBe(2)
})

test('while a view is being changed another change of it fails, and the first one is made', async () => {
  using world = await open()
  const change = await world.views.prepare(replace(1))
  await expect(world.writer.run('CREATE OR REPLACE VIEW seen AS SELECT 3 AS n')).rejects.toThrow(
    'write-write conflict',
  )
  await change.commit()
  await (await world.views.prepare(replace(4))).commit()
  expect(await seen(world.writer)).toBe(4)
})

test('of two changes the second is made when the first has ended', async () => {
  using world = await open()
  const first = await world.views.prepare(replace(1))
  const second = world.views.prepare(replace(2))
  await first.commit()
  expect(await seen(world.writer)).toBe(1)
  await (await second).commit()
  expect(await seen(world.writer)).toBe(2)
})
