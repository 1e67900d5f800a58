import { existsSync, mkdirSync, readdirSync, renameSync } from 'node:fs'
import { basename, join } from 'node:path'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { Publisher, requireFreeFolders } from '../../src/app/publisher.ts'
import { realClock } from '../../src/core/clock.ts'
import { openDuckdb, queryRows, type DuckDBConnection } from '../../src/core/duckdb.ts'
import { Exclusive } from '../../src/core/exclusive.ts'
import { silentLogger } from '../../src/core/logger.ts'
import type { Stream } from '../../src/stream/stream.ts'
import { Maintenance } from '../../src/stream/maintenance.ts'
import { define, World } from '../stream/world.ts'

const swords = (table: object, params: object = { damage: z.int32().optional() }) =>
  define({
    events: { purchase_sword: { params: z.object(params as Record<string, z.ZodType>) } },
    tables: { swords: { from: 'purchase_sword', trigger: '100ms', ...table } },
  })

const hive = { format: 'hive' }

/** A stream with its publisher, maintenance, and a reader that knows nothing of tables. */
class Hive implements AsyncDisposable {
  readonly world: World
  readonly stream: Stream
  readonly publisher: Publisher
  readonly maintenance: Maintenance
  readonly reader: DuckDBConnection

  private constructor(world: World, stream: Stream, reader: DuckDBConnection) {
    this.world = world
    this.stream = stream
    this.reader = reader
    const options = {
      files: world.files,
      clock: realClock,
      logger: silentLogger,
      settings: world.settings,
    }
    this.publisher = new Publisher({
      ...options,
      data: world.folder,
      turn: new Exclusive<null>(null),
      tables: () =>
        stream.tables
          .filter(({ definition }) => definition.format === 'hive')
          .map(({ lake }) => lake),
    })
    this.maintenance = new Maintenance({ ...options, stream, openDuckdb: () => duckdb(world) })
  }

  static async start(definition: ReturnType<typeof define>): Promise<Hive> {
    const world = await World.open({ settings: { publishIntervalMs: 50 } })
    const stream = await world.start(definition)
    return new Hive(world, stream, await (await duckdb(world)).connect())
  }

  async send(...events: readonly object[]): Promise<void> {
    await this.world.append(events.map((event) => ({ event_type: 'purchase_sword', ...event })))
  }

  get lake() {
    const lake = this.stream.tables[0]?.lake
    if (lake === undefined) throw new Error('there is no table')
    return lake
  }

  async committed(rows: number): Promise<void> {
    while (this.lake.recordCount < rows) await realClock.sleep(5)
    await this.publisher.publish()
    expect([...this.publisher.failures]).toEqual([])
  }

  folder(): string {
    return join(this.world.folder, 'exports', 'swords')
  }

  names(): string[] {
    return readdirSync(this.folder())
  }

  async read(): Promise<Record<string, unknown>> {
    const from = `read_parquet('${this.folder()}/*.parquet', union_by_name = true)`
    const [row] = await queryRows(
      this.reader,
      `SELECT count(*)::INTEGER AS n, sum(_offset)::INTEGER AS offsets FROM ${from}`,
    )
    return row ?? {}
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.publisher.stop()
    await this.maintenance.stop()
    this.reader.closeSync()
    await this.world[Symbol.asyncDispose]()
  }
}

function duckdb(world: World) {
  return openDuckdb({
    memoryMiB: 128,
    threads: 1,
    temporaryFolder: join(world.folder, 'reader-temp'),
    temporaryMiB: 100,
  })
}

test('the folder is one commit after another to a reader, before, while and after files are merged, with snappy from the first file on', async () => {
  await using run = await Hive.start(swords(hive))
  const expected = (n: number) => ({ n, offsets: (n * (n - 1)) / 2 })
  for (let n = 1; n <= 4; n++) {
    await run.send({ damage: n })
    await run.committed(n)
    expect(await run.read()).toEqual(expected(n))
  }
  const before = (await run.lake.liveFiles()).length
  expect(before).toBe(4)
  await run.maintenance.do({ namespace: 'default', name: 'swords', work: 'compact' })
  expect(await run.read()).toEqual(expected(4)) // the files that the merge replaced
  await run.publisher.publish()
  expect(run.names()).toEqual([
    '_SUCCESS',
    expect.stringMatching(/^part-00000-[0-9a-f-]{36}-c000\.snappy\.parquet$/),
  ])
  expect(await run.read()).toEqual(expected(4))
  const codecs = await queryRows(
    run.reader,
    `SELECT DISTINCT compression FROM parquet_metadata('${run.folder()}/*.parquet')`,
  )
  expect(codecs).toEqual([{ compression: 'SNAPPY' }])
  expect(run.lake.properties).toMatchObject({
    'questlog.format': 'hive',
    'write.parquet.compression-codec': 'snappy',
  })
})

