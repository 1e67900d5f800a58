import { brotliCompressSync, constants, deflateSync, gzipSync } from 'node:zlib'
import * as fc from 'fast-check'
import { oneGet } from './plain-requests.ts'

// Requests as bytes: mostly nearly right, so that they get far; some cut off, damaged, or run together.

const bytes = (text: string) => Buffer.from(text, 'latin1')
const junk = fc.oneof(
  fc.uint8Array({ maxLength: 40 }).map((array) => Buffer.from(array)),
  fc.stringMatching(/^[{}[\]",:\\ a0-9.eE+-]{0,40}$/).map(bytes),
  fc
    .constantFrom(
      '',
      '{}',
      '[]',
      '{"event_type":"bare"}',
      '[{"event_type":"bare"}]',
      'a=b&%',
      '\ufeff{}',
    )
    .map((text) => Buffer.from(text)),
)
const method = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom('GET', 'POST') },
  fc.constantFrom(
    'HEAD',
    'OPTIONS',
    'PUT',
    'DELETE',
    'PATCH',
    'TRACE',
    'CONNECT',
    'get',
    'FOO',
    '',
  ),
)
const target = fc
  .tuple(
    fc.constantFrom(
      '/',
      '/bare',
      '/events',
      '/keyed',
      '/strict',
      '/purchase_a_knife',
      '/x',
      '*',
      '',
      '//',
      '/_questlog/metrics',
      '/_questlog/x',
      'http://a/bare',
      '/b%61re',
      '/%ff%00',
    ),
    fc.oneof(
      fc.constant(''),
      fc.stringMatching(/^\?[a-z=&%+#;0-9A-F]{0,20}$/),
      fc.string({ maxLength: 10 }).map((text) => `?${text}`),
    ),
  )
  .map(([path, query]) => path + query)
const header = fc.oneof(
  {
    weight: 20,
    arbitrary: fc.constantFrom(
      'Host: x',
      'host: y',
      'Content-Type: application/json',
      'Content-Type: application/x-ndjson',
      'Content-Type: application/x-www-form-urlencoded',
      'Content-Type: text/plain',
      'Content-Type: \xff',
      'Expect: 100-continue',
      'Connection: close',
      'Connection: keep-alive',
      'Origin: null',
      'event_type: forged',
      'Authorization: Bearer x',
    ),
  },
  fc.constantFrom(
    'Transfer-Encoding: chunked',
    'Connection: upgrade',
    'Upgrade: websocket',
    'Expect: the unexpected',
    'Transfer-Encoding: gzip, chunked',
    'Content-Encoding: gzip',
    'Content-Encoding: br',
  ),
  fc.nat({ max: 60 }).map((length) => `Content-Length: ${length}`),
  { weight: 10, arbitrary: fc.stringMatching(/^X-[a-z]{1,5}: [ -~]{0,10}$/) },
  fc.stringMatching(/^X-[!-~]{0,5}: [ -~]{0,10}$/),
  fc.string({ maxLength: 12 }),
)
const encodings: Readonly<Record<string, (body: Buffer) => Buffer>> = {
  gzip: (body) => gzipSync(body, { level: 1 }),
  deflate: (body) => deflateSync(body, { level: 1 }),
  br: (body) => brotliCompressSync(body, { params: { [constants.BROTLI_PARAM_QUALITY]: 1 } }),
  identity: (body) => body,
}

/** A body in chunks of this size, as `Transfer-Encoding: chunked` sends it. */
function chunked(body: Buffer, size: number): Buffer {
  const parts: Buffer[] = []
  for (let at = 0; at < body.length; at += size) {
    const part = body.subarray(at, at + size)
    parts.push(bytes(`${part.length.toString(16)}\r\n`), part, bytes('\r\n'))
  }
  return Buffer.concat([...parts, bytes('0\r\n\r\n')])
}

const framing = fc.oneof(
  { weight: 8, arbitrary: fc.constant('length') },
  { weight: 4, arbitrary: fc.constant('chunked') },
  fc.constant('none'),
)

/** One request, with its body announced, chunked, or neither. */
const wholeRequest = fc
  .record({
    method,
    target,
    version: fc.oneof(
      { weight: 20, arbitrary: fc.constantFrom('HTTP/1.1', 'HTTP/1.0') },
      fc.constantFrom('HTTP/2.0', 'HTTP/0.9', ''),
    ),
    headers: fc.array(header, { maxLength: 6 }),
    framing,
    encoding: fc.oneof(
      { weight: 6, arbitrary: fc.constant('identity') },
      fc.constantFrom('gzip', 'deflate', 'br'),
    ),
    chunk: fc.integer({ min: 1, max: 50 }),
    body: junk,
  })
  .map(({ method: verb, target: to, version, headers, framing: how, encoding, chunk, body }) => {
    const sent = encodings[encoding]?.(body) ?? body
    const lines = [...headers]
    if (how !== 'none') lines.unshift('Host: x')
    if (encoding !== 'identity') lines.push(`Content-Encoding: ${encoding}`)
    if (how === 'length') lines.push(`Content-Length: ${sent.length}`)
    if (how === 'chunked') lines.push('Transfer-Encoding: chunked')
    const head = `${verb} ${to} ${version}\r\n${lines.map((line) => `${line}\r\n`).join('')}\r\n`
    return Buffer.concat([bytes(head), how === 'chunked' ? chunked(sent, chunk) : sent])
  })

/** The same, sometimes cut off or with some bytes changed. */
const damagedRequest = fc
  .record({
    whole: wholeRequest,
    cutAt: fc.option(fc.double({ min: 0, max: 1, noNaN: true }), { freq: 3 }),
    changes: fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { maxLength: 3 }),
  })
  .map(({ whole, cutAt, changes }) => {
    const request = Buffer.from(whole)
    for (const [place, value] of changes) request[place % request.length] = value
    return cutAt === null ? request : request.subarray(0, Math.floor(cutAt * request.length))
  })

const request = fc.oneof(
  { weight: 3, arbitrary: wholeRequest },
  { weight: 1, arbitrary: damagedRequest },
)

/** What one connection sends: one to three requests, one after the other without waiting; or one GET, which may be read without node:http. */
export const session = fc.oneof(
  {
    weight: 3,
    arbitrary: fc
      .array(request, { minLength: 1, maxLength: 3 })
      .map((requests) => Buffer.concat(requests)),
  },
  { weight: 1, arbitrary: oneGet },
)
