import type { IncomingMessage } from 'node:http'
import { QuestlogError } from '../core/errors.ts'

const loopbackNames: ReadonlySet<string> = new Set(['localhost', '127.0.0.1', '[::1]'])
const anyAddress: ReadonlySet<string> = new Set(['0.0.0.0', '::', '[::]'])

/**
 * Refuses what a web page could send through a visitor's browser: a Host that is neither this machine's nor the
 * configured one (a foreign name that was made to resolve here), and an Origin of another site. Throws FORBIDDEN.
 * With a configured host of 0.0.0.0 or ::, the network is let in on purpose and any Host is taken.
 */
export function requireLocalCaller(request: IncomingMessage, configuredHost: string): void {
  const allowed = (host: string | undefined) =>
    host !== undefined && (loopbackNames.has(host) || host === bracketed(configuredHost))
  const host = hostName(request.headers.host)
  if (!anyAddress.has(configuredHost) && !allowed(host))
    throw new QuestlogError('FORBIDDEN', `the Host header names ${host ?? 'no host'}`, {
      host: request.headers.host,
    })
  const { origin } = request.headers
  if (origin === undefined) return
  const from = URL.canParse(origin) ? new URL(origin).hostname : undefined
  if (!allowed(from))
    throw new QuestlogError('FORBIDDEN', `the request comes from a page of ${origin}`, { origin })
}

/** The kind of a statement's body. Anything that a page may send to another site without asking first is refused when it comes from a page. */
export function bodyKind(request: IncomingMessage): 'json' | 'text' {
  const header = request.headers['content-type'] ?? ''
  const type = header.split(';')[0]?.trim().toLowerCase()
  if (type === 'application/json') return 'json'
  if (type !== 'text/plain')
    throw new QuestlogError(
      'MEDIA_TYPE_UNSUPPORTED',
      type === '' ? 'the request has no Content-Type' : `Content-Type ${type} is not served here`,
      { contentType: header },
      { hint: 'send application/json with {"sql": "…"}, or the statement as text/plain' },
    )
  if (request.headers.origin !== undefined)
    throw new QuestlogError('FORBIDDEN', 'a page must send statements as application/json')
  return 'text'
}

/** The host part of a Host header, lower case, IPv6 in brackets; undefined when it is malformed. */
function hostName(header: string | undefined): string | undefined {
  const match = /^(\[[0-9a-f:.]+\]|[^:[\]/@\s]+)(?::\d+)?$/i.exec(header ?? '')
  return match?.[1]?.toLowerCase()
}

function bracketed(host: string): string {
  return host.includes(':') && !host.startsWith('[') ? `[${host}]` : host.toLowerCase()
}
