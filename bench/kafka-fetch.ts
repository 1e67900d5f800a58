import { connect } from 'node:net'
import { encodeRequestFrame } from '../src/kafka/frames.ts'

export interface Drained {
  readonly bytes: number
  readonly elapsedMs: number
}

const version = 12
/** Of a partition in one answer. */
export const fetchBytes = 1024 * 1024

/**
 * Reads a partition from its first offset to `endOffset` with Fetch requests over a bare socket, `times` times, and throws it away: of an answer only the offset of its last batch is looked at.
 */
export async function drainPartition(
  port: number,
  topic: string,
  endOffset: number,
  times: number,
): Promise<Drained> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true })
  await new Promise((resolve) => socket.once('connect', resolve))
  let bytes = 0
  let offset = 0
  let round = 0
  const ask = () => {
    const topics = [
      { topic, partitions: [{ partition: 0, fetchOffset: offset, partitionMaxBytes: fetchBytes }] },
    ]
    const request = { maxWaitMs: 0, minBytes: 0, maxBytes: fetchBytes, isolationLevel: 0, topics }
    const head = { correlationId: 1, clientId: 'bench' }
    for (const part of encodeRequestFrame('fetch', version, head, request)) socket.write(part)
  }
  const startMs = performance.now()
  await new Promise<void>((resolve, reject) => {
    let parts: Buffer[] = []
    let have = 0
    let frameBytes = -1
    socket.on('error', reject)
    socket.on('data', (chunk: Buffer) => {
      parts.push(chunk)
      have += chunk.length
      if (frameBytes === -1) frameBytes = 4 + chunk.readInt32BE(0)
      if (have < frameBytes) return
      bytes += have
      const next = nextOffsetIn(parts, offset)
      if (next === offset) return reject(new Error(`no batch at offset ${offset} of ${topic}`))
      offset = next >= endOffset ? 0 : next
      if (offset === 0) round++
      parts = []
      have = 0
      frameBytes = -1
      if (round === times) resolve()
      else ask()
    })
    ask()
  })
  const elapsedMs = performance.now() - startMs
  socket.destroy()
  return { bytes, elapsedMs }
}

/** Walks over the batches of an answer by their lengths. The records of the one partition begin where the first base offset fits. */
function nextOffsetIn(parts: readonly Buffer[], offset: number): number {
  const bytes = Buffer.concat(parts)
  // Header, topic and partition take less than 200 bytes; the first batch holds the offset that was asked for.
  for (let at = 60; at < 200; at++) {
    if (bytes[at + 16] !== 2 || bytes.readInt32BE(at) !== 0) continue
    const base = Number(bytes.readBigInt64BE(at))
    const last = base + bytes.readInt32BE(at + 23)
    if (base <= offset && offset <= last) return walk(bytes, at)
  }
  return offset
}

function walk(bytes: Buffer, start: number): number {
  let next = 0
  for (let at = start; at + 61 <= bytes.length && bytes[at + 16] === 2;) {
    next = Number(bytes.readBigInt64BE(at)) + bytes.readInt32BE(at + 23) + 1
    at += 12 + bytes.readInt32BE(at + 8)
  }
  return next
}

/** Asks a server of bench/loads/file-server.ts for its file, `times` times, and throws it away. */
export async function drainFile(port: number, size: number, times: number): Promise<Drained> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true })
  await new Promise((resolve) => socket.once('connect', resolve))
  const startMs = performance.now()
  let bytes = 0
  await new Promise<void>((resolve, reject) => {
    socket.on('error', reject)
    socket.on('data', (chunk: Buffer) => {
      const before = Math.floor(bytes / size)
      bytes += chunk.length
      if (bytes >= size * times) resolve()
      else if (Math.floor(bytes / size) > before) socket.write('x')
    })
    socket.write('x')
  })
  const elapsedMs = performance.now() - startMs
  socket.destroy()
  return { bytes, elapsedMs }
}
