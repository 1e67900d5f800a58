import { spawn, type ChildProcess } from 'node:child_process'
import { mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { until } from '../app/fixtures/fake-system.ts'

// The real program as `npm test` has compiled it, from the terminal's side: one instance, started in the background, then others that are refused beside it.
const program = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))
const folder = realpathSync(mkdtempSync(join(tmpdir(), 'questlog-commands-')))
const environment = { ...process.env, XDG_RUNTIME_DIR: folder }
const definition = (extra: string) => `import { defineConfig, event, table } from 'questlog'
export default defineConfig({
  events: {
    sword: event({ route: 'GET /sword', reply: 'Sword!\\n' }),
    ${extra}
  },
  tables: { swords: table({ from: 'sword' }) },
})
`

interface Result {
  readonly code: number | null
  readonly out: string
  readonly words: string
}

function start(words: readonly string[]): { child: ChildProcess; result: Promise<Result> } {
  const child = spawn(process.execPath, [program, ...words], {
    cwd: folder,
    env: environment,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let out = ''
  let errors = ''
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (out += chunk))
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (errors += chunk))
  const result = new Promise<Result>((resolve) => {
    child.once('close', (code) => resolve({ code, out, words: errors }))
  })
  return { child, result }
}

const questlog = (...words: string[]): Promise<Result> => start(words).result

async function collector(): Promise<string> {
  const { out } = await questlog('ps', '--json')
  return (JSON.parse(out) as { endpoints: { collector: string } }).endpoints.collector
}

function get(url: string): Promise<number> {
  return new Promise((resolve, reject) => {
    request(url, { agent: false }, (response) => {
      response.resume().on('end', () => resolve(response.statusCode ?? 0))
    })
      .on('error', reject)
      .end()
  })
}

let started: Result

beforeAll(async () => {
  writeFileSync(join(folder, 'questlog.config.ts'), definition(''))
  started = await questlog('up', '-d', '--collector-port', '0', '--sql-port=0', '--broker-port=0')
})

afterAll(async () => {
  await questlog('down')
  rmSync(folder, { recursive: true, force: true })
})

test('up -d returns when everything is ready, with its screen', () => {
  expect(started.words).toBe('')
  expect(started.code).toBe(0)
  expect(started.out).toContain('definition  ./questlog.config.ts, version 1: 1 event, 1 table')
  expect(started.out).toContain('data        0 events in ./questlog-data')
  expect(started.out).toMatch(/GET \/sword {2}sword/)
  expect(started.out).toMatch(/ \* Serving questlog "questlog.config.ts"\n \* Running on http:/)
})

test('an answered event is seen by sql, tail, ps, where and audit', async () => {
  expect(await get(`${await collector()}/sword?color=red`)).toBe(200)
  const [sql, tail, ps, where] = await Promise.all([
    questlog('sql', '-o', 'csv', 'select count(*) from swords'),
    questlog('tail', 'events', '-e'),
    questlog('ps'),
    questlog('where', 'events/0/0'),
  ])
  expect(sql).toMatchObject({ code: 0, out: '_col0\n1\n' })
  expect(tail.words).toBe('% Reached end of topic events [0] at offset 1: exiting\n')
  expect(JSON.parse(tail.out)).toMatchObject({ event_type: 'sword', color: 'red' })
  expect(ps.out).toMatch(
    /^Name +Command +State +Ports +Pid +Up +Memory\nsupervisor .*\ningest .*\nlake /,
  )
  expect(ps.out).toMatch(/events: answered 1 = .* — adds up/)
  expect(where.out).toContain('answered: yes')
  expect((await questlog('audit')).code).toBe(0)
})

test('topics are made and described in the words of kafka-topics', async () => {
  const limit = [
    '--config',
    'max.message.bytes=5MiB',
    '--partitions',
    '1',
    '--replication-factor',
    '1',
  ]
  const create = ['topics', 'create', 'books', ...limit, '--zookeeper', 'zookeeper:32181']
  const made = await questlog(...create)
  expect(made).toMatchObject({ code: 0, out: 'Created topic "books".\n' })
  expect(made.words).toContain('--zookeeper is not needed')
  const again = await questlog(...create)
  expect(again.code).toBe(1)
  expect(again.words).toContain("error[TOPIC_EXISTS]: Topic 'books' already exists.")
  expect(await questlog('topics', 'create', 'books', '--if-not-exists')).toEqual({
    code: 0,
    out: '',
    words: '',
  })
  expect((await questlog('topics', 'describe', 'books')).out).toBe(
    'Topic:books\tPartitionCount:1\tReplicationFactor:1\tConfigs:max.message.bytes=5242880\n' +
      '\tTopic: books\tPartition: 0\tLeader: 1\tReplicas: 1\tIsr: 1\n',
  )
  expect((await questlog('topics', 'list')).out).toBe('books\nevents\n')
})

