import { expect, test } from 'vitest'
import { FailingFiles } from './failing-files.ts'
import { define, World } from './world.ts'

const params = { type: 'object', properties: { n: { type: 'integer' } } }

/** Dead letters, and how many different ones. */
async function deadLetters(world: World): Promise<unknown> {
  const [row] = await world.query(
    `SELECT count(*)::INTEGER AS n, count(DISTINCT (topic, "partition", "offset", coalesce("table", '')))::INTEGER AS d FROM questlog.dead_letters`,
  )
  return row
}

/** The process dies: nothing that it has under way reaches the disk any more. */
async function crash(world: World, failing: FailingFiles): Promise<void> {
  failing.dieAt = 0
  await world.stream?.stop().catch(() => {})
  failing.dieAt = Number.POSITIVE_INFINITY
  world.abandon()
}

test('what is set aside of one topic is so once, also when a commit for another topic has stored it', async () => {
  const failing = new FailingFiles()
  await using world = await World.open({ files: failing.files })
  const definition = define({
    topics: { fast: {}, slow: {} },
    events: { move: { topic: 'fast', params }, trade: { topic: 'slow', params } },
    tables: {
      moves: { from: 'move', trigger: '100ms' },
      trades: { from: 'trade', trigger: '1h' },
    },
  })
  await world.start(definition)
  await world.append([{ event_type: 'trade', n: 'many' }, 'not json'], 'slow')
  expect(await deadLetters(world)).toEqual({ n: 2, d: 2 })
  await world.append([{ event_type: 'move', n: 1 }], 'fast')
  while (world.stream?.deadLetters.lake.recordCount !== 2) await world.query('SELECT 1')
  await crash(world, failing)
  await world.start(definition)
  expect(await deadLetters(world)).toEqual({ n: 2, d: 2 })
})

const withoutTables = define({ events: { move: { params } } })

test('without any table, what was set aside is kept over a stop', async () => {
  await using world = await World.open()
  const stream = await world.start(withoutTables)
  await world.append([{ event_type: 'move', n: 1 }, 'not json'])
  expect(await deadLetters(world)).toEqual({ n: 1, d: 1 })
  expect(await stream.stop()).toEqual([])
  await world.start(withoutTables)
  expect(await deadLetters(world)).toEqual({ n: 1, d: 1 })
})

test('without any table, what was set aside is kept over a crash, and over a change that adds one', async () => {
  const failing = new FailingFiles()
  await using world = await World.open({ files: failing.files })
  await world.start(withoutTables)
  await world.append([{ event_type: 'move', n: 1 }, 'not json'])
  expect(await deadLetters(world)).toEqual({ n: 1, d: 1 })
  await crash(world, failing)
  const stream = await world.start(withoutTables)
  await world.append(['not json either'])
  expect(await deadLetters(world)).toEqual({ n: 2, d: 2 })
  await stream.activate(
    define({ events: { move: { params } }, tables: { moves: { from: 'move' } } }),
  )
  expect(await deadLetters(world)).toEqual({ n: 2, d: 2 })
  await crash(world, failing)
  await world.start(withoutTables)
  expect(await deadLetters(world)).toEqual({ n: 2, d: 2 })
})

test('what a topic without tables has set aside is not forgotten when another topic commits', async () => {
  const failing = new FailingFiles()
  await using world = await World.open({ files: failing.files })
  const definition = define({
    topics: { fast: {}, plain: {} },
    events: { move: { topic: 'fast', params }, note: { topic: 'plain' } },
    tables: { moves: { from: 'move', trigger: '100ms' } },
  })
  await world.start(definition)
  for (let sent = 0; sent < 12; sent++) {
    await world.append(['not json'], 'plain')
    await world.append([{ event_type: 'move', n: sent }], 'fast')
    expect(await deadLetters(world)).toEqual({ n: sent + 1, d: sent + 1 })
    if (sent % 4 !== 3) continue
    await crash(world, failing)
    await world.start(definition)
    expect(await deadLetters(world)).toEqual({ n: sent + 1, d: sent + 1 })
  }
})
