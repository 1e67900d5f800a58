import { connect } from 'node:net'
import * as fc from 'fast-check'
import { apiNames, apis, type ApiName, type ClientRequestOf } from '../../src/kafka/apis.ts'
import { encodeRequestFrame } from '../../src/kafka/frames.ts'
import { batchOf } from './kafka-batches.ts'
import { valuesOf } from './kafka-arbitraries.ts'

/** A whole request as bytes. */
export function requestBytes<N extends ApiName>(
  api: N,
  version: number,
  request: ClientRequestOf<N>,
): Buffer {
  return Buffer.concat(
    encodeRequestFrame(api, version, { correlationId: 1, clientId: 'fuzz' }, request),
  )
}

/** A request of any API and version, with any values. */
const anyRequest: fc.Arbitrary<Buffer> = fc.constantFrom(...apiNames).chain((api) =>
  fc.integer({ min: apis[api].minVersion, max: apis[api].maxVersion }).chain((version) =>
    valuesOf(apis[api].request, version).map((values) =>
      // The values are made for this request.
      requestBytes(api, version, values as ClientRequestOf<typeof api>),
    ),
  ),
)

const sizeOf = (bytes: number) => {
  const size = Buffer.alloc(4)
  size.writeInt32BE(bytes)
  return size
}

const spoilt = fc
  .tuple(
    anyRequest,
    fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 8 }),
    fc.boolean(),
  )
  .map(([request, changes, sizeToo]) => {
    const bytes = Buffer.from(request)
    for (const [at, value] of changes) {
      const first = sizeToo ? 0 : 4
      bytes[first + (at % (bytes.length - first))] = value
    }
    return bytes
  })

const cut = fc
  .tuple(anyRequest, fc.nat())
  .map(([request, at]) => request.subarray(0, at % request.length))

const garbage = fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes))

const framedGarbage = fc
  .tuple(fc.nat(80), garbage)
  .map(([key, bytes]) => Buffer.concat([sizeOf(bytes.length + 2), Buffer.from([0, key]), bytes]))

/** Records to the topic that the tables read: events, half events, and batches that are none. */
const produced = fc
  .tuple(
    fc.array(fc.string({ maxLength: 40 }), { minLength: 1, maxLength: 5 }),
    fc.option(fc.tuple(fc.nat(), fc.nat(255))),
    fc.constantFrom(-1, 0, 1, 7),
  )
  .map(([values, change, acks]) => {
    const records = batchOf(...values)
    if (change !== null) records[change[0] % records.length] = change[1]
    const topicData = [{ name: 'events', partitionData: [{ index: 0, records }] }]
    return requestBytes('produce', 9, { acks, timeoutMs: 100, topicData })
  })

/** What one connection sends. */
export const kafkaSession: fc.Arbitrary<Buffer> = fc
  .array(fc.oneof(anyRequest, anyRequest, spoilt, spoilt, produced, cut, framedGarbage, garbage), {
    minLength: 1,
    maxLength: 6,
  })
  .map((parts) => Buffer.concat(parts))

/** Sends bytes and waits until the broker ends the connection, or has said nothing for a while. Resolves to how many bytes came back. */
export function exchangeKafka(port: number, bytes: Buffer, quietMs: number): Promise<number> {
  return new Promise((resolve) => {
    let received = 0
    const socket = connect(port, '127.0.0.1', () => socket.write(bytes))
    socket.setTimeout(quietMs, () => socket.destroy())
    socket.on('data', (chunk) => (received += chunk.length))
    socket.on('error', () => {})
    socket.on('close', () => resolve(received))
  })
}

/** Sends bytes and waits for the whole answer, or the end of the connection. */
export function askKafka(port: number, bytes: Buffer): Promise<void> {
  return new Promise((resolve) => {
    let received = Buffer.alloc(0)
    const socket = connect(port, '127.0.0.1', () => socket.write(bytes))
    socket.on('data', (chunk) => {
      received = Buffer.concat([received, chunk])
      if (received.length >= received.readInt32BE(0) + 4) socket.destroy()
    })
    socket.on('error', () => {})
    socket.on('close', () => resolve())
  })
}
