import { expect, test } from 'vitest'
import { z } from 'zod'
import { realClock } from '../../src/core/clock.ts'
import { realFiles } from '../../src/core/files.ts'
import type { LakeTable } from '../../src/lake/table.ts'
import type { Definition } from '../../src/plan/definition.ts'
import { readByIcebird } from '../lake/support.ts'
import { FailingFiles } from './failing-files.ts'
import { define, World } from './world.ts'

const swords = (params: object, table: object = {}) =>
  define({
    events: { purchase_sword: { params: z.object({}).extend(params as never) } },
    tables: { sword_purchases: { from: 'purchase_sword', trigger: '100ms', ...table } },
  })

async function commitSword(world: World, event: object): Promise<void> {
  const committedAtMs = world.stream?.tables[0]?.committedAtMs
  await world.append([{ event_type: 'purchase_sword', ...event }])
  while (world.stream?.tables[0]?.committedAtMs === committedAtMs) await realClock.sleep(5)
}

test('a column is renamed, widened and dropped by metadata only, and comes back as a new one', async () => {
  await using world = await World.open()
  const stream = await world.start(
    swords({ strength: z.int32().optional(), color: z.string().optional() }),
  )
  await commitSword(world, { strength: 7, color: 'red' })
  const lake = () => stream.tables[0]?.lake
  const [before] = (await lake()?.liveFiles()) ?? []

  const damage = { damage: z.int().optional() }
  const renamed = { renamed: { damage: 'strength' } }
  await stream.activate(swords(damage, { ...renamed, dropped: ['color'] }))
  await commitSword(world, { damage: 5_000_000_000 })
  const rows = () =>
    world.query('SELECT damage::VARCHAR AS damage FROM "default".sword_purchases ORDER BY _offset')
  expect(await rows()).toEqual([{ damage: '7' }, { damage: '5000000000' }])
  const names = () => lake()?.columns.map(({ name }) => name)
  expect(names()).not.toContain('strength')
  expect(names()).not.toContain('color')
  expect(lake()?.properties['read.parquet.vectorization.enabled']).toBe('false')
  expect((await lake()?.liveFiles())?.[0]).toEqual(before)
  const read = await readByIcebird(lake() as LakeTable)
  expect(read.map((row) => Number(row['damage']))).toEqual([7, 5_000_000_000])

  await stream.activate(swords({ ...damage, color: z.string().optional() }, renamed))
  await commitSword(world, { damage: 1, color: 'blue' })
  const colors = await world.query('SELECT color FROM "default".sword_purchases ORDER BY _offset')
  expect(colors).toEqual([{ color: null }, { color: null }, { color: 'blue' }])
  // The table as it was has the columns that it had.
  const [first] = lake()?.metadata.snapshots ?? []
  const id = String(first?.['snapshot-id'])
  const past = await stream.pastScan(null, 'Sword_Purchases', { id })
  expect(await world.query(`SELECT strength, color FROM (${past})`)).toEqual([
    { strength: 7, color: 'red' },
  ])
  expect(await stream.pastScan(null, 'axes', { id })).toBeUndefined()
  await expect(
    stream.pastScan('default', 'sword_purchases', { timestampMs: 0 }),
  ).rejects.toMatchObject({ code: 'SNAPSHOT_UNKNOWN' })
  await stream.stop()
  world.abandon()
  await world.start(swords({ ...damage, color: z.string().optional() }, renamed))
  expect(await rows()).toHaveLength(3)
})

