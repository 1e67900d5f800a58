import { fork, type ChildProcess } from 'node:child_process'
import { mkdtempSync, realpathSync, rmSync } from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { z } from 'zod'
import type { RoleArguments } from '../../src/app/roles.ts'
import { realClock } from '../../src/core/clock.ts'
import { realFiles } from '../../src/core/files.ts'
import { acquireLock } from '../../src/core/lock.ts'
import { openTable } from '../../src/lake/table.ts'
import type { Definition } from '../../src/plan/definition.ts'
import { setActiveVersion, storeDefinition } from '../../src/plan/store.ts'
import { define } from '../stream/world.ts'
import { definitionOf, until } from './fixtures/fake-system.ts'

// The real processes, run from their source.
const program = fileURLToPath(new URL('../../src/app/role-main.ts', import.meta.url))
const root = fileURLToPath(new URL('../..', import.meta.url))

let data = ''
const children: ChildProcess[] = []

beforeEach(async () => {
  data = realpathSync(mkdtempSync(join(tmpdir(), 'questlog-role-')))
  await storeDefinition(realFiles, data, definitionOf('sword'))
})
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL')
  rmSync(data, { recursive: true, force: true })
})

function startRole(changes: Partial<RoleArguments> = {}) {
  const given: RoleArguments = {
    role: 'ingest',
    data,
    host: '127.0.0.1',
    port: 0,
    broker: { port: 0, advertised: null },
    definitionVersion: 1,
    accessLog: false,
    repair: false,
    ...changes,
  }
  const child = fork(program, [], {
    cwd: root,
    execArgv: ['--import', 'jiti/register'],
    env: { ...process.env, QUESTLOG_ROLE: JSON.stringify(given) },
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  })
  children.push(child)
  const messages: Record<string, unknown>[] = []
  child.on('message', (message) => messages.push(message as Record<string, unknown>))
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve))
  const find = (key: string, value: unknown) =>
    until(`${key} ${String(value)}`, () => messages.find((message) => message[key] === value))
  return { child, ended, find }
}

function get(port: unknown, path: string): Promise<{ status: number; receipt: string }> {
  return new Promise((resolve, reject) => {
    request({ host: '127.0.0.1', port: Number(port), path, agent: false }, (response) => {
      response.resume()
      response.on('end', () =>
        resolve({
          status: response.statusCode ?? 0,
          receipt: String(response.headers['questlog-receipt']),
        }),
      )
    })
      .on('error', reject)
      .end()
  })
}

test('answers events, switches its routes, makes topics, and stops with everything kept', async () => {
  const { child, ended, find } = startRole()
  const { port } = await find('notice', 'ready')
  expect(await get(port, '/sword')).toEqual({ status: 200, receipt: 'events/0/0' })
  expect((await get(port, '/knife')).status).toBe(404)
  expect((await get(port, '/shield')).status).toBe(404)
  await storeDefinition(realFiles, data, definitionOf('sword', 'knife'))
  child.send({ id: 1, request: 'activate', parameters: { version: 2 } })
  expect(await find('id', 1)).toEqual({ id: 1, result: null })
  expect(await get(port, '/knife')).toEqual({ status: 200, receipt: 'events/0/1' })
  child.send({ id: 2, request: 'status', parameters: {} })
  expect(await find('id', 2)).toMatchObject({
    result: {
      topics: [{ name: 'events', partitions: 1, kept: 2 }],
      unknownPaths: [{ path: '/shield', count: 1 }],
      attention: [],
    },
  })
  const spec = { name: 'extra', partitions: 2, configs: { 'max.message.bytes': '5242880' } }
  child.send({ id: 3, request: 'createTopic', parameters: spec })
  expect(await find('id', 3)).toMatchObject({ result: spec })
  child.send({ id: 4, request: 'createTopic', parameters: spec })
  expect(await find('id', 4)).toMatchObject({ error: { code: 'TOPIC_EXISTS' } })
  child.send({ id: 5, request: 'stop', parameters: {} })
  expect(await find('id', 5)).toMatchObject({
    result: { lines: [expect.stringContaining('every answered event is on the log')] },
  })
  expect(await ended).toBe(0)
  // The next start goes on where this one ended.
  const next = startRole({ definitionVersion: 2 })
  const ready = await next.find('notice', 'ready')
  expect((await get(ready['port'], '/sword')).receipt).toBe('events/0/2')
})

