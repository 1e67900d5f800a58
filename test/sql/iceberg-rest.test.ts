import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { realClock } from '../../src/core/clock.ts'
import { realFiles } from '../../src/core/files.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { createTable } from '../../src/lake/table.ts'
import { IcebergCatalog } from '../../src/sql/iceberg-catalog.ts'
import { createIcebergRest } from '../../src/sql/iceberg-rest.ts'

let data: string
let server: Server
let base: string

beforeEach(async () => {
  data = mkdtempSync(join(tmpdir(), 'questlog-iceberg-'))
  const lakeFolder = join(data, 'lake')
  const parts = { files: realFiles, clock: realClock, lakeFolder }
  await createTable(
    { ...parts, namespace: 'default', name: 'swords' },
    [{ name: 'raw_event', type: { kind: 'string' } }],
    { 'questlog.offsets': '{}' },
  )
  const catalog = new IcebergCatalog({ ...parts, guestFolder: join(data, 'guests') })
  const answer = createIcebergRest({ catalog, logger: silentLogger, bodyBytesMax: 1024 * 1024 })
  server = createServer((request, response) => void answer(request, response))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}/iceberg/v1`
})

afterEach(async () => {
  await new Promise((resolve) => server.close(resolve))
  rmSync(data, { recursive: true })
})

interface Answer {
  readonly status: number
  readonly text: string
  readonly body: Readonly<Record<string, unknown>>
}

async function call(method: string, path: string, body?: unknown): Promise<Answer> {
  const response = await fetch(`${base}${path}`, {
    method,
    ...(body === undefined
      ? {}
      : {
          body: typeof body === 'string' ? body : JSON.stringify(body),
          headers: { 'content-type': 'application/json' },
        }),
  })
  const text = await response.text()
  return {
    status: response.status,
    text,
    body: text === '' ? {} : (JSON.parse(text) as Record<string, unknown>),
  }
}

const schema = {
  type: 'struct',
  'schema-id': 0,
  fields: [
    { id: 0, name: 'day', type: 'date', required: false },
    {
      id: 1,
      name: 'tags',
      required: false,
      type: { type: 'list', 'element-id': 3, element: 'string', 'element-required': false },
    },
    { id: 2, name: 'amount', type: 'long', required: false },
  ],
}
const spec = { 'spec-id': 0, fields: [{ name: 'day', transform: 'identity', 'source-id': 0 }] }

async function lab(): Promise<void> {
  expect((await call('POST', '/namespaces', { namespace: ['lab'] })).status).toBe(200)
}

function snapshot(id: string, sequence: number, parent?: string): string {
  const summary = '{"operation":"append"}'
  const before = parent === undefined ? '' : `"parent-snapshot-id":${parent},`
  return `{"snapshot-id":${id},${before}"sequence-number":${sequence},"timestamp-ms":1,"manifest-list":"file:///x.avro","summary":${summary},"schema-id":0}`
}

function commitOf(id: string, sequence: number, expected: string): string {
  return `{"requirements":[{"type":"assert-ref-snapshot-id","ref":"main","snapshot-id":${expected}}],"updates":[{"action":"add-snapshot","snapshot":${snapshot(id, sequence)}},{"action":"set-snapshot-ref","ref-name":"main","type":"branch","snapshot-id":${id}}]}`
}

test('the configuration lists what is served, and everything else is refused', async () => {
  const { body } = await call('GET', '/config')
  expect(body['endpoints']).toContain('GET /v1/{prefix}/namespaces/{namespace}/tables/{table}')
  expect((await call('GET', '/namespaces/default/views')).status).toBe(404)
  expect((await call('POST', '/namespaces/default/tables/swords/metrics', {})).status).toBe(204)
})

test('tables of the stream are listed beside those of other engines', async () => {
  await lab()
  expect((await call('GET', '/namespaces')).body).toEqual({ namespaces: [['default'], ['lab']] })
  expect((await call('GET', '/namespaces/default/tables')).body).toEqual({
    identifiers: [{ namespace: ['default'], name: 'swords' }],
  })
  expect((await call('HEAD', '/namespaces/default/tables/swords')).status).toBe(204)
  expect((await call('HEAD', '/namespaces/default/tables/axes')).status).toBe(404)
})

test('a namespace of two levels, as which Spark takes a table before its metadata, is not there', async () => {
  const table = await call('GET', '/namespaces/default%1Fswords/tables/snapshots')
  expect(table).toMatchObject({ status: 404, body: { error: { type: 'NoSuchTableException' } } })
  const namespace = await call('GET', '/namespaces/default%1Fswords')
  expect(namespace).toMatchObject({
    status: 404,
    body: { error: { type: 'NoSuchNamespaceException' } },
  })
})

test('a new table gets column ids from 1 on, and its partitions follow them', async () => {
  await lab()
  const request = { name: 'mine', schema, 'partition-spec': spec, properties: { a: 'b' } }
  const { body } = await call('POST', '/namespaces/lab/tables', request)
  const metadata = body['metadata'] as Record<string, unknown>
  const location = `file://${join(data, 'guests', 'lab', 'mine')}`
  expect(metadata).toMatchObject({
    location,
    'last-column-id': 4,
    'partition-specs': [
      { fields: [{ name: 'day', transform: 'identity', 'source-id': 1, 'field-id': 1000 }] },
    ],
    properties: { a: 'b' },
    schemas: [{ fields: [{ id: 1 }, { id: 2, type: { 'element-id': 4 } }, { id: 3 }] }],
  })
  const again = await call('POST', '/namespaces/lab/tables', request)
  expect(again.body['error']).toMatchObject({ type: 'AlreadyExistsException', code: 409 })
})

