import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { repositoryRoot } from '../support/tidy-source.ts'
import { Instance, questlog } from '../support/instance.ts'

// The commands that speak to the broker and to the exports, as a person types them, against one instance.
let instance: Instance
let folder: string
const topic = 'video-books-assessments'

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'questlog-broker-commands-'))
  instance = await Instance.start()
})
afterAll(async () => {
  await instance[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true })
})

async function run(...words: string[]): Promise<string> {
  const { code, stdout, stderr } = await questlog(...words, '--data', instance.data)
  if (code !== 0) throw new Error(`questlog ${words.join(' ')} ended with ${code}\n${stderr}`)
  return stdout
}

/** With standard input. */
function feed(input: string, ...words: string[]): Promise<string> {
  const program = join(repositoryRoot, 'bin/questlog')
  const child = spawn(process.execPath, [program, ...words, '--data', instance.data], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  let output = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text))
  child.stdin.end(input)
  return new Promise((resolve) => child.once('close', () => resolve(output)))
}

function assessments(count: number): string {
  const file = join(folder, 'attempts.json')
  const all = Array.from({ length: count }, (_, id) => ({ exam_name: `Exam ${id % 7}`, id }))
  writeFileSync(file, JSON.stringify(all, null, 2))
  return file
}

test('slices of a file are records that are arrays, and one element is a bare object', async () => {
  const file = assessments(3_280)
  await run('topics', 'create', topic, '-c', 'max.message.bytes=5MiB')
  for (const slice of ['0:1000', '1000:2000', '2000:3000', '3000:3279', '3279'])
    expect(await run('produce', topic, '-f', file, '--slice', slice)).toMatch(
      new RegExp(`^Produced 1 record to ${topic}/0, offset \\d\\n$`),
    )
  const lines = (await run('tail', topic, '-e')).trim().split('\n')
  const values = lines.map((line) => JSON.parse(line) as unknown[] | { id: number })
  expect(values.map((value) => (Array.isArray(value) ? value.length : value))).toEqual([
    1000,
    1000,
    1000,
    279,
    { exam_name: 'Exam 3', id: 3279 },
  ])
  expect((await run('tail', topic, '-o', '4', '-e')).trim()).toBe(lines[4])
  expect(await run('produce', topic, '-f', file, '--split-array')).toBe(
    `Produced 3,280 records to ${topic}/0, offsets 5 to 3284\n`,
  )
})

test('lines with keys and headers arrive as they were sent', async () => {
  const words = ['produce', 'keyed', '-K', ':', '-H', 'source=test']
  expect(await feed('k1:one\nk2:two\n', ...words)).toBe(
    'Produced 2 records to keyed/0, offsets 0 to 1\n',
  )
  const last = JSON.parse(await run('tail', 'keyed', '-e', '--json', '-o', '-1')) as object
  expect(last).toMatchObject({ offset: 1, key: 'k2', value: 'two', headers: [['source', 'test']] })
})

test('a group goes on where it stopped, can be reset, and is forgotten', async () => {
  await feed('a\nb\nc\n', 'produce', 'shared')
  expect(await run('tail', 'shared', '-G', 'readers', '-e')).toBe('a\nb\nc\n')
  expect(await run('tail', 'shared', '-G', 'readers', '-e')).toBe('')
  await feed('d\n', 'produce', 'shared')
  expect(await run('groups', 'describe', 'readers')).toBe(
    'group readers: empty, 0 members\n  shared/0: committed 3 of 4, behind by 1 record\n',
  )
  expect(await run('tail', 'shared', '-G', 'readers', '-e')).toBe('d\n')
  await run('groups', 'reset', 'readers', '-t', 'shared', '-o', '2')
  expect(await run('tail', 'shared', '-G', 'readers', '-e')).toBe('c\nd\n')
  expect((await run('groups', 'list')).split('\n')).toContain('readers')
  await run('groups', 'delete', 'readers')
  expect((await run('groups', 'list')).split('\n')).not.toContain('readers')
})

test('topics grow, change and go; one that feeds tables only when it is forced', async () => {
  await run('topics', 'create', 'brief')
  const altered = await run('topics', 'alter', 'brief', '-p', '3', '-c', 'retention.ms=1000')
  expect(altered.split('\n')[0]).toBe(
    'Topic:brief\tPartitionCount:3\tReplicationFactor:1\tConfigs:retention.ms=1000',
  )
  expect(await run('topics', 'delete', 'brief')).toBe('Deleted topic "brief".\n')
  expect((await run('topics', 'list')).split('\n')).not.toContain('brief')
  const refused = await questlog('topics', 'delete', 'events', '--data', instance.data)
  expect(refused.code).toBe(1)
  expect(refused.stderr).toContain('feeds tables')
})

test('lines of kafka-topics and kafkacat can be pasted', async () => {
  const zookeeper = ['--zookeeper', 'zookeeper:32181']
  const create = ['--create', '--topic', 'pasted', '--partitions', '1', '--replication-factor', '1']
  expect(await run('kafka-topics', ...create, '--if-not-exists', ...zookeeper)).toBe(
    'Created topic "pasted".\n',
  )
  expect(await run('kafka-topics', ...create, '--if-not-exists')).toBe('')
  expect(await run('kafka-topics', '--describe', '--topic', 'pasted')).toContain('Leader: 1')
  const broker = instance.endpoints.broker ?? ''
  await feed('hello\n', 'kafkacat', '-P', '-b', broker, '-t', 'pasted')
  const consume = ['-C', '-b', broker, '-t', 'pasted', '-o', 'beginning', '-e']
  expect(await run('kafkacat', ...consume)).toBe('hello\n')
  expect(await run('kcat', '-Q', '-b', broker, '-t', 'pasted:0:-1')).toBe('pasted [0] offset 1\n')
  expect(await run('kcat', '-L', '-b', broker)).toContain(`  broker 1 at ${broker} (controller)`)
})

test('an export is listed as hadoop lists it, read by its table statement, and copied out', async () => {
  for (let index = 0; index < 20; index++)
    await instance.send('/purchase_a_sword', { headers: { Host: 'user1.comcast.com' } })
  expect(await run('export', 'sword_purchases', '/tmp/purchases')).toMatch(/^Exported 20 rows to /)
  const listed = (await run('hadoop', 'fs', '-ls', '/tmp/purchases')).trim().split('\n')
  expect(listed[0]).toBe('Found 2 items')
  expect(listed[1]).toMatch(/^-rw-r--r-- {3}1 \S+ supergroup {10}0 .* \/tmp\/purchases\/_SUCCESS$/)
  expect(listed[2]).toMatch(/part-00000-[0-9a-f-]{36}-c000\.snappy\.parquet$/)
  const again = await questlog(
    'export',
    'sword_purchases',
    '/tmp/purchases',
    '--data',
    instance.data,
  )
  expect(again.stderr).toContain('EXPORT_EXISTS')
  const select = `select "Host", count(*) as n from sword_purchases group by all`
  await run('export', select, '/tmp/purchases', '--mode', 'overwrite')
  await run('export', 'sword_purchases', '/tmp/by_host', '--partition-by', 'host')
  expect(await run('fs', '-ls', '/tmp/by_host')).toContain('/tmp/by_host/Host=user1.comcast.com')
  expect(await run('fs', '-get', '/tmp/purchases', folder)).toBe(`${join(folder, 'purchases')}\n`)
  expect(await run('tables', 'ddl', 'sword_purchases', '--path', '/tmp/purchases')).toContain(
    `location 'file://${join(instance.data, 'exports/tmp/purchases')}'`,
  )
})