test('a table becomes a published one with the files that it has, and ceases to be one with its folder left as it is', async () => {
  await using run = await Hive.start(swords({}))
  await run.send({ damage: 1 })
  await run.committed(1)
  expect(existsSync(run.folder())).toBe(false)
  await run.stream.activate(swords(hive))
  await run.publisher.publish()
  expect(run.names()[1]).toMatch(/\.zstd\.parquet$/)
  await run.send({ damage: 2 })
  await run.committed(2)
  expect(run.names().map((name) => name.split('.').slice(1).join('.'))).toEqual(
    expect.arrayContaining(['', 'snappy.parquet', 'zstd.parquet']),
  )
  expect(await run.read()).toEqual({ n: 2, offsets: 1 })
  await run.stream.activate(swords({}))
  await run.send({ damage: 3 })
  await run.committed(3)
  expect(await run.read()).toEqual({ n: 2, offsets: 1 })
  const [, , last] = await run.lake.liveFiles()
  expect(basename(last?.path ?? '')).not.toContain('snappy')
  await run.stream.activate(swords(hive))
  await run.publisher.publish()
  expect(await run.read()).toEqual({ n: 3, offsets: 3 })
})

test('a column may be added and dropped: files with the columns of now come first; what would confuse readers by name is refused, and nothing has changed', async () => {
  const damage = { damage: z.int32().optional() }
  await using run = await Hive.start(swords(hive, damage))
  await run.send({ damage: 1 })
  await run.committed(1)
  await run.stream.activate(
    swords(hive, {
      ...damage,
      color: z.string().optional(),
      at: z.object({ x: z.int() }).optional(),
    }),
  )
  await run.send({ damage: 2, color: 'red', at: { x: 1 } })
  await run.committed(2)
  const first = async () => {
    const [name = ''] = run.names().filter((each) => each.startsWith('part-00000'))
    const rows = await queryRows(run.reader, `DESCRIBE FROM '${join(run.folder(), name)}'`)
    return rows.map((row) => row['column_name'])
  }
  expect(await first()).toEqual(expect.arrayContaining(['damage', 'color', 'at']))
  await run.stream.activate(swords({ ...hive, dropped: ['color', 'at'] }, damage))
  await run.send({ damage: 3 })
  await run.committed(3)
  expect(await first()).not.toContain('color')
  expect(await run.read()).toEqual({ n: 3, offsets: 3 })

  const refused = (definition: ReturnType<typeof define>, message: string) =>
    expect(run.stream.activate(definition)).rejects.toMatchObject({
      code: 'EVOLUTION_REFUSED',
      message: expect.stringContaining(message),
      hint: expect.stringContaining("an event 'purchase_sword@2' with a table of its own"),
    })
  await refused(
    swords(hive, { damage: z.int().optional() }),
    'table swords: column damage is int in older files and can not become long',
  )
  await refused(
    swords(hive, { ...damage, color: z.string().optional() }),
    'table swords: column color was dropped',
  )
  await run.send({ damage: 4 })
  await run.committed(4)
  expect(await run.read()).toEqual({ n: 4, offsets: 6 })
})

test('a table that was renamed or widened before can not become a published one', async () => {
  await using run = await Hive.start(swords({}))
  await run.stream.activate(swords({}, { damage: z.int().optional() }))
  await expect(run.stream.activate(swords(hive, { damage: z.int().optional() }))).rejects.toThrow(
    'column damage is int in older files and can not become long',
  )
  await run.stream.activate(swords({ renamed: { force: 'damage' } }, { force: z.int().optional() }))
  await expect(run.stream.activate(swords(hive, { force: z.int().optional() }))).rejects.toThrow(
    'column force is called damage in older files',
  )
})

test('a definition that would publish a table where something else lies is refused; one that was published before is not held up by it', async () => {
  await using run = await Hive.start(swords({}))
  const parts = { files: run.world.files, clock: realClock, data: run.world.folder }
  mkdirSync(run.folder(), { recursive: true })
  await expect(requireFreeFolders(parts, swords(hive))).rejects.toMatchObject({
    code: 'EXPORT_EXISTS',
    message: expect.stringContaining('swords'),
  })
  await requireFreeFolders(parts, swords({}))
  await run.stream.activate(swords(hive))
  await requireFreeFolders(parts, swords(hive))
  await run.publisher.publish()
  expect([...run.publisher.failures.keys()]).toEqual(['swords'])
  await run.send({ damage: 1 })
  while (run.lake.recordCount < 1) await realClock.sleep(5)
  renameSync(run.folder(), `${run.folder()}_of_mine`)
  await run.publisher.stop()
  expect(await run.read()).toEqual({ n: 1, offsets: 0 })
})
