import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { apiNames, decodeRequest, type ApiName } from '../../src/kafka/apis.ts'
import {
  encodeRequestFrame,
  encodeResponseFrame,
  readRequestHead,
  readResponse,
} from '../../src/kafka/frames.ts'
import { Reader } from '../../src/kafka/wire.ts'

// What real clients and a real broker said to each other, recorded by test/conformance/record-messages.ts.

interface Recording {
  readonly client: string
  readonly broker: string
  readonly messages: readonly {
    readonly api: ApiName
    readonly version: number
    readonly request: string
    readonly response: string | null
  }[]
}

const folder = join(import.meta.dirname, 'golden')
const recordings = readdirSync(folder).map(
  (name) => JSON.parse(readFileSync(join(folder, name), 'utf8')) as Recording,
)

/** The bytes of a frame after its size. */
const bodyOf = (chunks: readonly Buffer[]) => Buffer.concat(chunks).subarray(4).toString('hex')

test('there is a recording of every request', () => {
  const recorded = recordings.flatMap(({ messages }) => messages.map(({ api }) => api))
  expect([...new Set(recorded)].toSorted()).toEqual(apiNames.toSorted())
})

describe.each(recordings)('$client and $broker', ({ messages }) => {
  test.each(messages)('$api $version: the request reads and writes as it is', (message) => {
    const reader = new Reader(Buffer.from(message.request, 'hex'))
    const { api, apiVersion, correlationId, clientId } = readRequestHead(reader)
    expect({ api, version: apiVersion }).toEqual({ api: message.api, version: message.version })
    const body = decodeRequest(message.api, message.version, reader)
    const again = encodeRequestFrame(
      message.api,
      message.version,
      { correlationId, clientId },
      body,
    )
    // librdkafka leaves three bytes too many inside of Metadata for all topics: what follows them is not read.
    const extra = message.api === 'metadata' ? reader.left : 0
    expect(bodyOf(again)).toBe(message.request.slice(0, message.request.length - 2 * extra))
    expect(extra).toBeLessThanOrEqual(3)
  })

  test.each(messages)('$api $version: so does the response', ({ api, version, response }) => {
    if (response === null) return
    const reader = new Reader(Buffer.from(response, 'hex'))
    const correlationId = reader.int32()
    const body = readResponse(api, version, reader)
    expect(reader.left).toBe(0)
    expect(bodyOf(encodeResponseFrame(api, version, correlationId, body))).toBe(response)
  })
})
