import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Clock } from '../core/clock.ts'
import { asQuestlogError, QuestlogError, systemErrorCode } from '../core/errors.ts'
import type { Logger } from '../core/logger.ts'
import { formatMetrics, type HealthReport, type Metric } from '../core/metrics.ts'
import type { Settings } from '../core/settings.ts'
import { wholeBody } from '../core/request-body.ts'
import { AnswerLines } from './answer-lines.ts'
import type { SqlEngine, SqlEvent } from './engine.ts'
import { bodyKind, requireLocalCaller } from './request-guard.ts'
import { reportError } from './sql-error.ts'
import { encodeRows } from './values.ts'

export type ExtraRoute = (request: IncomingMessage, response: ServerResponse) => Promise<void>

export interface SqlServerOptions {
  /** Closed together with the server. */
  readonly engine: SqlEngine
  /** The host that it is told to listen on; callers may name it in their Host header. */
  readonly host: string
  readonly settings: Settings
  readonly clock: Clock
  readonly logger: Logger
  readonly health: () => HealthReport
  readonly metrics: () => readonly Metric[]
  /** More routes by `METHOD /path`. They are reached only past the checks of Host and Origin. */
  readonly extraRoutes?: ReadonlyMap<string, ExtraRoute>
  /** Everything below a path, such as `/iceberg/`; past the same checks. */
  readonly folders?: ReadonlyMap<string, ExtraRoute>
}

export interface SqlServer {
  /** Resolves with the port; 0 takes a free one. Throws PORT_BUSY. */
  listen(host: string, port: number): Promise<number>
  /** Takes no more requests, cancels what runs, and resolves when all is answered. May be called again. */
  close(): Promise<void>
}

/** The HTTP endpoint of the lake process: `POST /sql`, health, readiness, metrics (docs/reference/sql.md). */
export function createSqlServer(options: SqlServerOptions): SqlServer {
  return new HttpSqlServer(options)
}

class HttpSqlServer implements SqlServer {
  readonly #options: SqlServerOptions
  readonly #server: Server
  readonly #routes: ReadonlyMap<string, ExtraRoute>
  /** One entry a request that is being answered. */
  readonly #answers = new Set<Promise<void>>()
  #closed: Promise<void> | undefined

  constructor(options: SqlServerOptions) {
    this.#options = options
    const { settings } = options
    this.#routes = this.#createRoutes()
    this.#server = createServer(
      {
        requestTimeout: settings.requestTimeoutMs,
        headersTimeout: settings.requestTimeoutMs,
        keepAliveTimeout: settings.keepAliveTimeoutMs,
        maxHeaderSize: settings.headerBytesMax,
      },
      (request, response) => {
        const answer = this.#answer(request, response)
          .then(() => sent(response))
          .finally(() => this.#answers.delete(answer))
        this.#answers.add(answer)
      },
    )
    this.#server.maxConnections = settings.connectionsMax
    this.#server.maxHeadersCount = settings.headerCountMax
  }