test('a column that was dropped comes back as a new one, also when nothing was written meanwhile; by a definition that did not go live it was never dropped', async () => {
  await using world = await World.open()
  const color = { color: z.string().optional() }
  const first = swords(color)
  const without = swords({}, { dropped: ['color'] })
  let stream = await world.start(first)
  await commitSword(world, { color: 'red' })
  const colors = () => world.query('SELECT color FROM "default".sword_purchases ORDER BY _offset')
  const restart = async (live: Definition) => {
    await stream.stop()
    world.abandon()
    stream = await world.startOn(first, live)
  }

  await stream.activate(without)
  await stream.activate(first, first) // another process has refused the one without
  expect(await colors()).toEqual([{ color: 'red' }])
  await stream.activate(without)
  await restart(first) // everything was killed before the one without was live
  expect(await colors()).toEqual([{ color: 'red' }])

  await stream.activate(without)
  await stream.activate(first)
  expect(await colors()).toEqual([{ color: null }])
  await stream.activate(without)
  await restart(without)
  await commitSword(world, { color: 'blue' })
  expect(await colors()).toEqual([{ color: null }, { color: 'blue' }])
})

test('a change that no file could follow is refused with the reason and the ways out, and no table has changed', async () => {
  await using world = await World.open()
  const params = (type: unknown) => ({
    events: {
      purchase_sword: {
        params: z.object({ price: type as z.ZodOptional, more: z.string().optional() }),
      },
    },
  })
  const tables = {
    cheap: { from: 'purchase_sword', columns: ['more'] },
    swords: { from: 'purchase_sword', columns: ['price'] },
  }
  const first = define({ ...params(z.string().optional()), tables })
  const stream = await world.start(first)
  await world.append([{ event_type: 'purchase_sword', price: '3' }])
  const changed = define({
    ...params(z.int32().optional()),
    tables: { cheap: { ...tables.cheap, columns: [], dropped: ['more'] }, swords: tables.swords },
  })
  await expect(stream.activate(changed)).rejects.toMatchObject({
    code: 'EVOLUTION_REFUSED',
    message: 'table swords: column price is string in the table and can not become int',
    hint: expect.stringContaining("an event 'purchase_sword@2' with a table of its own"),
  })
  expect(stream.definition).toBe(first)
  expect(stream.tables[0]?.lake.columns.map(({ name }) => name)).toContain('more')
  await world.append([{ event_type: 'purchase_sword', price: '4' }])
  expect(await world.count('"default".swords')).toBe(2)
  // The way out.
  const beside = define({
    events: {
      ...params(z.string().optional()).events,
      'purchase_sword@2': { params: z.object({ price: z.int32().optional() }) },
    },
    tables: { ...tables, swords_2: { from: 'purchase_sword@2' } },
  })
  await stream.activate(beside)
  await world.append([{ event_type: 'purchase_sword@2', price: 5 }])
  expect(await world.count('"default".swords_2')).toBe(1)
})

/** Two tables of which a change renames, widens, drops and adds columns, and makes a third. */
const twoTables = (changed: boolean) =>
  define({
    events: {
      purchase_sword: {
        params: changed
          ? z.object({ damage: z.int().optional(), material: z.string().optional() })
          : z.object({ strength: z.int32().optional(), color: z.string().optional() }),
      },
    },
    tables: Object.fromEntries(
      (changed ? ['a', 'b', 'c'] : ['a', 'b']).map((name) => [
        name,
        {
          from: 'purchase_sword',
          trigger: '1h',
          ...(changed && name !== 'c' && { renamed: { damage: 'strength' }, dropped: ['color'] }),
          ...(changed && name === 'a' && { where: 'damage > 0' }),
        },
      ]),
    ),
  })

