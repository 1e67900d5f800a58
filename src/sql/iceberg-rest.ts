import type { IncomingMessage, ServerResponse } from 'node:http'
import { parse, stringify } from 'lossless-json'
import { asQuestlogError, QuestlogError, type ErrorCode } from '../core/errors.ts'
import type { Logger } from '../core/logger.ts'
import { wholeBody } from '../core/request-body.ts'
import type { CreateRequest } from '../lake/guest-metadata.ts'
import type { MetadataVersion } from '../lake/metadata-commit.ts'
import { objectsOf, type CommitRequirement, type MetadataUpdate } from '../lake/metadata-updates.ts'
import { parseLong } from '../lake/metadata.ts'
import type { IcebergCatalog, TableName } from './iceberg-catalog.ts'
import type { ExtraRoute } from './sql-server.ts'

/** Paths of the catalog start so; a client is given `http://HOST:PORT/iceberg`. */
export const icebergPrefix = '/iceberg/'

export interface IcebergRestOptions {
  readonly catalog: IcebergCatalog
  readonly logger: Logger
  readonly bodyBytesMax: number
}

/** Between the levels of a namespace in a path, by the specification. */
const levelSeparator = '\u001f'

type Json = Readonly<Record<string, unknown>>

/** One request: what its path names, its query, its body (an empty object when it has none). */
interface Call {
  readonly namespace: string
  readonly table: string
  readonly query: URLSearchParams
  readonly body: Json
}

/** What is answered: a status, and a body unless it is 204. */
interface Reply {
  readonly status: number
  readonly body?: Json | { readonly text: string }
}

interface Route {
  /** As the specification writes it, and as the configuration lists it. */
  readonly endpoint: string
  readonly answer: (catalog: IcebergCatalog, call: Call) => Promise<Reply>
}

const namespacePath = '/v1/{prefix}/namespaces/{namespace}'
const tablePath = `${namespacePath}/tables/{table}`

/** The endpoints of the Iceberg REST specification (apache/iceberg, open-api/rest-catalog-open-api.yaml) that are served. */
const routes: readonly Route[] = [
  {
    endpoint: 'GET /v1/{prefix}/namespaces',
    answer: async (catalog) =>
      ok({ namespaces: (await catalog.namespaces()).map((name) => [name]) }),
  },
  {
    endpoint: 'POST /v1/{prefix}/namespaces',
    async answer(catalog, { body }) {
      const namespace = singleLevel(body['namespace'])
      const properties = textsOf(body['properties'])
      await catalog.createNamespace(namespace, properties)
      return ok({ namespace: [namespace], properties })
    },
  },
  {
    endpoint: `GET ${namespacePath}`,
    answer: async (catalog, { namespace }) =>
      ok({ namespace: [namespace], properties: await catalog.namespaceProperties(namespace) }),
  },
  {
    endpoint: `HEAD ${namespacePath}`,
    async answer(catalog, { namespace }) {
      await catalog.namespaceProperties(namespace)
      return done
    },
  },
  {
    endpoint: `DELETE ${namespacePath}`,
    async answer(catalog, { namespace }) {
      await catalog.dropNamespace(namespace)
      return done
    },
  },
  {
    endpoint: `POST ${namespacePath}/properties`,
    async answer(catalog, { namespace, body }) {
      const removals = listOf(body['removals']).map(String)
      const updates = textsOf(body['updates'])
      const removed = await catalog.changeNamespace(namespace, removals, updates)
      const missing = removals.filter((name) => !removed.includes(name))
      return ok({ removed, updated: Object.keys(updates), missing })
    },
  },
  {
    endpoint: `GET ${namespacePath}/tables`,
    answer: async (catalog, { namespace }) =>
      ok({
        identifiers: (await catalog.tables(namespace)).map((name) => ({
          namespace: [namespace],
          name,
        })),
      }),
  },
  {
    endpoint: `POST ${namespacePath}/tables`,
    async answer(catalog, { namespace, body }) {
      textOf(body, 'name')
      const request = body as unknown as CreateRequest // its other parts are checked where they are used
      return loaded(await catalog.create(namespace, request))
    },
  },
  {
    endpoint: `GET ${tablePath}`,
    answer: async (catalog, { namespace, table }) =>
      loaded(await catalog.load({ namespace, name: table })),
  },
  {
    endpoint: `HEAD ${tablePath}`,
    async answer(catalog, { namespace, table }) {
      await catalog.load({ namespace, name: table })
      return done
    },
  },
  {
    endpoint: `POST ${tablePath}`,
    async answer(catalog, { namespace, table, body }) {
      // Each is checked by its type, or its action.
      const requirements = objectsOf(body['requirements'] ?? [], 'requirements') as unknown[]
      const updates = objectsOf(body['updates'] ?? [], 'updates') as unknown[]
      return loaded(
        await catalog.commit(
          { namespace, name: table },
          requirements as CommitRequirement[],
          updates as MetadataUpdate[],
        ),
      )
    },
  },
  {
    endpoint: `DELETE ${tablePath}`,
    async answer(catalog, { namespace, table, query }) {
      const purge = query.get('purgeRequested')?.toLowerCase() === 'true'
      await catalog.drop({ namespace, name: table }, purge)
      return done
    },
  },
  { endpoint: `POST ${tablePath}/metrics`, answer: async () => done },
  {
    endpoint: `POST ${namespacePath}/register`,
    async answer(catalog, { namespace, body }) {
      const name = textOf(body, 'name')
      const location = textOf(body, 'metadata-location')
      return loaded(await catalog.register({ namespace, name }, location))
    },
  },
  {
    endpoint: 'POST /v1/{prefix}/tables/rename',
    async answer(catalog, { body }) {
      await catalog.rename(tableName(body['source']), tableName(body['destination']))
      return done
    },
  },
]

