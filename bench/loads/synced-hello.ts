// The server of hello.ts, but what it answers is on the disk first: 200 bytes a request, all that wait share one fdatasync. Tells its port.
import { fdatasync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const reply = '\nHello, hello, hi\n'
const record = Buffer.alloc(200, '.')

const folder = mkdtempSync(join(tmpdir(), 'questlog-bench-'))
const file = openSync(join(folder, 'records'), 'w')
rmSync(folder, { recursive: true }) // open as long as this runs

let waiting: ServerResponse[] = []
let isSyncing = false

function sync(): void {
  const responses = waiting
  waiting = []
  isSyncing = responses.length > 0
  if (!isSyncing) return
  writeSync(file, Buffer.concat(responses.map(() => record)))
  fdatasync(file, (error) => {
    if (error !== null) throw error
    for (const response of responses) {
      response.writeHead(200, {
        'Content-Type': 'text/html; charset=utf-8',
        'Content-Length': reply.length,
      })
      response.end(reply)
    }
    setImmediate(sync)
  })
}

const server = createServer((_request, response) => {
  waiting.push(response)
  if (isSyncing) return
  isSyncing = true
  setImmediate(sync)
})
server.listen(0, '127.0.0.1', () => {
  const { port } = server.address() as AddressInfo // listening on TCP
  process.send?.(port)
})
