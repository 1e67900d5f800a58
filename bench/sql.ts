import { Agent, request } from 'node:http'

const agent = new Agent({ keepAlive: true })

export interface SqlAnswer {
  readonly rows: readonly (readonly unknown[])[]
  /** From the statement to its last row, by the server's clock, milliseconds. */
  readonly serverMs: number
  /** How much of it was waiting for what was answered before. */
  readonly waitedMs: number
  /** From the request to the end of the answer, by ours. */
  readonly wallMs: number
}

type SqlLine = {
  readonly rows?: readonly (readonly unknown[])[]
  readonly stats?: { readonly elapsedMs: number; readonly waitedMs: number }
  readonly error?: { readonly code: string; readonly message: string }
}

/** `POST /sql`, one statement. An error of the server rejects. */
export async function runSql(port: number, sql: string): Promise<SqlAnswer> {
  const startMs = performance.now()
  const text = await post(port, JSON.stringify({ sql }))
  const wallMs = performance.now() - startMs
  const lines = text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as SqlLine) // docs/reference/sql.md
  const error = lines.find((line) => line.error !== undefined)?.error
  if (error !== undefined) throw new Error(`${error.code}: ${error.message}`)
  const stats = lines.find((line) => line.stats !== undefined)?.stats
  if (stats === undefined) throw new Error(`${sql} was answered without an end`)
  return {
    rows: lines.flatMap((line) => line.rows ?? []),
    serverMs: stats.elapsedMs,
    waitedMs: stats.waitedMs,
    wallMs,
  }
}

function post(port: number, body: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const outgoing = request(
      {
        host: '127.0.0.1',
        port,
        path: '/sql',
        method: 'POST',
        agent,
        headers: { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) },
      },
      (response) => {
        let text = ''
        response.setEncoding('utf8')
        response.on('data', (part: string) => (text += part))
        response.once('end', () => resolve(text))
        response.once('error', reject)
      },
    )
    outgoing.once('error', reject)
    outgoing.end(body)
  })
}
