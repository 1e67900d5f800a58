import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { realClock } from '../../src/core/clock.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { createSqlEngine } from '../../src/sql/engine.ts'
import { ask } from '../sql/support.ts'
import { define, World } from './world.ts'

const definition = (namespace: string) =>
  define({
    namespace,
    events: { purchase: { params: z.object({ number: z.int().optional() }) } },
    tables: { purchases: { from: 'purchase', trigger: '1h' } },
  })

test('after a change of the namespace, every form of a statement reads the table of the namespace that it asks', async () => {
  await using world = await World.open()
  const stream = await world.start(definition('default'))
  const append = (number: number) => world.append([{ event_type: 'purchase', number }])
  await append(1)
  await world.count('"default".purchases')
  await stream.activate(definition('other'))
  await append(2)
  await append(3)
  const { instance, settings } = world
  if (instance === undefined) throw new Error('there is no instance')
  const lakeFolder = join(world.folder, 'lake')
  mkdirSync(lakeFolder, { recursive: true })
  for (const [namespace, numbers] of [
    ['default', [[1]]],
    ['other', [[1], [2], [3]]],
  ] as const) {
    const engine = await createSqlEngine({
      instance,
      namespace,
      settings,
      clock: realClock,
      logger: silentLogger,
      source: stream,
      lakeFolder,
    })
    const rows = async (sql: string) => (await ask(engine, sql)).rows
    expect(await rows('select number from purchases order by number')).toEqual(numbers)
    expect(await rows('select number from purchases where number > 0')).toEqual(numbers)
    expect(await rows('select count(*) from purchases')).toEqual([[numbers.length]])
    await engine.close()
  }
})
