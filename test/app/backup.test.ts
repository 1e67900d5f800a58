import { cp, mkdtemp, readFile, rename, rm, truncate, unlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { auditStopped } from '../../src/app/audit.ts'
import { backUp, verifyBackup } from '../../src/app/backup.ts'
import { readFloors } from '../../src/app/floors.ts'
import { openLogEnds } from '../../src/app/log-ends.ts'
import { restore } from '../../src/app/restore.ts'
import { realClock } from '../../src/core/clock.ts'
import { realFiles, type Files } from '../../src/core/files.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { offsetsProperty, parseOffsets } from '../../src/lake/offsets.ts'
import { openTable } from '../../src/lake/table.ts'
import { openEventLog } from '../../src/log/event-log.ts'
import { LogReader } from '../../src/log/reader.ts'
import { setActiveVersion, storeDefinition } from '../../src/plan/store.ts'
import { openDuckdb, queryRows } from '../../src/core/duckdb.ts'
import { summarizeTopic } from '../../src/stream/status.ts'
import { Stream } from '../../src/stream/stream.ts'
import { define, World } from '../stream/world.ts'

const definition = define({
  topics: { events: { partitions: 2 } },
  events: {
    sword: { params: { type: 'object', properties: { n: { type: 'integer' } } } },
    guild: {},
  },
  tables: { swords: { from: 'sword' }, everything: { from: '*' } },
})

interface Before {
  readonly answered: ReadonlySet<number>
  readonly misfits: number
  readonly records: number
}

/** A world that sends numbered events, some of which are set aside, and commits when it is told to. */
class Game {
  readonly world: World
  sent = 0
  /** Numbers of swords that were answered. */
  readonly answered = new Set<number>()
  misfits = 0
  records = 0

  constructor(world: World) {
    this.world = world
  }

  static async start(): Promise<Game> {
    const world = await World.open({ settings: { segmentBytesMax: 4096 } })
    const { folder, files } = world
    await setActiveVersion(files, folder, await storeDefinition(files, folder, definition))
    await world.start(definition)
    return new Game(world)
  }

  async play(count: number): Promise<void> {
    const numbers = Array.from({ length: count }, () => ++this.sent)
    await this.world.append([
      ...numbers.map((n) => ({ event_type: 'sword', n, filler: 'x'.repeat(100) })),
      { event_type: 'sword', n: 'no number' },
      { event_type: 'guild' },
      'no JSON',
    ])
    for (const n of numbers) this.answered.add(n)
    this.misfits += 2
    this.records += count + 3
  }

  /** What a backup that begins now must hold. */
  get now(): Before {
    return { answered: new Set(this.answered), misfits: this.misfits, records: this.records }
  }

  /** Commits the fresh rows of all tables. */
  async commit(): Promise<void> {
    await this.world.query('SELECT 1')
    await this.world.stream?.activate(definition)
  }

  /** What retention does: removes what every table has committed. */
  async retain(): Promise<void> {
    const { log, stream } = this.world
    const topic = log.topic('events')
    if (topic === undefined || stream === undefined) return
    for (const partition of [0, 1]) {
      const committed = stream.tables.map(
        ({ lake }) =>
          parseOffsets(lake.properties[offsetsProperty]).get(topic.id)?.get(partition) ?? 0,
      )
      await log.removeSegments(topic.id, partition, Math.min(...committed))
    }
  }

  /** The backup, through files of which each use may make something happen. */
  async backUp(folder: string, files: Files = realFiles) {
    const { world } = this
    const reader = new LogReader(realFiles, join(world.folder, 'log'))
    const ends = {
      read: async () => reader.watermark()?.partitions ?? [],
      close: () => reader.close(),
    }
    try {
      const data = world.folder
      return await backUp({ files, clock: realClock, data, folder, ends, version: '1.2.3' })
    } finally {
      await ends.close()
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.world[Symbol.asyncDispose]()
  }
}

/** The real files; around each reading operation `happen` runs. */
function eventfulFiles(happen: (path: string) => Promise<void>): Files {
  return {
    ...realFiles,
    async openRead(path) {
      await happen(path)
      return realFiles.openRead(path)
    },
    async readAll(path) {
      await happen(path)
      return realFiles.readAll(path)
    },
    async list(path) {
      const names = await realFiles.list(path)
      await happen(path)
      return names
    },
  }
}

async function temporary(): Promise<{ path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), 'questlog-backup-'))
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) }
}

async function auditLines(data: string): Promise<{ exit: number; text: string }> {
  const lines: string[] = []
  const exit = await auditStopped(data, async (line) => void lines.push(line))
  return { exit, text: lines.join('\n') }
}

