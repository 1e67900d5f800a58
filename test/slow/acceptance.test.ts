import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { realClock } from '../../src/core/clock.ts'
import { realFiles } from '../../src/core/files.ts'
import { openTable } from '../../src/lake/table.ts'
import { readByIcebird } from '../lake/support.ts'
import { freePort, runOrThrow, waitFor } from '../support/commands.ts'
import { readText } from '../support/tidy-source.ts'
import { Checkout } from './checkout.ts'
import { startLoad, type LoadResult } from './load.ts'

/** Every name in a data folder, the page that describes it, and the word to look for there. */
const dataFiles: readonly (readonly [RegExp, string, string])[] = [
  [/^log\/lock$|^lake\/lock$|^run\/supervisor\.lock$/, 'processes.md', 'lock'],
  [/^log\/meta$/, 'log-format.md', 'meta'],
  [/^log\/watermark$/, 'log-format.md', 'watermark'],
  [/^log\/[\w.-]+-\d+\/\d{20}\.log$/, 'log-format.md', '.log'],
  [
    /^log\/[\w.-]+-\d+\/\d{20}\.log\.index$|^log\/[\w.-]+-\d+\/\d{20}\.index$/,
    'log-format.md',
    '.index',
  ],
  [/^lake\/ledger$/, 'stream-format.md', 'lake/ledger'],
  [/^lake\/progress$/, 'stream-format.md', 'lake/progress'],
  [/^lake\/\w+\/\w+\/metadata\/v\d+\.metadata\.json$/, 'lake-format.md', '.metadata.json'],
  [/^lake\/\w+\/\w+\/metadata\/version-hint\.text$/, 'lake-format.md', 'version-hint.text'],
  // What a kill in the middle of a commit leaves.
  [/^lake\/\w+\/\w+\/metadata\/[\w-]+\.metadata\.json\.tmp$/, 'lake-format.md', '.json.tmp'],
  [
    /^lake\/\w+\/\w+\/metadata\/version-hint\.text\.[\w-]+\.tmp$/,
    'lake-format.md',
    'version-hint.text.<uuid>.tmp',
  ],
  [/^lake\/\w+\/\w+\/metadata\/[\w-]+\.avro$/, 'lake-format.md', '.avro'],
  [/^lake\/\w+\/\w+\/data\/_timestamp_day=[\d-]+\/[\w-]+\.parquet$/, 'lake-format.md', '.parquet'],
  [/^definitions\/(?:\d+\.json|active)$/, 'definition-format.md', 'definitions/active'],
  [/^run\/(?:supervisor|ingest|lake)\.log(?:\.1)?$/, 'run-folder.md', 'ingest.log'],
  [/^run\/definition-code\/[\w.-]+\.[cm]js$/, 'run-folder.md', 'definition-code/'],
]

