import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { asQuestlogError, QuestlogError } from '../core/errors.ts'
import { wholeBody } from '../core/request-body.ts'
import type { Topic } from '../log/record.ts'
import type { TableWork, TableWorkDone } from '../stream/maintenance.ts'
import type { ExportRequest, ExportResult } from './export.ts'
import { toPlainError } from './messages.ts'
import type { InstanceStatus, TopicChange, TopicDeletion, TopicSpec } from './roles.ts'

/** What the supervisor does when asked over HTTP by the commands of the same user. */
export interface ControlHandlers {
  status(): Promise<InstanceStatus>
  listTopics(): Promise<readonly Topic[]>
  createTopic(spec: TopicSpec): Promise<Topic>
  alterTopic(change: TopicChange): Promise<Topic>
  deleteTopic(deletion: TopicDeletion): Promise<void>
  maintainTable(work: TableWork): Promise<TableWorkDone>
  exportRows(request: ExportRequest): Promise<ExportResult>
  /** Stops everything; `write` takes lines for the screen. The server goes on until it is closed. */
  stop(write: (line: string) => void): Promise<void>
}

export interface ControlServer {
  readonly url: string
  readonly token: string
  close(): Promise<void>
}

const bodyBytesMax = 64 * 1024

/**
 * HTTP on a free port of 127.0.0.1. Every request needs the token of run/instance.json, which only this user can read, so neither another user nor a web page gets in.
 * `GET /status`, `GET /topics`, `POST /topics`, `POST /topics/alter`, `POST /topics/delete`, `POST /tables/maintain`, `POST /exports`, `POST /stop` (NDJSON lines as they come).
 */
export async function startControl(handlers: ControlHandlers): Promise<ControlServer> {
  const token = randomBytes(24).toString('base64url')
  const server = createServer({ requestTimeout: 10_000 }, (request, response) => {
    void answer(request, response, token, handlers)
  })
  server.maxConnections = 100
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', resolve)
  })
  const { port } = server.address() as AddressInfo // listening on TCP
  return {
    url: `http://127.0.0.1:${port}`,
    token,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeIdleConnections()
      }),
  }
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  token: string,
  handlers: ControlHandlers,
): Promise<void> {
  response.setHeader('Connection', 'close')
  try {
    if (!isSame(request.headers.authorization ?? '', `Bearer ${token}`))
      throw new QuestlogError('UNAUTHORIZED', 'the control token is missing or wrong')
    await route(request, response, handlers)
  } catch (error) {
    if (!response.headersSent) sendJson(response, asQuestlogError(error).row.http, failure(error))
    else response.end(`${JSON.stringify(failure(error))}\n`)
  }
}

async function route(
  request: IncomingMessage,
  response: ServerResponse,
  handlers: ControlHandlers,
): Promise<void> {
  switch (`${request.method} ${request.url}`) {
    case 'GET /status':
      return sendJson(response, 200, await handlers.status())
    case 'GET /topics':
      return sendJson(response, 200, await handlers.listTopics())
    case 'POST /topics':
      // The command that sends it is of the same program: the log checks the values.
      return sendJson(
        response,
        200,
        await handlers.createTopic((await readJson(request)) as TopicSpec),
      )
    case 'POST /topics/alter':
      return sendJson(
        response,
        200,
        await handlers.alterTopic((await readJson(request)) as TopicChange),
      )
    case 'POST /topics/delete':
      await handlers.deleteTopic((await readJson(request)) as TopicDeletion)
      return sendJson(response, 200, null)
    case 'POST /tables/maintain':
      return sendJson(
        response,
        200,
        await handlers.maintainTable((await readJson(request)) as TableWork),
      )
    case 'POST /exports':
      return sendJson(
        response,
        200,
        await handlers.exportRows((await readJson(request)) as ExportRequest),
      )
    case 'POST /stop':
      response.setHeader('Content-Type', 'application/x-ndjson')
      await handlers.stop((line) => response.write(`${JSON.stringify({ line })}\n`))
      response.end(`${JSON.stringify({ done: true })}\n`)
      return
    default:
      throw new QuestlogError('ROUTE_UNKNOWN', `there is no ${request.method} ${request.url}`)
  }
}

async function readJson(request: IncomingMessage): Promise<unknown> {
  const body = await wholeBody(request, bodyBytesMax, 'the limit of the control port')
  try {
    return JSON.parse(body.toString())
  } catch (error) {
    throw new QuestlogError('REQUEST_MALFORMED', 'the body is not JSON', {}, { cause: error })
  }
}

function failure(error: unknown): object {
  return { error: toPlainError(error) }
}

function sendJson(response: ServerResponse, status: number, value: unknown): void {
  response.writeHead(status, { 'Content-Type': 'application/json' })
  response.end(`${JSON.stringify(value)}\n`)
}

/** Compares digests, so that the time says nothing about the token. */
function isSame(given: string, wanted: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest()
  return timingSafeEqual(digest(given), digest(wanted))
}