const done: Reply = { status: 204 }

/** Names of errors in the specification, by their code here. */
const exceptionNames: Partial<Readonly<Record<ErrorCode, string>>> = {
  NAMESPACE_UNKNOWN: 'NoSuchNamespaceException',
  NAMESPACE_EXISTS: 'AlreadyExistsException',
  NAMESPACE_IN_USE: 'NamespaceNotEmptyException',
  TABLE_UNKNOWN: 'NoSuchTableException',
  TABLE_EXISTS: 'AlreadyExistsException',
  TABLE_OWNED: 'ForbiddenException',
  COMMIT_CONFLICT: 'CommitFailedException',
  OUTCOME_UNKNOWN: 'CommitStateUnknownException',
  REQUEST_MALFORMED: 'BadRequestException',
}

/** Serves the catalog under `icebergPrefix`: docs/reference/iceberg-rest.md. */
export function createIcebergRest(options: IcebergRestOptions): ExtraRoute {
  return async (request, response) => {
    let reply: Reply
    try {
      reply = await answer(options, request)
    } catch (error) {
      const known = asQuestlogError(error)
      if (known.code === 'INTERNAL')
        options.logger.error('a request to the catalog failed', { path: request.url, error })
      const description = describe(known)
      reply = { status: description.code, body: { error: description } }
      // What is left of the body is not read: the connection can't carry another request.
      if (known.code === 'REQUEST_TOO_LARGE' && !request.complete)
        response.setHeader('connection', 'close')
    }
    send(response, reply, request.method === 'HEAD')
  }
}

async function answer(
  { catalog, bodyBytesMax }: IcebergRestOptions,
  request: IncomingMessage,
): Promise<Reply> {
  const url = new URL(request.url ?? '/', 'http://localhost')
  const path = url.pathname.slice(icebergPrefix.length - 1)
  if (request.method === 'GET' && path === '/v1/config') return ok(configuration)
  const parts = path.split('/').slice(2).map(decodePart)
  for (const { endpoint, answer: answerRoute } of routes) {
    const found = match(endpoint, request.method ?? '', parts)
    if (found === undefined) continue
    requireOneLevel(found)
    const body = request.method === 'POST' ? await readJson(request, bodyBytesMax) : {}
    return answerRoute(catalog, { ...found, query: url.searchParams, body })
  }
  throw new QuestlogError(
    'ROUTE_UNKNOWN',
    `the catalog has no ${request.method} ${path}`,
    {},
    {
      hint: 'GET /iceberg/v1/config lists what it has',
    },
  )
}

function decodePart(part: string): string {
  try {
    return decodeURIComponent(part)
  } catch (error) {
    throw new QuestlogError(
      'REQUEST_MALFORMED',
      `"${part}" is no part of a path`,
      {},
      { cause: error },
    )
  }
}