  async listen(host: string, port: number): Promise<number> {
    await new Promise<void>((resolve, reject) => {
      const fail = (error: unknown) => {
        if (systemErrorCode(error) !== 'EADDRINUSE') return reject(error)
        reject(
          new QuestlogError(
            'PORT_BUSY',
            `port ${port} is in use`,
            { host, port },
            { cause: error },
          ),
        )
      }
      this.#server.once('error', fail)
      this.#server.listen(port, host, () => {
        this.#server.off('error', fail)
        resolve()
      })
    })
    // A TCP server that listens has an address of this form.
    return (this.#server.address() as AddressInfo).port
  }

  async close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  async #close(): Promise<void> {
    const stopped = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    const { clock, settings, engine } = this.#options
    const enough = new AbortController()
    // Cancelled statements tell it to their clients; one that does not read its answer can't hold the stop up.
    await Promise.race([
      Promise.all([engine.close(), ...this.#answers]),
      clock.sleep(settings.drainTimeoutMs, enough.signal),
    ])
    enough.abort()
    this.#server.closeAllConnections()
    await stopped
  }

  #createRoutes(): ReadonlyMap<string, ExtraRoute> {
    const { engine, health, metrics, extraRoutes } = this.#options
    const routes = new Map<string, ExtraRoute>(extraRoutes)
    routes.set('POST /sql', (request, response) => this.#answerSql(request, response))
    for (const prefix of ['', '/_questlog']) {
      routes.set(`GET ${prefix}/health`, async (_, response) =>
        sendJson(response, 200, { status: 'ok' }),
      )
      routes.set(`GET ${prefix}/ready`, async (_, response) => {
        const { ready, reasons } = health()
        sendJson(response, ready ? 200 : 503, { ready, reasons })
      })
      routes.set(`GET ${prefix}/metrics`, async (_, response) => {
        response.setHeader('content-type', 'text/plain; version=0.0.4; charset=utf-8')
        response.end(formatMetrics([...metrics(), ...engine.metrics()]))
      })
    }
    return routes
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.setHeader('x-content-type-options', 'nosniff')
    response.setHeader('cache-control', 'no-store')
    // A socket that breaks is seen as `close`; the error itself says nothing more.
    response.on('error', () => {})
    request.on('error', () => {})
    try {
      requireLocalCaller(request, this.#options.host)
      await this.#route(request)(request, response)
    } catch (error) {
      this.#fail(error, request, response)
    }
  }

  #route(request: IncomingMessage): ExtraRoute {
    const path = (request.url ?? '').split('?')[0] ?? ''
    const method = request.method ?? ''
    const route = this.#routes.get(`${method === 'HEAD' ? 'GET' : method} ${path}`)
    if (route !== undefined) return route
    for (const [prefix, folder] of this.#options.folders ?? [])
      if (path.startsWith(prefix)) return folder
    const methods = ['GET', 'POST'].filter((other) => this.#routes.has(`${other} ${path}`))
    if (methods.length > 0)
      throw new QuestlogError(
        'METHOD_NOT_ALLOWED',
        `${path} takes ${methods.join(', ')}, not ${method}`,
        { allow: methods.join(', ') },
      )
    throw new QuestlogError(
      'ROUTE_UNKNOWN',
      `there is nothing at ${path}`,
      {},
      { hint: 'this is the SQL port: POST /sql; events go to the collector port' },
    )
  }

  #fail(error: unknown, request: IncomingMessage, response: ServerResponse): void {
    const isGone = response.destroyed || response.writableEnded || request.socket.destroyed
    if (isGone) return
    const known = asQuestlogError(error)
    if (known.code === 'INTERNAL')
      this.#options.logger.error('a request failed', { path: request.url, error: known })
    if (response.headersSent) {
      response.end(`${JSON.stringify({ error: reportError(known) })}\n`)
      return
    }
    if (known.code === 'METHOD_NOT_ALLOWED')
      response.setHeader('allow', String(known.facts['allow']))
    if (known.row.retriable) response.setHeader('retry-after', '1')
    // What is left of the body is not read: the connection can't carry another request.
    if (!request.complete) response.setHeader('connection', 'close')
    sendJson(response, known.row.http, { error: reportError(known) })
  }

  async #answerSql(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { engine, settings, clock } = this.#options
    const body = readStatement(bodyKind(request), await readText(request, settings.sqlBytesMax))
    const gone = new AbortController()
    const onGone = () => gone.abort()
    response.once('close', onGone)
    response.setHeader('content-type', 'application/x-ndjson; charset=utf-8')
    const lines = new AnswerLines(response)
    try {
      for await (const event of engine.run({ ...body, signal: gone.signal })) {
        lines.add(encodeEvent(event))
        if (response.writableNeedDrain)
          await drained(response, clock, settings.queryTimeoutMs, gone.signal)
      }
      lines.end()
    } finally {
      // An error of a later statement stands behind what the ones before have given.
      lines.flush()
      response.off('close', onGone)
    }
  }
}

/** Resolves when the answer has left, or its client has. */
function sent(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    if (response.writableFinished || response.closed) return resolve()
    response.once('finish', () => resolve())
    response.once('close', () => resolve())
  })
}

function encodeEvent(event: SqlEvent): string {
  switch (event.kind) {
    case 'columns':
      return JSON.stringify({ columns: event.columns.map(({ name, type }) => ({ name, type })) })
    case 'rows':
      return `{"rows":${encodeRows(event.chunk, event.columns)}}`
    case 'end': {
      const { rows, elapsedMs, waitedMs, stale } = event.stats
      const rounded = { rows, elapsedMs: tenths(elapsedMs), waitedMs: tenths(waitedMs), stale }
      return JSON.stringify({ stats: rounded })
    }
  }
}

function tenths(durationMs: number): number {
  return Math.round(durationMs * 10) / 10
}

/** Resolves when the socket takes more. A client that does not read for as long as a statement may take is given up. */
async function drained(
  response: ServerResponse,
  clock: Clock,
  patienceMs: number,
  signal: AbortSignal,
): Promise<void> {
  const waiting = new AbortController()
  const end = () => waiting.abort()
  response.once('drain', end)
  signal.addEventListener('abort', end, { once: true })
  if (signal.aborted) end()
  await clock.sleep(patienceMs, waiting.signal)
  response.off('drain', end)
  signal.removeEventListener('abort', end)
  if (waiting.signal.aborted) return
  response.destroy()
  throw new QuestlogError('SQL_CANCELLED', `the client read nothing for ${patienceMs} ms`)
}

const utf8 = new TextDecoder('utf-8', { fatal: true })

async function readText(request: IncomingMessage, bytesMax: number): Promise<string> {
  const body = await wholeBody(request, bytesMax, 'sqlBytesMax')
  try {
    return utf8.decode(body)
  } catch {
    throw new QuestlogError('REQUEST_MALFORMED', 'the body is not UTF-8')
  }
}

function readStatement(kind: 'json' | 'text', body: string): { sql: string; stale: boolean } {
  if (kind === 'text') return { sql: body, stale: false }
  const value = parseJson(body)
  const isObject = typeof value === 'object' && value !== null && !Array.isArray(value)
  const fields = isObject ? (value as Readonly<Record<string, unknown>>) : {} // checked before
  const { sql, stale = false } = fields
  if (typeof sql !== 'string' || typeof stale !== 'boolean')
    throw new QuestlogError(
      'REQUEST_MALFORMED',
      'the body must be {"sql": text} or {"sql": text, "stale": true or false}',
    )
  return { sql, stale }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new QuestlogError('REQUEST_MALFORMED', 'the body is not JSON', {}, { cause: error })
  }
}

function sendJson(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json; charset=utf-8' })
  response.end(`${JSON.stringify(body)}\n`)
}