/** What a person is promised who clones the repository into an empty folder: each step goes on where the one before ended. */
describe('on a fresh clone', () => {
  let checkout: Checkout
  /** Requests that got no answer may be kept or not. */
  let answeredInAll = 0
  let sentInAll = 0
  let knives = 0

  beforeAll(async () => {
    checkout = await Checkout.clone()
    checkout.ports = { collector: await freePort(5000), sql: await freePort(8080) }
  })
  afterAll(() => checkout.remove())

  const url = () => `http://127.0.0.1:${checkout.ports.collector}`
  const ab = (path: string, requests: number) =>
    runOrThrow(
      'ab',
      ['-n', String(requests), '-c', '10', '-H', 'Host: user1.comcast.com', `${url()}${path}`],
      { cwd: checkout.folder },
    )

  test('the demo finds every answered event, although both processes are killed twice', async () => {
    const output = await checkout.run('npm', ['run', 'demo', '--', '--once'])
    expect(output).toMatch(/equal/)
    expect(output).not.toMatch(/missing [1-9]/)
  })

  test('1,000 requests of ab are answered, and counted the moment after', async () => {
    await checkout.up()
    const report = await ab('/purchase_a_sword', 1000)
    expect(report).toMatch(/^Complete requests: +1000$/m)
    expect(report).toMatch(/^Failed requests: +0$/m)
    expect(report).toMatch(/^Document Length: +18 bytes$/m)
    expect(await checkout.csv('select count(*) from sword_purchases')).toBe('_col0\n1000\n')
    answeredInAll = sentInAll = 1000
  })

  test('kill -9 of ingest and of lake under load: nothing answered is missing or double', async () => {
    const load = startLoad(url(), '/purchase_a_sword', 20)
    for (const component of ['ingest', 'lake', 'ingest', 'lake']) {
      await answeredMore(load)
      await checkout.killAndWait(component)
    }
    await answeredMore(load)
    await expectKept(await load.stop())
  })

  test('kill -9 of the supervisor under load, and up again: the same', async () => {
    const load = startLoad(url(), '/purchase_a_sword', 20, 1_000_000)
    await answeredMore(load)
    process.kill(await checkout.pidOf('supervisor'), 'SIGKILL')
    await checkout.up()
    await answeredMore(load)
    await expectKept(await load.stop())
  })

  test('kill -9 of everything at once under load, and up again: the same', async () => {
    const load = startLoad(url(), '/purchase_a_sword', 20, 2_000_000)
    await answeredMore(load)
    for (const { pid } of (await checkout.status()).components)
      if (pid !== null) process.kill(pid, 'SIGKILL')
    await checkout.up()
    await answeredMore(load)
    await expectKept(await load.stop())
  })

  test('a path that is called before it exists is counted', async () => {
    await ab('/purchase_a_knife', 10)
    const screen = await checkout.questlog('ps', '--data', checkout.data)
    expect(screen).toMatch(/\b10\b.*\/purchase_a_knife|\/purchase_a_knife.*\b10\b/)
  })

  test('its route is live once the file is saved', async () => {
    uncomment('purchase_knife: event({')
    const savedMs = performance.now()
    const answer = await waitFor('the route is live', 120_000, async () => {
      const response = await fetch(`${url()}/purchase_a_knife`)
      return response.status === 200 && response.text()
    })
    console.log(
      `the route was live ${Math.round(performance.now() - savedMs)} ms after the file was saved`,
    )
    expect(answer).toBe('Knife Purchased!\n')
    const report = await ab('/purchase_a_knife', 10)
    expect(report).toMatch(/^Failed requests: +0$/m)
    expect(report).toMatch(/^Document Length: +17 bytes$/m)
    knives = 11
  })

  test('a table that is saved later contains every knife', async () => {
    uncomment('knife_purchases: table(')
    await waitFor('the table is there', 120_000, async () => {
      const { code } = await checkout.tryQuestlog(
        'sql',
        '--data',
        checkout.data,
        'select count(*) from knife_purchases',
      )
      return code === 0
    })
    expect(await checkout.ask('select count(*) from knife_purchases')).toBe(String(knives))
    expect(
      await checkout.ask(
        `select count(*) from knife_purchases where description = 'very sharp knife'`,
      ),
    ).toBe(String(knives))
  })

  test('everything adds up, running and stopped, and nothing is lost by down', async () => {
    await checkout.questlog('audit', '--data', checkout.data)
    const rows = await checkout.ask('select count(*) from events')
    await checkout.questlog('down', '--data', checkout.data)
    await checkout.questlog('audit', '--data', checkout.data)
    expect(await checkout.questlog('ps', '--data', checkout.data)).toMatch(
      /^Name +Command +State +Ports +Pid +Up +Memory\n$/,
    )
    await checkout.up()
    expect(await checkout.ask('select count(*) from events')).toBe(rows)
    await checkout.questlog('audit', '--data', checkout.data)
    await checkout.questlog('down', '--data', checkout.data)
  })

  test('another reader finds every row in the files that are left', async () => {
    const location = { files: realFiles, clock: realClock, lakeFolder: join(checkout.data, 'lake') }
    const table = await openTable({ ...location, namespace: 'default', name: 'sword_purchases' })
    if (table === undefined) throw new Error('there is no table')
    const rows = await readByIcebird(table)
    expect(rows).toHaveLength(table.recordCount)
    expect(new Set(rows.map((row) => String(row['_offset']))).size).toBe(rows.length)
    expect(rows.length).toBeGreaterThanOrEqual(answeredInAll)
  })

  test('nothing lies in the data folder that the pages do not describe', () => {
    const names = checkout.dataFiles()
    expect(names.length).toBeGreaterThan(20)
    expect(names.filter((name) => !dataFiles.some(([pattern]) => pattern.test(name)))).toEqual([])
    for (const [, page, word] of dataFiles)
      expect(readText(`docs/internals/${page}`).text).toContain(word)
  })

  /** answered ⊆ rows ⊆ sent, each once, at the place that its receipt says; rows = kept. */
  async function expectKept({ sent, answered }: LoadResult): Promise<void> {
    const first = Math.min(...answered.keys())
    const rows = (
      await checkout.csv(
        `select json_extract_string(raw_event, '$.number') as number, 'events/' || _log_partition || '/' || _offset as place from sword_purchases where cast(json_extract_string(raw_event, '$.number') as bigint) >= ${Math.floor(first / 1_000_000) * 1_000_000}`,
      )
    )
      .trim()
      .split('\n')
      .slice(1)
      .map((line) => line.split(','))
    const places = new Map(rows.map(([number = '', place = '']) => [Number(number), place]))
    expect(places.size).toBe(rows.length)
    expect([...answered].filter(([number, receipt]) => places.get(number) !== receipt)).toEqual([])
    expect(rows.length).toBeLessThanOrEqual(sent)
    answeredInAll += answered.size
    sentInAll += sent
    const total = Number(await checkout.ask('select count(*) from sword_purchases'))
    expect(total).toBeGreaterThanOrEqual(answeredInAll)
    expect(total).toBeLessThanOrEqual(sentInAll)
    expect(
      await checkout.ask('select count(distinct (_log_partition, _offset)) from sword_purchases'),
    ).toBe(String(total))
    const [topic] = await waitFor('lake gives figures', 120_000, async () => {
      const { topics } = await checkout.status()
      return topics.length > 0 && topics
    })
    expect(topic).toMatchObject({
      name: 'events',
      kept: total,
      inTables: total,
      filtered: 0,
      deadLetters: 0,
      unrouted: 0,
      inFlight: 0,
    })
  }

  /** Waits until the load has had a few hundred more answers. */
  async function answeredMore(load: { readonly answeredCount: number }): Promise<void> {
    const before = load.answeredCount
    await waitFor('requests are answered', 300_000, async () => load.answeredCount > before + 300)
  }

  /** Takes the comment signs from the block of the example that begins with this line. */
  function uncomment(start: string): void {
    checkout.edit('examples/w205/questlog.config.ts', (text) => {
      const lines = text.split('\n')
      const at = lines.findIndex((line) => line.includes(`// ${start}`))
      for (let end = at; end >= 0 && /^\s*\/\/ /.test(lines[end] ?? ''); end++)
        lines[end] = (lines[end] ?? '').replace('// ', '')
      return lines.join('\n')
    })
  }
})