/** Spark asks for `default.swords.snapshots` as a table of a namespace of two levels first, and takes it for what it is when there is none. */
function requireOneLevel({ namespace, table }: { namespace: string; table: string }): void {
  if (!namespace.includes(levelSeparator)) return
  const name = namespace.replaceAll(levelSeparator, '.')
  if (table === '')
    throw new QuestlogError(
      'NAMESPACE_UNKNOWN',
      `there is no namespace ${name}: namespaces have one level here`,
    )
  throw new QuestlogError(
    'TABLE_UNKNOWN',
    `there is no table ${name}.${table}: namespaces have one level here`,
  )
}

/** The prefix is optional in a path: this catalog has one warehouse and gives none. */
function match(
  endpoint: string,
  method: string,
  parts: readonly string[],
): { namespace: string; table: string } | undefined {
  const [wanted = '', pattern = ''] = endpoint.split(' ')
  const names = pattern.split('/').slice(3)
  if (wanted !== method || names.length !== parts.length) return undefined
  const found = { namespace: '', table: '' }
  for (const [index, name] of names.entries()) {
    const part = parts[index] ?? ''
    if (name === '{namespace}') found.namespace = part
    else if (name === '{table}') found.table = part
    else if (name !== part) return undefined
  }
  return found
}

const configuration: Json = {
  defaults: {},
  overrides: {},
  endpoints: routes.map(({ endpoint }) => endpoint),
}

/** The metadata goes out as the text of its file, so that 64-bit numbers keep every digit. */
function loaded(table: MetadataVersion | { readonly metadata: object }): Reply {
  if (!('text' in table)) return ok({ metadata: table.metadata, config: {} })
  const location = JSON.stringify(table.location)
  const text = `{"metadata-location":${location},"metadata":${table.text},"config":{}}`
  return { status: 200, body: { text } }
}

function ok(body: Json): Reply {
  return { status: 200, body }
}

function describe(error: QuestlogError) {
  const type = exceptionNames[error.code] ?? 'ServiceFailureException'
  // After 503 a client may send the same again; a commit that may have happened must not be.
  const code = error.code === 'OUTCOME_UNKNOWN' ? 500 : error.row.http
  return { message: `${error.message}; ${error.hint}`, type, code }
}

function send(response: ServerResponse, { status, body }: Reply, isHead: boolean): void {
  if (body === undefined || isHead) {
    response.writeHead(status)
    response.end()
    return
  }
  const text = 'text' in body && typeof body['text'] === 'string' ? body['text'] : stringify(body)
  response.writeHead(status, { 'content-type': 'application/json' })
  response.end(text)
}

async function readJson(request: IncomingMessage, bytesMax: number): Promise<Json> {
  const body = await wholeBody(request, bytesMax, 'the limit of the catalog')
  if (body.length === 0) return {}
  // A page of another site can't send this type without asking first.
  const type = request.headers['content-type']?.split(';')[0]?.trim().toLowerCase()
  if (type !== 'application/json')
    throw new QuestlogError('MEDIA_TYPE_UNSUPPORTED', 'the catalog takes application/json')
  try {
    const value = parse(body.toString('utf8'), null, parseLong)
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Json // a JSON object
  } catch (error) {
    throw new QuestlogError('REQUEST_MALFORMED', 'the body is not JSON', {}, { cause: error })
  }
  throw new QuestlogError('REQUEST_MALFORMED', 'the body is no JSON object')
}

function singleLevel(value: unknown): string {
  const [name, ...more] = listOf(value)
  if (typeof name === 'string' && more.length === 0) return name
  throw new QuestlogError('REQUEST_MALFORMED', 'namespaces have one level here')
}

function tableName(value: unknown): TableName {
  const { namespace, name } = (value ?? {}) as Json // checked here
  if (typeof name !== 'string') throw new QuestlogError('REQUEST_MALFORMED', 'a table has no name')
  return { namespace: singleLevel(namespace), name }
}

function textOf(body: Json, name: string): string {
  const value = body[name]
  if (typeof value === 'string') return value
  throw new QuestlogError('REQUEST_MALFORMED', `the body needs ${name}, a text`)
}

function listOf(value: unknown): unknown[] {
  return Array.isArray(value) ? value : []
}

function textsOf(value: unknown): Record<string, string> {
  const entries = Object.entries((value ?? {}) as Json) // a JSON object, or nothing
  return Object.fromEntries(entries.map(([name, text]) => [name, String(text)]))
}