/** Runs log and stream on a restored folder, as `up` does. */
async function run<T>(
  data: string,
  use: (
    stream: Stream,
    ask: (sql: string) => Promise<readonly Record<string, unknown>[]>,
    log: Awaited<ReturnType<typeof openEventLog>>,
  ) => Promise<T>,
): Promise<T> {
  const { settings } = await World.open().then(async (world) => {
    await world[Symbol.asyncDispose]()
    return world
  })
  const log = await openEventLog({
    files: realFiles,
    clock: realClock,
    logger: silentLogger,
    folder: join(data, 'log'),
    settings,
    floors: await readFloors(realFiles, realClock, data),
    repair: false,
  })
  const instance = await openDuckdb({
    memoryMiB: 512,
    threads: 2,
    temporaryFolder: join(data, 'run'),
    temporaryMiB: 100,
  })
  const stream = await Stream.open({
    instance,
    files: realFiles,
    clock: realClock,
    logger: silentLogger,
    settings,
    dataFolder: data,
    onFatal: (error) => {
      throw error
    },
  })
  await stream.activate(definition)
  stream.start()
  const connection = await instance.connect()
  try {
    return await use(
      stream,
      async (sql) => {
        await stream.caughtUp(null, new AbortController().signal)
        return queryRows(connection, sql)
      },
      log,
    )
  } finally {
    connection.closeSync()
    await stream.stop()
    instance.closeSync()
    await log.close()
  }
}

/** What must hold of a restored folder; `before` was answered before the backup began. */
async function expectWhole(data: string, before: Before, sent: number): Promise<void> {
  const audit = await auditLines(data)
  expect(audit.text).toContain('everything adds up')
  expect(audit.exit).toBe(0)
  await run(data, async (stream, ask, log) => {
    const rows = await ask(
      'SELECT n::INTEGER AS n, count(*)::INTEGER AS c FROM "default".swords GROUP BY n',
    )
    const found = new Map(rows.map((row) => [Number(row['n']), Number(row['c'])]))
    expect([...before.answered].filter((n) => !found.has(n))).toEqual([])
    expect([...found].filter(([n, count]) => count !== 1 || n > sent)).toEqual([])
    const [aside] = await ask('SELECT count(*)::INTEGER AS n FROM questlog.dead_letters')
    expect(Number(aside?.['n'])).toBeGreaterThanOrEqual(before.misfits)
    const [twice] = await ask(
      'SELECT count(*)::INTEGER AS n FROM (SELECT 1 FROM questlog.dead_letters GROUP BY "partition", "offset", "table" HAVING count(*) > 1)',
    )
    expect(Number(twice?.['n'])).toBe(0)
    for (const topic of stream.topics) {
      const summary = summarizeTopic(topic, stream.reader.watermark())
      expect(summary.addsUp).toBe(true)
      // What retention removed before the ledger was stored is not counted any more, as after a crash.
      const isAllThere = log.states().every(({ removedRecords }) => removedRecords === 0)
      if (isAllThere) expect(summary.kept).toBeGreaterThanOrEqual(before.records)
    }
    // A new event gets an offset that no row has.
    const [last] = await ask(
      'SELECT max(_offset)::BIGINT AS n FROM (FROM "default".everything UNION ALL BY NAME SELECT "partition" AS _log_partition, "offset" AS _offset FROM questlog.dead_letters) WHERE _log_partition = 0',
    )
    const appended = await log.append('events', null, [
      { key: null, value: Buffer.from('{"event_type":"guild"}'), headers: [] },
    ])
    if (appended.partition === 0) expect(appended.baseOffset).toBeGreaterThan(Number(last?.['n']))
  })
  expect((await auditLines(data)).exit).toBe(0)
}