test('of two commits on one base the second is refused, and ids of 64 bits keep every digit', async () => {
  await lab()
  await call('POST', '/namespaces/lab/tables', { name: 'mine', schema })
  const path = '/namespaces/lab/tables/mine'
  const id = '9223372036854775807'
  expect((await call('POST', path, commitOf(id, 1, 'null'))).status).toBe(200)
  const late = await call('POST', path, commitOf('5', 1, 'null'))
  expect(late.body['error']).toMatchObject({ type: 'CommitFailedException', code: 409 })
  const { text } = await call('GET', path)
  expect(text).toContain(`"current-snapshot-id":${id}`)
  expect((await call('POST', path, commitOf('6', 2, id))).status).toBe(200)
})

test('twenty writers at once lose no commit', async () => {
  await lab()
  await call('POST', '/namespaces/lab/tables', { name: 'mine', schema })
  const path = '/namespaces/lab/tables/mine'
  const set = (name: string) =>
    call('POST', path, {
      requirements: [],
      updates: [{ action: 'set-properties', updates: { [name]: 'set' } }],
    })
  const names = Array.from({ length: 20 }, (_, index) => `p${index}`)
  const answers = await Promise.all(names.map(set))
  const won = names.filter((_, index) => answers[index]?.status === 200)
  expect(answers.every(({ status }) => status === 200 || status === 409)).toBe(true)
  const { metadata } = (await call('GET', path)).body as unknown as {
    metadata: { properties: object }
  }
  expect(Object.keys(metadata.properties).toSorted()).toEqual(won.toSorted())
})

test('a staged table exists from its first commit on, and not before', async () => {
  await lab()
  const staged = await call('POST', '/namespaces/lab/tables', {
    name: 'mine',
    schema,
    'stage-create': true,
  })
  const { metadata } = staged.body as unknown as { metadata: Record<string, unknown> }
  expect((await call('GET', '/namespaces/lab/tables/mine')).status).toBe(404)
  const created = await call('POST', '/namespaces/lab/tables/mine', {
    requirements: [{ type: 'assert-create' }],
    updates: [
      { action: 'assign-uuid', uuid: metadata['table-uuid'] },
      { action: 'add-schema', schema: (metadata['schemas'] as unknown[])[0] },
      { action: 'set-current-schema', 'schema-id': -1 },
      { action: 'add-spec', spec: { 'spec-id': 0, fields: [] } },
      { action: 'set-default-spec', 'spec-id': -1 },
      { action: 'add-sort-order', 'sort-order': { 'order-id': 0, fields: [] } },
      { action: 'set-default-sort-order', 'sort-order-id': -1 },
      { action: 'set-location', location: metadata['location'] },
      { action: 'set-properties', updates: {} },
    ],
  })
  expect(created.status).toBe(200)
  const loaded = (await call('GET', '/namespaces/lab/tables/mine')).body['metadata']
  expect(loaded).toMatchObject({
    'table-uuid': metadata['table-uuid'],
    schemas: metadata['schemas'],
    'last-column-id': 4,
    'partition-specs': [{ fields: [] }],
  })
})