test('a definition that a topic refuses leaves the configs of the topics before it as they were', async () => {
  const live = definitionOf('sword')
  const hour = { 'retention.ms': '3600000' }
  await storeDefinition(realFiles, data, {
    ...live,
    topics: [
      { name: 'events', partitions: 1, configs: hour },
      { name: 'other', partitions: 1, configs: hour },
      { name: 'bad', partitions: 1, configs: { 'retention.ms': 'soon' } },
    ],
  })
  const { child, find } = startRole()
  await find('notice', 'ready')
  const other = { name: 'other', partitions: 1, configs: { 'retention.ms': '7200000' } }
  child.send({ id: 1, request: 'createTopic', parameters: other })
  await find('id', 1)
  child.send({ id: 2, request: 'activate', parameters: { version: 2 } })
  expect(await find('id', 2)).toMatchObject({ error: { code: 'TOPIC_CONFIG_INVALID' } })
  child.send({ id: 3, request: 'listTopics', parameters: {} })
  expect(await find('id', 3)).toEqual({
    id: 3,
    result: [
      expect.objectContaining({ name: 'events', configs: {} }),
      expect.objectContaining(other),
    ],
  })
})

test('lake takes back what a definition has dropped that never went live; what a live one has dropped comes back as a new column', async () => {
  const swords = (params: z.ZodRawShape, table: object) =>
    define({
      events: { purchase_sword: { params: z.object(params) } },
      tables: { swords: { from: 'purchase_sword', ...table } },
    })
  const first = swords({ color: z.string().optional() }, {})
  const store = (definition: Definition) => storeDefinition(realFiles, data, definition)
  const [one, two, three] = [
    await store(first),
    await store(swords({}, { dropped: ['color'] })),
    await store(first),
  ]
  await setActiveVersion(realFiles, data, one)
  const { child, find } = startRole({ role: 'lake', definitionVersion: one })
  await find('notice', 'ready')
  const colorId = async (version: number) => {
    child.send({ id: version, request: 'activate', parameters: { version } })
    expect(await find('id', version)).toEqual({ id: version, result: null })
    const location = { files: realFiles, clock: realClock, lakeFolder: join(data, 'lake') }
    const lake = await openTable({ ...location, namespace: 'default', name: 'swords' })
    return lake?.schema.fields.find((field) => field.name === 'color')?.id
  }
  const id = await colorId(one)
  expect(await colorId(two)).toBeUndefined()
  expect(await colorId(three)).toBe(id)
  const four = await store(swords({}, { dropped: ['color'] }))
  expect(await colorId(four)).toBeUndefined()
  await setActiveVersion(realFiles, data, four)
  expect(await colorId(await store(first))).toBeGreaterThan(id ?? 0)
})

test('what a client has set of a topic is its own also after a definition that was refused: the next one does not take it back', async () => {
  const live = definitionOf('sword')
  const other = { name: 'other', partitions: 1, configs: {} }
  const hour = { ...other, configs: { 'retention.ms': '3600000' } }
  const bad = { name: 'bad', partitions: 1, configs: { 'retention.ms': 'soon' } }
  await storeDefinition(realFiles, data, { ...live, topics: [...live.topics, hour, bad] })
  await storeDefinition(realFiles, data, { ...live, topics: [...live.topics, other] })
  const { child, find } = startRole()
  await find('notice', 'ready')
  const configs = { 'retention.ms': '7200000' }
  child.send({ id: 1, request: 'createTopic', parameters: { ...other, configs } })
  await find('id', 1)
  child.send({ id: 2, request: 'activate', parameters: { version: 2 } })
  expect(await find('id', 2)).toMatchObject({ error: { code: 'TOPIC_CONFIG_INVALID' } })
  child.send({ id: 3, request: 'activate', parameters: { version: 3 } })
  expect(await find('id', 3)).toMatchObject({ result: null })
  child.send({ id: 4, request: 'listTopics', parameters: {} })
  const { result } = await find('id', 4)
  expect(result).toContainEqual(expect.objectContaining({ name: 'other', configs }))
})

test('waits for the first definition, and for a lock that another process still holds', async () => {
  await realFiles.makeFolder(join(data, 'log'))
  const lock = acquireLock(join(data, 'log', 'lock'))
  const { child, find } = startRole({ definitionVersion: null })
  child.send({ id: 1, request: 'activate', parameters: { version: 1 } })
  setTimeout(() => lock?.release(), 300)
  const { port } = await find('notice', 'ready')
  expect((await get(port, '/sword')).status).toBe(200)
})

test('says why it can not start', async () => {
  const first = startRole()
  const { port } = await first.find('notice', 'ready')
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'questlog-role-')))
  await storeDefinition(realFiles, folder, definitionOf('sword'))
  const second = startRole({ port: Number(port), data: folder })
  expect(await second.find('notice', 'failed')).toMatchObject({
    error: { code: 'PORT_BUSY', facts: { port, role: 'ingest' } },
  })
  expect(await second.ended).toBe(1)
  rmSync(folder, { recursive: true, force: true })
})

test('stops cleanly when its supervisor is gone', async () => {
  const { child, ended, find } = startRole()
  await find('notice', 'ready')
  child.disconnect()
  expect(await ended).toBe(0)
  const lock = acquireLock(join(data, 'log', 'lock'))
  expect(lock).toBeDefined()
  lock?.release()
})
