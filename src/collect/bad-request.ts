import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { QuestlogError, systemErrorCode } from '../core/errors.ts'
import { formatError } from './answers.ts'
import type { Connections } from './connections.ts'
import type { Desk } from './exchange.ts'
import { lingerMs } from './http-exchange.ts'

/**
 * Handles what node:http reports as `clientError`: bytes that are not HTTP, headers over the limit, a request that takes too long, a connection that broke.
 * Answers with an error only when no earlier request of the connection waits for its answer: it would be taken for that one's.
 */
export function answerBadRequest(
  cause: Error,
  socket: Duplex,
  connections: Connections,
  desk: Desk,
): void {
  const connection = socket instanceof Socket ? connections.get(socket) : undefined
  if (connection === undefined || !socket.writable || systemErrorCode(cause) === 'ECONNRESET') {
    socket.destroy()
    return
  }
  if (connection.broken) return // the rest of what was already answered
  connection.broken = true
  const error = describeCause(cause)
  if (connection.failBody !== null) return connection.failBody(error)
  if (connection.pending > 0) return
  const body = formatError(error)
  const { http } = error.row
  desk.statuses.set(http, (desk.statuses.get(http) ?? 0) + 1)
  desk.accessLog?.log(connection.address, '-', http)
  socket.end(
    `HTTP/1.1 ${http} ${reasons[http] ?? 'Bad Request'}\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n${body}`,
  )
  // What the client still sends is read and dropped for a moment, else the answer could be lost with a reset.
  const over = new AbortController()
  socket.once('close', () => over.abort())
  void desk.clock.sleep(lingerMs, over.signal).then(() => socket.destroy())
}

const urlHint = 'percent-escape what is not ASCII in the target, as curl -G --data-urlencode does'
const reasons: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  408: 'Request Timeout',
  413: 'Payload Too Large',
}

/** Codes: llhttp's errors and Node's own (Node documentation, "Errors"). */
function describeCause(cause: Error): QuestlogError {
  const code = systemErrorCode(cause)
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT')
    return new QuestlogError(
      'REQUEST_TIMEOUT',
      'the request did not arrive whole within requestTimeoutMs',
      {},
      { cause },
    )
  if (code === 'HPE_HEADER_OVERFLOW' || code === 'HPE_CHUNK_EXTENSIONS_OVERFLOW')
    return new QuestlogError(
      'REQUEST_TOO_LARGE',
      'the head of the request is larger than headerBytesMax and urlBytesMax',
      {},
      { cause },
    )
  return new QuestlogError(
    'REQUEST_MALFORMED',
    `the request is not valid HTTP: ${cause.message}`,
    {},
    code === 'HPE_INVALID_URL' ? { cause, hint: urlHint } : { cause },
  )
}
