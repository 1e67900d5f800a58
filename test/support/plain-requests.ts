import * as fc from 'fast-check'

// GETs as bytes: most of them just what clients send, each of the rest with one thing that somebody could read in another way.

const bytes = (text: string) => Buffer.from(text, 'latin1')

const oddPaths = [
  '*',
  '',
  'bare',
  'http://a/bare',
  'a:80',
  '/bare bare',
  '/b\x80re',
  '/b\x00re',
  '/bare?\x7f',
]
const path = fc.oneof(
  { weight: 14, arbitrary: fc.constantFrom('/', '/bare', '/purchase_a_knife', '/strict', '/x') },
  fc.constantFrom('/b%61re', '//', '/events', '/keyed', '/_questlog/health', '/bare/', '/bare#a'),
  fc.constantFrom(...oddPaths),
)
const query = fc.oneof(
  fc.constant(''),
  {
    weight: 3,
    arbitrary: fc.stringMatching(/^\?[a-z]{1,3}=[a-z0-9%+.]{0,6}(&[A-Z]{1,3}=[!-~]?)?$/),
  },
  fc.constantFrom(
    '?level=5',
    '?level=x',
    '?event_type=forged',
    '?host=me',
    '?write_key=right',
    '?',
  ),
  fc.stringMatching(/^\?[!-~]{0,12}$/),
  fc.constant(`?a=${'x'.repeat(600)}`),
)
const oddVersions = ['HTTP/1.2', 'HTTP/2.0', 'http/1.1', 'HTTP/1.1 ', 'HTTP/01.1', '']
const version = fc.oneof(
  { weight: 40, arbitrary: fc.constantFrom('HTTP/1.1', 'HTTP/1.0') },
  fc.constantFrom(...oddVersions),
)
const method = fc.oneof(
  { weight: 90, arbitrary: fc.constant('GET') },
  fc.constantFrom('HEAD', 'POST', 'get', 'GETT', ' GET', '\r\nGET', 'OPTIONS'),
)
const charactersOf = (from: number, to: number) =>
  fc.integer({ min: from, max: to }).map((code) => String.fromCharCode(code))
const token = fc.string({
  unit: fc.constantFrom(..."!#$%&'*+-.^_`|~09azAZ".split('')),
  minLength: 1,
  maxLength: 6,
})
const text = fc.string({
  unit: fc.oneof(fc.constant('\t'), charactersOf(0x20, 0x7e)),
  maxLength: 6,
})
/** What clients send. */
const usual = fc.oneof(
  fc.constantFrom(
    'User-Agent: curl/8',
    'user-agent: ApacheBench/2.3',
    'Accept: */*',
    'Accept-Encoding: gzip, br',
    'Cookie: a=b',
    'Origin: https://game.example',
    'Origin: https://other.example',
    'Authorization: Bearer right',
    'Connection: keep-alive',
    'Connection: close',
    'Connection: Keep-Alive',
    'Keep-Alive: timeout=5',
    'Upgrade-Insecure-Requests: 1',
    'event_type: forged',
    'X-Empty:',
    'X-Blank: \t ',
    'X-Close:value',
    'X-Wide: \t a \t b \t ',
  ),
  fc.stringMatching(/^X-[A-Za-z]{1,6}: [ -~]{0,10}$/),
  fc.tuple(token, text).map(([name, value]) => `${name}:${value}`),
)
/** What one reader may take for something else than another. */
const oddLines = [
  'Content-Length: 0',
  'Content-Length: 5',
  'Content-Length: +1',
  'content-length : 5',
  'Transfer-Encoding: chunked',
  'Transfer-Encoding: identity',
  'Transfer-Encoding : chunked',
  'Trailer: X-A',
  'TE: trailers',
  'Expect: 100-continue',
  'Expect: other',
  'Upgrade: websocket',
  'Connection: upgrade',
  'Connection: close, keep-alive',
  'Connection: foo',
  'Connection:',
  'Proxy-Connection: close',
  'Host: second',
  'Origin: https://game.example',
  ': no name',
  'No colon',
  ' folded: onto the line before',
  '\tfolded too',
  'Space : before the colon',
  'X-A: a\rb',
  'X-A: a\nX-B: b',
  'X-A: a\r\r',
  'X-A: a\x00b',
  'X-A: a\x7fb',
  'X-A: \x80\xff',
  'X\x80A: b',
  'X(A): b',
  '',
  'GET /bare HTTP/1.1',
]
const odd = fc.oneof(
  fc.constantFrom(...oddLines),
  fc.string({ unit: charactersOf(0, 0xff), minLength: 1, maxLength: 8 }),
)
const oddEnds = ['\n', '\r', '\r\r\n', '\n\r', '\r\n ']
const lineEnd = fc.oneof(
  { weight: 90, arbitrary: fc.constant('\r\n') },
  fc.constantFrom(...oddEnds),
)
const headerLines = fc.oneof(
  { weight: 3, arbitrary: fc.array(usual, { maxLength: 6 }) },
  {
    weight: 2,
    arbitrary: fc
      .tuple(fc.array(usual, { maxLength: 3 }), odd, fc.array(usual, { maxLength: 3 }))
      .map(([before, one, after]) => [...before, one, ...after]),
  },
  fc.nat({ max: 12 }).map((count) => Array.from({ length: count }, (_, n) => `X-${n}: ${n}`)),
  fc.nat({ max: 700 }).map((length) => [`X-Long: ${'h'.repeat(length)}`]),
)
const host = fc.oneof(
  { weight: 30, arbitrary: fc.constant(['Host: game']) },
  fc.constantFrom([], ['Host:'], ['host: a', 'Host: b'], ['Host: a b']),
)