test('a route saved while it runs is live', async () => {
  const url = `${await collector()}/knife`
  expect(await get(url)).toBe(404)
  expect((await questlog('ps')).out).toContain('! unknown path /knife was called')
  writeFileSync(
    join(folder, 'questlog.config.ts'),
    definition("knife: event({ route: 'GET /knife', reply: 'Knife!\\n' }),"),
  )
  await until('the route', async () => (await get(url)) === 200)
  await until('its line', async () =>
    (await questlog('logs', 'supervisor')).out.includes('version 2 is live'),
  )
  expect((await questlog('ps')).out).not.toContain('unknown path /knife')
})

test('a second up is refused by name, and so are hosts, ports, files and words that are wrong', async () => {
  const [again, host, word, port, none, option] = await Promise.all([
    questlog('up'),
    questlog('up', '--data', 'other', '--host', '0.0.0.0'),
    questlog('upp'),
    questlog('up', '--sql-port', 'x'),
    questlog('up', '--config', 'none.ts', '--data', 'other'),
    questlog('tail', 'events', '--form'),
  ])
  expect(again.code).toBe(1)
  expect(again.words).toMatch(
    /error\[ALREADY_RUNNING\]: .*pid \d+, http:\/\/127.0.0.1:\d+ and http/,
  )
  expect(host).toMatchObject({ code: 2, words: expect.stringContaining('--insecure') })
  expect(word).toMatchObject({
    code: 2,
    words: expect.stringContaining('did you mean questlog up?'),
  })
  expect(port).toMatchObject({ code: 2, words: expect.stringContaining('--sql-port is "x"') })
  expect(none).toMatchObject({ code: 3, words: expect.stringContaining('questlog init') })
  expect(option).toMatchObject({ code: 2, words: expect.stringContaining('no option --form') })
})

test('a busy port names its holder and the command with another', async () => {
  const holder = createServer()
  await new Promise<void>((resolve) => holder.listen(0, '127.0.0.1', resolve))
  const { port } = holder.address() as AddressInfo
  const busy = await questlog(
    'up',
    '-d',
    '--data',
    'busy',
    '--sql-port=0',
    '--broker-port=0',
    `--collector-port=${port}`,
  )
  holder.close()
  expect(busy.code).toBe(1)
  expect(busy.words).toContain(`error[PORT_BUSY]: port ${port}, which ingest listens on, is in use`)
  if (process.platform === 'linux') expect(busy.words).toContain(`by pid ${process.pid} (`)
  expect(busy.words).toMatch(
    /questlog up --detach --data=busy --sql-port=0 --broker-port=0 --collector-port=\d+\n/,
  )
  expect((await questlog('ps', '--data', 'busy')).out.trim().split('\n')).toHaveLength(1)
})

test('in the foreground each request is a line, and Ctrl-C keeps everything and says so', async () => {
  const data = ['--data', 'front']
  const { child, result } = start([
    'up',
    ...data,
    '--collector-port=0',
    '--sql-port=0',
    '--broker-port=0',
  ])
  let screen = ''
  child.stdout?.on('data', (chunk: string) => (screen += chunk))
  const url = await until(
    'the banner',
    () => / Running on (\S+)\/ \(Press CTRL\+C/.exec(screen)?.[1],
  )
  // Two run now: a command that does not say which is told both.
  const which = await questlog('ps')
  expect(which.code).toBe(2)
  expect(which.words).toContain('--data ./front')
  expect(which.words).toContain('--data ./questlog-data')
  expect(await get(`${url}/sword`)).toBe(200)
  await until('the access log', () => / "GET \/sword HTTP\/1.1" 200 -\n/.test(screen))
  child.kill('SIGINT')
  const { code, out, words } = await result
  expect(words).toBe('')
  expect(code).toBe(0)
  expect(out).toContain('Stopping ingest     … done\n')
  expect(out).toContain('kept 1 event in ./front\n')
  expect((await questlog('tail', 'events', '-e', ...data)).out).toContain('"sword"')
  expect((await questlog('audit', ...data)).code).toBe(0)
  expect((await questlog('topics', 'create', 'later', ...data)).out).toBe(
    'Created topic "later".\n',
  )
})

test('down says what is kept, then ps is empty and another down finds nothing', async () => {
  const down = await questlog('down')
  expect(down).toMatchObject({ code: 0, words: '' })
  expect(down.out).toMatch(
    /^Stopping ingest {5}… done\n[^]*kept \d+ events in \.\/questlog-data\n$/,
  )
  const ps = await questlog('ps')
  expect(ps).toEqual({
    code: 0,
    out: 'Name   Command   State   Ports   Pid   Up   Memory\n',
    words: '',
  })
  expect(await questlog('down')).toMatchObject({
    code: 4,
    words: expect.stringContaining('error[NOT_RUNNING]'),
  })
  expect(readFileSync(join(folder, 'questlog-data', 'definitions', 'active'), 'utf8')).toBe('2\n')
})
