import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { checkDefinition } from '../../src/cli/check.ts'
import { writeStarter } from '../../src/cli/init.ts'
import { realFiles } from '../../src/core/files.ts'

let folder = ''
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'questlog-init-'))
})
afterEach(() => rm(folder, { recursive: true }))

test('the starter is a definition that check describes', async () => {
  const [path = ''] = await writeStarter(join(folder, 'game'), realFiles)
  expect(path).toBe(join(folder, 'game', 'questlog.config.ts'))
  const { lines } = await checkDefinition(path)
  const common = 'raw_event, timestamp, Accept, Host, User-Agent, event_type'
  const own = 'event_id, _log_partition int, _offset long, _timestamp timestamptz'
  expect(lines).toEqual([
    'topic events: 1 partition',
    '',
    'route GET /                  default         7 bytes',
    'route GET /purchase_a_sword  purchase_sword  17 bytes',
    'route POST /events           level_done      no own route',
    '',
    'table events: every event of events, from the beginning, commits every 10 s',
    `  columns ${common}, color, damage int, level int, ${own}`,
    'table sword_purchases: purchase_sword, from the beginning, commits every 10 s',
    `  columns ${common}, color, damage int, ${own}`,
  ])
})

test('init never overwrites', async () => {
  const [path = ''] = await writeStarter(folder, realFiles)
  await writeFile(path, 'mine')
  await expect(writeStarter(folder, realFiles)).rejects.toMatchObject({
    code: 'USAGE',
    message: `${path} is there already and stays as it is`,
  })
  expect(await readFile(path, 'utf8')).toBe('mine')
})

test('check tells conditions, limits and what the file prints, and fails on a wrong file', async () => {
  const path = join(folder, 'questlog.config.ts')
  await writeFile(
    path,
    `console.log('hello')
     export default {
       topics: { events: { partitions: 2, maxMessageBytes: 2048 } },
       events: { a: { route: 'POST /a', reply: 'x' } },
       tables: { t: { from: 'a', where: "Host = 'x'", set: { Host: "'moe'" }, startAt: 'latest' } },
     }`,
  )
  const { lines } = await checkDefinition(path)
  expect(lines).toEqual([
    'topic events: 2 partitions, max.message.bytes=2048',
    '',
    'route POST /a  a  1 byte',
    '',
    'table t: a, from the next event, commits every 10 s',
    expect.stringContaining('  columns raw_event, '),
    "  where Host = 'x'",
    "  set Host = 'moe'",
    'the file prints: hello',
  ])
  await writeFile(path, 'export default 5')
  await expect(checkDefinition(path)).rejects.toMatchObject({ code: 'DEFINITION_INVALID' })
})

test('SQL that the tables would refuse is refused by check, at its line', async () => {
  const path = join(folder, 'questlog.config.ts')
  await writeFile(
    path,
    `export default {
       events: { a: {} },
       tables: {
         t: { from: 'a', set: { 'User-Agent': 'lower(Hots)' } },
       },
     }`,
  )
  await expect(checkDefinition(path)).rejects.toMatchObject({
    code: 'DEFINITION_INVALID',
    message: expect.stringMatching(
      /:4:33 tables\.t\.set\["User-Agent"\]: .*Hots.* — fix: correct the SQL$/,
    ),
  })
})