test('on a table of the stream nothing but a compaction is taken', async () => {
  const path = '/namespaces/default/tables/swords'
  const refused = [
    await call('POST', path, {
      requirements: [],
      updates: [{ action: 'set-properties', updates: { 'questlog.offsets': '{}' } }],
    }),
    await call('POST', path, commitOf('7', 1, 'null')),
    await call('DELETE', `${path}?purgeRequested=true`),
    await call('DELETE', '/namespaces/default'),
    await call('POST', '/tables/rename', {
      source: { namespace: ['default'], name: 'swords' },
      destination: { namespace: ['default'], name: 'axes' },
    }),
  ]
  for (const { body } of refused)
    expect(body['error']).toMatchObject({ type: 'ForbiddenException', code: 403 })
  expect((await call('GET', path)).text).toContain('questlog.offsets')
})

test('a dropped table keeps its files until it is purged, and can be registered again', async () => {
  await lab()
  const created = await call('POST', '/namespaces/lab/tables', { name: 'mine', schema })
  const location = created.body['metadata-location'] as string
  expect((await call('DELETE', '/namespaces/lab/tables/mine')).status).toBe(204)
  expect((await call('GET', '/namespaces/lab/tables/mine')).status).toBe(404)
  const register = { name: 'again', 'metadata-location': location }
  expect((await call('POST', '/namespaces/lab/register', register)).status).toBe(200)
  const rename = {
    source: { namespace: ['lab'], name: 'again' },
    destination: { namespace: ['lab'], name: 'yours' },
  }
  expect((await call('POST', '/tables/rename', rename)).status).toBe(204)
  expect((await call('DELETE', '/namespaces/lab')).body['error']).toMatchObject({
    type: 'NamespaceNotEmptyException',
  })
  await call('DELETE', '/namespaces/lab/tables/yours?purgeRequested=true')
  expect(existsSync(join(data, 'guests', 'lab', 'mine'))).toBe(false)
  expect((await call('DELETE', '/namespaces/lab')).status).toBe(204)
})

test('names that would leave the folder, and bodies that are no JSON, are refused', async () => {
  await lab()
  for (const name of ['..%2F..%2Fx', '.hidden', 'a%00b', 'x'.repeat(200)])
    expect((await call('GET', `/namespaces/lab/tables/${name}`)).status).toBe(400)
  expect((await call('POST', '/namespaces/lab/tables', '{"name":')).status).toBe(400)
  const elsewhere = { name: 'mine', schema, location: 'file:///etc' }
  expect((await call('POST', '/namespaces/lab/tables', elsewhere)).status).toBe(400)
})

const at = (name: string) => `/namespaces/lab/tables/${name}`
const create = (name: string) => call('POST', '/namespaces/lab/tables', { name, schema })
const rename = (from: string, to: string) =>
  call('POST', '/tables/rename', {
    source: { namespace: ['lab'], name: from },
    destination: { namespace: ['lab'], name: to },
  })

/** Puts a data file where the table keeps its files; answers with its path. */
function writeInto({ body }: Answer): string {
  const { location } = body['metadata'] as { location: string }
  const folder = join(location.replace('file://', ''), 'data')
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'rows.parquet'), 'rows')
  return join(folder, 'rows.parquet')
}