test('a change that fails half-way, wherever it does, leaves all tables as they were', async () => {
  const failing = new FailingFiles()
  await using world = await World.open({ files: failing.files })
  const stream = await world.start(twoTables(false))
  const state = (name: string) => {
    const table = stream.tables.find(({ lake }) => lake.name === name)
    return { columns: table?.lake.columns, rules: table?.lake.properties['questlog.rules'] }
  }
  const sword = { event_type: 'purchase_sword', strength: 7, color: 'red' }
  const rows = (name: string) =>
    world.query(`SELECT strength, color FROM "default".${name} ORDER BY _offset`)
  const seen: { strength: number; color: string }[] = []
  const before = [state('a'), state('b')]
  for (const place of ['b/metadata/v', 'c/metadata/v1.', 'c/metadata/v2.', 'c/data']) {
    await world.append([sword])
    seen.push({ strength: 7, color: 'red' })
    await rows('a')
    await stream.activate(twoTables(false)) // what is fresh is committed
    failing.refuses = (path) => path.includes(place)
    await expect(stream.activate(twoTables(true))).rejects.toThrow('EACCES')
    failing.refuses = () => false
    expect([state('a'), state('b')]).toEqual(before)
    expect(await rows('a')).toEqual(seen)
    expect(await rows('b')).toEqual(seen)
    expect(await world.query("SELECT 1 FROM duckdb_views() WHERE view_name = 'c'")).toEqual([])
  }
  await world.append([sword])
  expect(await stream.stop()).toEqual([])
  expect(world.fatal).toBeUndefined()
  await world.startOn(twoTables(true))
  const columns = 'damage::INTEGER AS damage, material'
  for (const name of ['a', 'b', 'c'])
    expect(await world.query(`SELECT ${columns} FROM "default".${name}`)).toHaveLength(5)
  const [row] = await world.query(`SELECT ${columns} FROM "default".a LIMIT 1`)
  expect(row).toEqual({ damage: 7, material: null })
})

test('a change that a kill ends half-way is undone by the start with the definition of before', async () => {
  const failing = new FailingFiles()
  await using world = await World.open({ files: failing.files })
  const stream = await world.start(twoTables(false))
  await world.append([{ event_type: 'purchase_sword', strength: 7, color: 'red' }])
  await world.count('"default".a')
  await stream.activate(twoTables(false)) // what is fresh is committed
  failing.refuses = (path) => {
    if (!path.includes('b/metadata/v')) return false
    failing.dieAt = 0
    return true
  }
  await expect(stream.activate(twoTables(true))).rejects.toThrow('nor back')
  expect(world.fatal).toMatchObject({ message: expect.stringContaining('nor back') })
  expect(stream.tables[0]?.lake.columns.map(({ name }) => name)).toContain('color')
  await stream.stop()
  world.abandon()
  failing.dieAt = Number.POSITIVE_INFINITY
  failing.refuses = () => false
  await world.startOn(twoTables(false))
  for (const name of ['a', 'b'])
    expect(await world.query(`SELECT strength, color FROM "default".${name}`)).toEqual([
      { strength: 7, color: 'red' },
    ])
})

test('a table whose partition column has its former name gets the new one at the start, with its rows', async () => {
  await using world = await World.open()
  const definition = swords({})
  const stream = await world.start(definition)
  await commitSword(world, {})
  const lake = stream.tables[0]?.lake as LakeTable
  const former = lake.columns.map((column) =>
    column.name === '_log_partition' ? { ...column, name: '_partition' } : column,
  )
  await stream.stop()
  await lake.evolve(former, { _partition: '_log_partition' })
  await world.startOn(definition)
  await commitSword(world, {})
  expect(
    await world.query('SELECT _log_partition AS p FROM "default".sword_purchases ORDER BY _offset'),
  ).toEqual([{ p: 0 }, { p: 0 }])
  expect(world.stream?.tables[0]?.lake.columns.map(({ name }) => name)).not.toContain('_partition')
})

test('who waits to change the files of a table while its columns change is told that it is another one', async () => {
  let onLink = () => {}
  const link = (from: string, to: string) => {
    onLink()
    return realFiles.link(from, to)
  }
  await using world = await World.open({ files: { ...realFiles, link } })
  const stream = await world.start(swords({ strength: z.int32().optional() }))
  await commitSword(world, { strength: 7 })
  const [table] = stream.tables
  let hasChanged: Promise<boolean> | undefined
  onLink = () => {
    if (table !== undefined) hasChanged ??= stream.changeFiles(table, async () => {})
  }
  await stream.activate(swords({ strength: z.int32().optional(), color: z.string().optional() }))
  expect(await hasChanged).toBe(false)
})