test('whatever happens while it runs, a backup is whole: restored elsewhere it adds up and holds everything that was answered before it began', async () => {
  const happening = fc.constantFrom('nothing', 'nothing', 'play', 'commit', 'retain')
  await fc.assert(
    fc.asyncProperty(
      fc.array(happening, { minLength: 10, maxLength: 40 }),
      fc.integer({ min: 1, max: 3 }),
      fc.integer({ min: 1, max: 8 }),
      async (happenings, rounds, stride) => {
        await using target = await temporary()
        const backup = join(target.path, 'backup')
        const data = join(target.path, 'data')
        let before: Before
        let sent: number
        {
          await using game = await Game.start()
          for (let round = 0; round < rounds; round++) {
            await game.play(30)
            if (round > 0) await game.commit()
          }
          before = game.now
          const queue = [...happenings]
          let turn = Promise.resolve()
          let reads = 0
          const files = eventfulFiles(() => {
            if (++reads % stride !== 0) return turn
            const next = queue.pop()
            turn = turn.then(async () => {
              if (next === 'play') await game.play(20)
              if (next === 'commit') await game.commit()
              if (next === 'retain') await game.retain()
            })
            return turn
          })
          await game.backUp(backup, files)
          sent = game.sent
          // What comes later is not in it.
          await game.play(10)
          await game.commit()
        }
        await verifyBackup(realFiles, backup)
        await restore(realFiles, backup, data)
        await expectWhole(data, before, sent)
      },
    ),
    { numRuns: Number(process.env['QUESTLOG_RUNS'] ?? 3) },
  )
})

test.each([
  ['set aside and committed', false],
  ['committed, and removed from the log,', true],
])('what is %s between two tables is in the backup', async (_what, isRemoved) => {
  await using target = await temporary()
  const [backup, data] = [join(target.path, 'backup'), join(target.path, 'data')]
  let before: Before
  let sent: number
  {
    await using game = await Game.start()
    await game.play(20)
    await game.commit()
    before = game.now
    const seen = new Set<string>()
    const files = eventfulFiles(async (path) => {
      // Once for each table, just before it is read.
      const table = /lake\/(.*)\/metadata\/v\d+\.metadata\.json$/.exec(path)?.[1]
      if (table === undefined || seen.has(table)) return
      seen.add(table)
      await game.play(40)
      await game.commit()
      if (isRemoved) await game.retain()
    })
    const { partitions } = await game.backUp(backup, files)
    expect(partitions.some(({ startOffset }) => startOffset > 0)).toBe(isRemoved)
    sent = game.sent
  }
  await restore(realFiles, backup, data)
  await expectWhole(data, before, sent)
})

test('a log that goes on running away from the copy ends the backup, and nothing is left', async () => {
  await using target = await temporary()
  await using game = await Game.start()
  await game.play(20)
  const files = eventfulFiles(async (path) => {
    if (!path.endsWith('.metadata.json')) return
    await game.play(40)
    await game.commit()
    await game.retain()
  })
  const folder = join(target.path, 'backup')
  await expect(game.backUp(folder, files)).rejects.toMatchObject({ code: 'OVERLOADED' })
  expect(await realFiles.list(folder)).toEqual([])
})

test('a folder at rest is backed up to the end that a start would find, also when the watermark file is old', async () => {
  await using target = await temporary()
  const copy = join(target.path, 'stopped')
  const [backup, data] = [join(target.path, 'backup'), join(target.path, 'data')]
  {
    await using game = await Game.start()
    await game.play(5)
    await game.commit()
    const old = await readFile(join(game.world.folder, 'log/watermark'))
    await game.play(5)
    await cp(game.world.folder, copy, { recursive: true })
    await writeFile(join(copy, 'log/watermark'), old)
    // The copy lies elsewhere: its tables still name their first place, as those of a folder that was moved do.
    await rm(join(copy, 'lake'), { recursive: true })
  }
  const ends = openLogEnds(realFiles, realClock, copy)
  const made = await backUp({
    files: realFiles,
    clock: realClock,
    data: copy,
    folder: backup,
    ends,
    version: '1.2.3',
  })
  await ends.close()
  expect(made.partitions.reduce((sum, each) => sum + each.endOffset, 0)).toBe(16)
  expect(await verifyBackup(realFiles, backup)).toEqual(made)
  await restore(realFiles, backup, data)
  await run(data, async (_stream, ask) => {
    const [row] = await ask('SELECT count(*)::INTEGER AS n FROM "default".swords')
    expect(Number(row?.['n'])).toBe(10)
  })
})

async function finished(game: Game, target: string): Promise<string> {
  await game.play(5)
  await game.commit()
  await game.backUp(join(target, 'backup'))
  return join(target, 'backup')
}

test('a backup goes into an empty folder outside of the data folder only, and a failed one leaves nothing', async () => {
  await using target = await temporary()
  await using game = await Game.start()
  await expect(game.backUp(join(game.world.folder, 'backup'))).rejects.toMatchObject({
    code: 'USAGE',
  })
  await writeFile(join(target.path, 'mine'), 'keep')
  await expect(game.backUp(target.path)).rejects.toMatchObject({ code: 'DATA_UNUSABLE' })
  await game.play(5)
  await game.commit()
  const full = {
    ...realFiles,
    openAppend: (path: string) =>
      path.endsWith('.parquet')
        ? Promise.reject(Object.assign(new Error('ENOSPC: no space left'), { code: 'ENOSPC' }))
        : realFiles.openAppend(path),
  }
  const folder = join(target.path, 'backup')
  await expect(game.backUp(folder, full)).rejects.toMatchObject({ code: 'DATA_UNUSABLE' })
  expect(await realFiles.list(folder)).toEqual([])
  await game.backUp(folder)
  expect(await readFile(join(target.path, 'mine'), 'utf8')).toBe('keep')
})