const requestWith = (hosts: fc.Arbitrary<readonly string[]>) =>
  fc
    .tuple(method, path, query, version, hosts, headerLines, fc.array(lineEnd, { maxLength: 2 }))
    .map(([verb, to, asked, spoken, named, lines, ends]) => {
      const all = [`${verb} ${to}${asked} ${spoken}`, ...named, ...lines, '']
      return bytes(all.map((line, index) => `${line}${ends[index] ?? '\r\n'}`).join(''))
    })
const whole = requestWith(host)
const damaged = fc
  .tuple(whole, fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { minLength: 1, maxLength: 2 }))
  .map(([request, changes]) => {
    const changed = Buffer.from(request)
    for (const [place, value] of changes) changed[place % changed.length] = value
    return changed
  })

/** One GET, or what looks like one. */
export const oneGet = fc.oneof({ weight: 4, arbitrary: whole }, damaged)

/**
 * What is sent at once: one GET mostly, sometimes several. These have a Host: node:http refuses one without at once, and what it makes of bytes behind it that are
 * no HTTP is a matter of moments.
 */
export const someGets = fc.oneof(
  { weight: 4, arbitrary: oneGet.map((request) => [request]) },
  oneGet.map((request) => [bytes('\r\n'), request, bytes('\r\n')]),
  fc.array(requestWith(fc.constant(['Host: game'])), { minLength: 2, maxLength: 3 }),
)

/** Empty lines before a request and behind it. */
const emptyLines = ['', '\r\n', '\n', '\r', '\r\n\r\n'].flatMap(
  (line) =>
    [
      [line, ''],
      ['', line],
      [line, line],
    ] as const,
)

const getOf = (target: string, spoken: string, lines: readonly string[], end: string) =>
  bytes([`GET ${target} ${spoken}`, ...lines, ''].map((line) => `${line}${end}`).join(''))

/** Each oddity once in a GET that is plain otherwise, and in one that would end its connection. */
export const oddGets: readonly Buffer[] = ['HTTP/1.1', 'HTTP/1.0'].flatMap((spoken) => [
  ...oddLines.flatMap((line) => [
    getOf('/bare', spoken, ['Host: game', line, 'X-A: b'], '\r\n'),
    getOf('/bare', spoken, ['Host: game', 'Connection: keep-alive', line], '\r\n'),
    getOf('/', spoken, [line, 'Host: game', 'Connection: close'], '\r\n'),
  ]),
  ...oddEnds.flatMap((end) => [
    getOf('/bare', spoken, ['Host: game'], end),
    Buffer.concat([getOf('/bare', spoken, ['Host: game'], '\r\n').subarray(0, -2), bytes(end)]),
  ]),
  ...oddPaths.map((target) => getOf(target, spoken, ['Host: game'], '\r\n')),
  ...[[], ['Host:'], ['host: a', 'Host: b'], ['Host: a b']].map((hosts) =>
    getOf('/bare', spoken, hosts, '\r\n'),
  ),
  ...[599, 600, 601].map((length) =>
    getOf('/bare', spoken, ['Host: game', `X: ${'x'.repeat(length - 21)}`], '\r\n'),
  ),
  ...[499, 500, 501].map((length) =>
    getOf(`/${'x'.repeat(length - 1)}`, spoken, ['Host: game'], '\r\n'),
  ),
  ...[9, 10, 11].map((count) =>
    getOf(
      '/bare',
      spoken,
      ['Host: game', ...Array.from({ length: count - 1 }, () => 'X: y')],
      '\r\n',
    ),
  ),
  ...oddVersions.map((odds) => getOf('/bare', odds, ['Host: game'], '\r\n')),
  ...emptyLines.flatMap(([before, after]) =>
    [['Host: game'], ['Host: game', 'Connection: keep-alive'], []].map((lines) =>
      Buffer.concat([bytes(before), getOf('/bare', spoken, lines, '\r\n'), bytes(after)]),
    ),
  ),
])
