// What a broker's Fetch can't be faster than: reads a file in pieces and writes them to a socket, one request (4 bytes: how many pieces) after another. Takes { path, pieceBytes }, answers with its port.
import { fstatSync, openSync, read } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import type { AddressInfo } from 'node:net'
import { promisify } from 'node:util'

export interface FileServerJob {
  readonly path: string
  readonly pieceBytes: number
}

const readFile = promisify(read)

async function sendFile(socket: Socket, fd: number, pieceBytes: number): Promise<void> {
  const { size } = fstatSync(fd)
  for (let at = 0; at < size; at += pieceBytes) {
    const piece = Buffer.allocUnsafe(Math.min(pieceBytes, size - at))
    const { bytesRead } = await readFile(fd, piece, 0, piece.length, at)
    const isRoom = socket.write(piece.subarray(0, bytesRead))
    if (!isRoom) await new Promise((resolve) => socket.once('drain', resolve))
  }
}

process.once('message', (job) => {
  const { path, pieceBytes } = job as FileServerJob // kafka.ts sends nothing else
  const fd = openSync(path, 'r')
  const server = createServer({ noDelay: true }, (socket) => {
    // Every byte that comes asks for the whole file.
    socket.on('data', () => void sendFile(socket, fd, pieceBytes))
    socket.on('error', () => {})
  })
  server.listen(0, '127.0.0.1', () => process.send?.((server.address() as AddressInfo).port)) // a TCP server that listens
})