test('a table whose data file is gone is named, not copied in part', async () => {
  await using target = await temporary()
  await using game = await Game.start()
  await game.play(5)
  await game.commit()
  const table = await openTable({
    files: realFiles,
    clock: realClock,
    lakeFolder: join(game.world.folder, 'lake'),
    namespace: 'default',
    name: 'swords',
  })
  const [file] = (await table?.liveFiles()) ?? []
  if (file === undefined) throw new Error('no file')
  await rename(file.path, `${file.path}.away`)
  await expect(game.backUp(join(target.path, 'backup'))).rejects.toMatchObject({
    code: 'TABLE_DAMAGED',
    message: expect.stringContaining(file.path),
  })
  await rename(`${file.path}.away`, file.path)
})

test('restore refuses what is no backup, an unfinished or a changed one, and a folder that is not empty; nothing is left then', async () => {
  await using target = await temporary()
  await using game = await Game.start()
  const folder = await finished(game, target.path)
  const data = join(target.path, 'data')
  const [manifest, log] = [join(folder, 'backup.json'), join(folder, 'log')]
  const text = await readFile(manifest, 'utf8')
  const refuses = async (code: string, message: RegExp) => {
    await expect(restore(realFiles, folder, data)).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    })
    expect(await realFiles.list(data)).toEqual([])
  }
  await unlink(manifest)
  await refuses('BACKUP_UNUSABLE', /no finished backup/)
  await writeFile(manifest, text.slice(0, -20))
  await refuses('BACKUP_UNUSABLE', /can't be read/)
  await writeFile(manifest, text.replace('"endOffset": ', '"endOffset": 1'))
  await refuses('BACKUP_UNUSABLE', /checksum/)
  await writeFile(manifest, text.replace('"formatVersion": 2', '"formatVersion": 3'))
  await refuses('FORMAT_UNKNOWN', /format version 3/)
  await writeFile(manifest, text)

  const { files } = JSON.parse(text) as { files: { path: string; bytes: number }[] }
  // One of each kind.
  const kinds = [
    /^log\/meta$/,
    /\.log$/,
    /-m0\.avro$/,
    /snap-/,
    /metadata\.json$/,
    /parquet$/,
    /active$/,
  ]
  for (const kind of kinds) {
    const { path, bytes } = files.find((each) => kind.test(each.path) && each.bytes > 0) ?? {
      path: String(kind),
      bytes: 0,
    }
    const name = join(folder, path)
    const whole = await readFile(name)
    const flipped = Buffer.from(whole)
    flipped[bytes - 1] = (flipped[bytes - 1] ?? 0) ^ 1
    await writeFile(name, flipped)
    await refuses('BACKUP_UNUSABLE', /checksum/)
    await expect(verifyBackup(realFiles, folder)).rejects.toMatchObject({ code: 'BACKUP_UNUSABLE' })
    await truncate(name, bytes - 1)
    await refuses('BACKUP_UNUSABLE', /bytes instead of/)
    await unlink(name)
    await refuses('BACKUP_UNUSABLE', /is missing/)
    await writeFile(name, whole)
  }
  await writeFile(join(target.path, 'mine'), 'keep')
  await expect(restore(realFiles, folder, target.path)).rejects.toMatchObject({ code: 'USAGE' })
  await expect(restore(realFiles, log, data)).rejects.toMatchObject({ code: 'BACKUP_UNUSABLE' })
  await restore(realFiles, folder, data)
  await expect(restore(realFiles, folder, data)).rejects.toMatchObject({ code: 'DATA_UNUSABLE' })
  expect((await auditLines(data)).exit).toBe(0)
})

test('a restore that was interrupted can not be taken for a whole one: the start is refused', async () => {
  await using target = await temporary()
  await using game = await Game.start()
  const folder = await finished(game, target.path)
  const data = join(target.path, 'data')
  // What a power cut leaves just before the end.
  await restore(realFiles, folder, data)
  await unlink(join(data, 'log/meta'))
  await expect(run(data, async () => {})).rejects.toMatchObject({ code: 'LOG_DAMAGED' })
})