test('a renamed table keeps its files when another takes its old name, and when that one is purged', async () => {
  await lab()
  const old = writeInto(await create('report'))
  expect((await rename('report', 'report_old')).status).toBe(204)
  const made = await create('report')
  expect(made.status).toBe(200)
  const own = writeInto(made)
  expect(own).not.toBe(old)
  expect(existsSync(old)).toBe(true)
  expect((await call('DELETE', `${at('report')}?purgeRequested=true`)).status).toBe(204)
  expect([existsSync(own), existsSync(old)]).toEqual([false, true])
  expect((await call('GET', at('report'))).status).toBe(404)
  expect((await call('GET', at('report_old'))).status).toBe(200)
  expect((await create('report')).status).toBe(200)
  await call('DELETE', `${at('report_old')}?purgeRequested=true`)
  expect((await call('GET', at('report'))).status).toBe(200)
})

test('a dropped table can be registered under its own name, and a file that two tables name is not purged', async () => {
  await lab()
  const created = await create('mine')
  const file = writeInto(created)
  const location = created.body['metadata-location']
  await call('DELETE', at('mine'))
  for (const name of ['mine', 'twin']) {
    const register = { name, 'metadata-location': location }
    expect((await call('POST', '/namespaces/lab/register', register)).status).toBe(200)
  }
  expect(existsSync(file)).toBe(true)
  for (const name of ['twin', 'mine']) {
    expect(existsSync(file)).toBe(true)
    await call('DELETE', `${at(name)}?purgeRequested=true`)
  }
  expect(existsSync(file)).toBe(false)
})

test('a purge stays within the folder of a table, wherever its location says that it lies', async () => {
  await lab()
  await create('other')
  const swords = join(data, 'lake', 'default', 'swords', 'metadata')
  for (const location of ['guests/../lake/default/swords', 'guests/lab', 'guests/lab/other']) {
    await create('mine')
    const updates = [{ action: 'set-location', location: `file://${data}/${location}` }]
    expect((await call('POST', at('mine'), { requirements: [], updates })).status).toBe(200)
    await call('DELETE', `${at('mine')}?purgeRequested=true`)
    expect(existsSync(swords)).toBe(true)
    expect((await call('GET', at('other'))).status).toBe(200)
  }
})

test('of many who take the name of a dropped table one gets it, and keeps it', async () => {
  await lab()
  await create('mine')
  await call('DELETE', at('mine'))
  const answers = await Promise.all(Array.from({ length: 8 }, () => create('mine')))
  const [won, ...others] = answers.filter(({ status }) => status === 200)
  expect(others).toEqual([])
  const now = await call('GET', at('mine'))
  expect(now.body['metadata']).toEqual(won?.body['metadata'])
})

test('a table of the stream is not taken in as one of another engine', async () => {
  await lab()
  const { body } = await call('GET', '/namespaces/default/tables/swords')
  const register = { name: 'mine', 'metadata-location': body['metadata-location'] }
  expect((await call('POST', '/namespaces/lab/register', register)).status).toBe(403)
})

test('a request of a wrong form is told so, whatever it holds', async () => {
  await lab()
  await create('mine')
  expect((await call('GET', '/namespaces/%zz')).status).toBe(400)
  const wrong = [null, 5, 'text', [], {}, [null], { fields: 5 }, { fields: [null] }]
  const parts = ['schema', 'partition-spec', 'write-order', 'name']
  const updates = { 'add-schema': 'schema', 'add-spec': 'spec', 'add-snapshot': 'snapshot' }
  const statuses = new Set<number>()
  const told = async (path: string, body: unknown) =>
    statuses.add((await call('POST', path, body)).status)
  for (const [n, value] of wrong.entries()) {
    for (const part of parts)
      await told('/namespaces/lab/tables', { name: `t${n}`, schema, [part]: value })
    await told('/namespaces/lab/register', { name: value })
    await told(at('mine'), { requirements: [value], updates: [value] })
    await told(at('mine'), { requirements: value, updates: value })
    for (const [action, part] of Object.entries(updates))
      await told(at('mine'), { requirements: [], updates: [{ action, [part]: value }] })
  }
  expect([...statuses].filter((status) => status >= 500)).toEqual([])
})
