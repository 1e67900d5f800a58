import { expect } from 'vitest'
import { z } from 'zod'
import { auditRunning } from '../../src/app/audit.ts'
import { FailingFiles } from './failing-files.ts'
import { define, World } from './world.ts'

export const definition = define({
  events: {
    purchase_sword: { params: z.object({ damage: z.number().int().optional() }) },
    join_guild: {},
  },
  tables: { sword_purchases: { from: 'purchase_sword' }, join_guilds: { from: 'join_guild' } },
})

export const events = (from: number, count: number) =>
  Array.from({ length: count }, (_, i) => {
    const n = from + i
    if (n % 7 === 0) return 'not json'
    return {
      event_type: n % 2 === 0 ? 'purchase_sword' : 'join_guild',
      n,
      damage: n % 10 === 0 ? 'x' : '1',
    }
  })

/** Commits everything while the process dies at the given change of the file system; true when it died. */
async function runUntilDeath(world: World, failing: FailingFiles, dieAt: number): Promise<boolean> {
  await world.start(definition)
  await world.append(events(0, 30))
  await world.query('SELECT 1')
  failing.dieAt = failing.operations + dieAt
  await world.stream?.stop().catch(() => {})
  const { dead } = failing
  failing.dieAt = Number.POSITIVE_INFINITY
  world.abandon()
  return dead
}

/** Everything adds up, and nothing was set aside twice. */
export async function expectEachOnce(world: World): Promise<void> {
  const lines: string[] = []
  const { stream, instance } = world
  if (stream === undefined || instance === undefined) throw new Error('not running')
  const exit = await auditRunning(
    stream,
    instance,
    world.files,
    world.folder,
    async (line) => void lines.push(line),
  )
  expect(lines.join('\n')).toContain('everything adds up')
  expect(exit).toBe(0)
  const twice = await world.query(
    'SELECT count(*)::INTEGER AS n, count(DISTINCT (coalesce("table", \'\'), "offset"))::INTEGER AS d FROM questlog.dead_letters',
  )
  expect(twice[0]?.['n']).toBe(twice[0]?.['d'])
}

/**
 * Cuts a flush of all tables off at its change number `first`, then `first + step`, … until it gets through, each time in a new world. After
 * the restart every event must be in its table once and set aside once. Gives the number of cuts.
 */
export async function cutCommits(first: number, step: number): Promise<number> {
  let cuts = 0
  for (let dieAt = first, died = true; died; dieAt += step, cuts++) {
    const failing = new FailingFiles()
    await using world = await World.open({ files: failing.files })
    died = await runUntilDeath(world, failing, dieAt)
    await world.append(events(30, 10))
    await world.start(definition)
    await expectEachOnce(world)
    expect(await world.count('"default".sword_purchases')).toBe(14)
    expect(await world.count('"default".join_guilds')).toBe(17)
  }
  return cuts
}
