import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { realClock } from '../../src/core/clock.ts'
import { openDuckdb } from '../../src/core/duckdb.ts'
import type { Prepare } from '../../src/lake/table-content.ts'
import { CatalogWriter } from '../../src/stream/catalog-writer.ts'
import { realFiles } from '../../src/core/files.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { resolveSettings } from '../../src/core/settings.ts'
import { CommitSchedule } from '../../src/stream/commit-schedule.ts'
import { Committer, type Committable } from '../../src/stream/committer.ts'
import { ViewChanges } from '../../src/stream/view-changes.ts'

const schema = { type: 'struct', 'schema-id': 0, fields: [] } as const

/** A table of which only what a commit touches exists. */
function tableWith(rows: { current: number }, committed: string[], name: string): Committable {
  const lake = {
    name,
    columns: [],
    properties: {},
    recordCount: 0,
    liveFiles: async () => [],
    commit: async (_change: unknown, prepare: Prepare) => {
      const content = {
        folder: '',
        columns: [],
        schema,
        dayColumn: null,
        recordCount: 0,
        files: [],
      }
      const prepared = await prepare(content)
      committed.push(name)
      await prepared.show()
    },
  }
  const fresh = {
    get currentRows() {
      return rows.current
    },
    get totalRows() {
      return rows.current
    },
    freezable: new Map([[0, 6]]),
    freeze: async () => () => void (rows.current = 0),
    swap: async () => () => {},
  }
  return { lake, fresh } as unknown as Committable // what the committer uses of them
}

test('a dead letter that comes while a commit waits for its turn is committed before its table', async () => {
  const instance = await openDuckdb({
    memoryMiB: 64,
    threads: 1,
    temporaryFolder: join(tmpdir(), 'questlog-schedule'),
    temporaryMiB: 1,
  })
  const writer = new CatalogWriter(await instance.connect())
  const committed: string[] = []
  const waiting = { current: 0 }
  const deadLetters = tableWith(waiting, committed, 'dead_letters')
  const swords = {
    ...tableWith({ current: 5 }, committed, 'swords'),
    next: new Map([[0, 6]]),
    failure: null,
    definition: { name: 'swords' },
  }
  const topic = { topic: { id: 'id' }, tables: [], setAside: { store: () => {} } }
  const base = {
    files: realFiles,
    clock: realClock,
    logger: silentLogger,
    settings: resolveSettings(),
  }
  const committer = new Committer({
    ...base,
    writer,
    views: new ViewChanges(await instance.connect(), writer.catalog),
    exporter: await instance.connect(),
  })
  const schedule = new CommitSchedule({
    ...base,
    committer,
    deadLetters,
    topics: () => [],
    release: async () => {},
    syncLog: async () => {},
  })
  let batchEnds = () => {}
  const batch = writer.run(() => new Promise<void>((resolve) => (batchEnds = resolve)))
  const run = schedule.run([
    { topic, table: swords } as unknown as Parameters<CommitSchedule['run']>[0][number],
  ])
  await new Promise((resolve) => setImmediate(resolve)) // the run waits for the writer by now
  waiting.current = 1
  batchEnds()
  await Promise.all([batch, run])
  expect(committed).toEqual(['dead_letters', 'swords'])
  instance.closeSync()
})
