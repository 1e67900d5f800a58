// A bare node:http server that answers every request with 18 bytes, as long as the reply of the example's route. Tells its port.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

const reply = '\nHello, hello, hi\n'

const server = createServer((_request, response) => {
  response.writeHead(200, {
    'Content-Type': 'text/html; charset=utf-8',
    'Content-Length': reply.length,
  })
  response.end(reply)
})
server.listen(0, '127.0.0.1', () => {
  const { port } = server.address() as AddressInfo // listening on TCP
  process.send?.(port)
})
