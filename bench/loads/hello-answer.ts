import type { Server, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/** As long as the reply of the example's route. */
const reply = '\nHello, hello, hi\n'

export function answerHello(response: ServerResponse): void {
  response.writeHead(200, {
    'Content-Type': 'text/html; charset=utf-8',
    'Content-Length': reply.length,
  })
  response.end(reply)
}

/** Listens on a free port and tells it to the benchmark. */
export function listenForBench(server: Server): void {
  server.listen(0, '127.0.0.1', () => {
    const { port } = server.address() as AddressInfo // listening on TCP
    process.send?.(port)
  })
}
