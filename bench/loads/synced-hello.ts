// The server of hello.ts, but what it answers is on the disk first: 200 bytes a request, all that wait share one fdatasync. Tells its port.
import { fdatasync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs'
import { createServer, type ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { answerHello, listenForBench } from './hello-answer.ts'

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
    for (const response of responses) answerHello(response)
    setImmediate(sync)
  })
}

listenForBench(
  createServer((_request, response) => {
    waiting.push(response)
    if (isSyncing) return
    isSyncing = true
    setImmediate(sync)
  }),
)
