import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { Agent, createServer, request, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { realClock } from '../../src/core/clock.ts'
import { realFiles } from '../../src/core/files.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { addedEntry, encodeManifest } from '../../src/lake/manifest.ts'
import { encodeManifestList, manifestRow } from '../../src/lake/manifest-list.ts'
import { createTable } from '../../src/lake/table.ts'
import { IcebergCatalog } from '../../src/sql/iceberg-catalog.ts'
import { createIcebergRest } from '../../src/sql/iceberg-rest.ts'
import { noMetrics } from '../lake/support.ts'

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
const noSpec = { 'spec-id': 0, fields: [] }
const spec = { 'spec-id': 0, fields: [{ name: 'day', transform: 'identity', 'source-id': 0 }] }

/** A manifest list of no manifests, in the folder of lab.mine. */
const listPath = () => join(data, 'guests/lab/mine/metadata/x.avro')

async function lab(): Promise<void> {
  mkdirSync(dirname(listPath()), { recursive: true })
  writeFileSync(listPath(), encodeManifestList([], { id: 1n, parentId: null, sequenceNumber: 1n }))
  expect((await call('POST', '/namespaces', { namespace: ['lab'] })).status).toBe(200)
}

function snapshot(id: string, sequence: number, parent?: string): string {
  const summary = '{"operation":"append"}'
  const before = parent === undefined ? '' : `"parent-snapshot-id":${parent},`
  return `{"snapshot-id":${id},${before}"sequence-number":${sequence},"timestamp-ms":1,"manifest-list":"file://${listPath()}","summary":${summary},"schema-id":0}`
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
    await call('POST', path, commitOf('7', 1, 'null').replace('"main","type"', '"kept","type"')),
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

test('a table of another engine stays in its folder, whatever it is told', async () => {
  await lab()
  await create('other')
  const made = await create('mine')
  const { location } = made.body['metadata'] as { location: string }
  const change = async (...updates: object[]) => {
    const { status, body } = await call('POST', at('mine'), { requirements: [], updates })
    return [status, (body['error'] as { type?: string } | undefined)?.type]
  }
  const places = [
    `${data}/lake/default/swords`,
    `${data}/lake`,
    `${data}/guests/../lake/default/swords`,
    `${data}/guests`,
    `${data}/guests/lab`,
    `${data}/guests/lab/other`,
    `${data}/guests/lab/mine/data`,
    `${data}/guests/lab/mine/../other`,
    '/elsewhere',
    's3://bucket/table',
  ]
  const refused = [400, 'BadRequestException']
  for (const place of places) {
    const to = place.startsWith('/') ? `file://${place}` : place
    expect(await change({ action: 'set-location', location: to })).toEqual(refused)
    if (place.startsWith(`${data}/guests/lab/mine/data`)) continue
    for (const name of ['data', 'metadata', 'object-storage', 'folder-storage'])
      expect(
        await change({ action: 'set-properties', updates: { [`write.${name}.path`]: to } }),
      ).toEqual(refused)
    const list = snapshot('7', 1).replace(/file:[^"]*/, `${to}/x.avro`)
    const added = JSON.parse(list) as object
    expect(await change({ action: 'add-snapshot', snapshot: added })).toEqual(refused)
    const statistics = { 'snapshot-id': 7, 'statistics-path': `${to}/x.puffin` }
    expect(await change({ action: 'set-statistics', statistics })).toEqual(refused)
    const properties = { 'write.data.path': to }
    const another = { name: 'another', schema, properties }
    expect((await call('POST', '/namespaces/lab/tables', another)).status).toBe(400)
    const staged = {
      requirements: [{ type: 'assert-create' }],
      updates: [{ action: 'set-location', location: to }],
    }
    expect((await call('POST', at('another'), staged)).status).toBe(400)
  }
  expect(await change({ action: 'set-location', location })).toEqual([200, undefined])
  const inside = { 'write.data.path': `${location}/data/rows` }
  expect(await change({ action: 'set-properties', updates: inside })).toEqual([200, undefined])
  expect(await change({ action: 'remove-properties', removals: ['write.data.path'] })).toEqual([
    200,
    undefined,
  ])
  await call('DELETE', `${at('mine')}?purgeRequested=true`)
  expect(existsSync(join(data, 'lake/default/swords/metadata'))).toBe(true)
  expect((await call('GET', at('other'))).status).toBe(200)
})

test("a snapshot of another engine can't name files of the stream, nor of other tables", async () => {
  await lab()
  await create('mine')
  const metadataFolder = dirname(listPath())
  const commit = async (id: number, files: readonly string[], manifestFolder = metadataFolder) => {
    const entries = files.map((path) =>
      addedEntry(
        {
          path,
          recordCount: 1,
          sizeBytes: 1,
          day: null,
          metrics: noMetrics,
        },
        BigInt(id),
        noSpec,
      ),
    )
    const bytes = encodeManifest(entries, { 'schema-id': 0, type: 'struct', fields: [] }, noSpec)
    const location = `file://${manifestFolder}/m${id}.avro`
    writeFileSync(join(manifestFolder, `m${id}.avro`), bytes)
    const numbers = { snapshotId: 99n, sequenceNumber: BigInt(id) } // whatever its writer says
    const row = manifestRow({ location, bytes, entries, spec: noSpec, ...numbers })
    const list = join(metadataFolder, `list${id}.avro`)
    const head = { id: BigInt(id), parentId: null, sequenceNumber: BigInt(id) }
    writeFileSync(list, encodeManifestList([row], head))
    const added = snapshot(String(id), id).replace(/file:[^"]*/, `file://${list}`)
    const updates = [{ action: 'add-snapshot', snapshot: JSON.parse(added) as object }]
    return (await call('POST', at('mine'), { requirements: [], updates })).status
  }
  const own = join(data, 'guests/lab/mine/data/rows.parquet')
  expect(await commit(1, [own])).toBe(200)
  for (const path of ['lake/default/swords/data/a.parquet', 'guests/lab/other/data/a.parquet'])
    expect(await commit(2, [own, join(data, path)])).toBe(400)
  expect(await commit(3, [`${data}/guests/lab/mine/../../../lake/a.parquet`])).toBe(400)
  expect(await commit(4, [own], join(data, 'lake/default/swords/metadata'))).toBe(400)
  expect(await commit(5, [own])).toBe(200)
  // Neither one that is not there, nor one that can't be read.
  const list = join(metadataFolder, 'list1.avro')
  const bytes = readFileSync(list)
  const zstd = Buffer.from(bytes.toString('latin1').replace('deflate', 'zstdlib'), 'latin1')
  writeFileSync(join(metadataFolder, 'zstd.avro'), zstd)
  for (const name of ['nothing.avro', 'zstd.avro']) {
    const added = snapshot('9', 9).replace('x.avro', name)
    const updates = [{ action: 'add-snapshot', snapshot: JSON.parse(added) as object }]
    const { status, body } = await call('POST', at('mine'), { requirements: [], updates })
    expect(status).toBe(400)
    expect(body['error']).toMatchObject({ type: 'BadRequestException' })
  }
})

test('only what lies among the tables of other engines is taken in as one of them', async () => {
  await lab()
  const made = await create('mine')
  const text = JSON.stringify(made.body['metadata'])
  const register = async (path: string, change: (text: string) => string) => {
    mkdirSync(dirname(join(data, path)), { recursive: true })
    writeFileSync(join(data, path), change(text))
    const location = `file://${join(data, path)}`
    const body = { name: 'taken', 'metadata-location': location }
    const { status } = await call('POST', '/namespaces/lab/register', body)
    if (status === 200) await call('DELETE', at('taken'))
    return status
  }
  const same = (unchanged: string) => unchanged
  const lyingAt = (place: string) => (before: string) =>
    before.replace(/"location":"[^"]*"/, `"location":"file://${place}"`)
  const file = 'guests/lab/mine/metadata/y.metadata.json'
  expect(await register('elsewhere/v1.metadata.json', same)).toBe(400)
  expect(await register('lake/default/swords/metadata/x.metadata.json', same)).toBe(400)
  expect(await register('guests/../elsewhere/v2.metadata.json', same)).toBe(400)
  expect(await register('guests/lab/mine/metadata/x.metadata.json', lyingAt('/elsewhere'))).toBe(
    400,
  )
  expect(await register(file, lyingAt(`${data}/lake/default/swords`))).toBe(403)
  expect(await register(file, lyingAt(`${data}/guests/lab`))).toBe(400)
  expect(await register(file, lyingAt(`${data}/guests/lab/mine`))).toBe(200)
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

test('a body that is far too large ends its connection: the rest of it is not taken for another request', async () => {
  const headers = { 'content-type': 'application/json' }
  const closes = await new Promise<string | undefined>((resolve, reject) => {
    const agent = new Agent({ keepAlive: true })
    const asking = request(`${base}/namespaces`, { agent, method: 'POST', headers })
    asking.on('error', reject)
    asking.on('response', (response) => {
      resolve(`${response.statusCode} ${response.headers.connection}`)
      asking.on('error', () => {}) // it is cut off
      agent.destroy()
    })
    asking.write(Buffer.alloc(5 * 1024 * 1024)) // and does not end
  })
  expect(closes).toBe('413 close')
})
