import * as fc from 'fast-check'
import { describe, expect, expectTypeOf, test } from 'vitest'
import { QuestlogError } from '../../src/core/errors.ts'
import {
  apiNameOf,
  apiNames,
  apis,
  decodeRequest,
  decodeResponse,
  encodeRequest,
  encodeResponse,
  isFlexible,
  type ClientRequestOf,
  type RequestOf,
} from '../../src/kafka/apis.ts'
import { compile } from '../../src/kafka/codec.ts'
import { arrayElementsMax, Reader, Writer } from '../../src/kafka/wire.ts'
import { valuesOf } from '../support/kafka-arbitraries.ts'

/** Every message in every version. */
const messages = apiNames.flatMap((name) =>
  (['request', 'response'] as const).flatMap((side) => {
    const { [side]: type, minVersion, maxVersion } = apis[name]
    return Array.from({ length: maxVersion - minVersion + 1 }, (_, index) => {
      const version = minVersion + index
      const codec = compile(type, version, isFlexible(name, version))
      return {
        title: `${name} ${side} ${version}`,
        codec,
        values: valuesOf(type, version),
        encode: (value: unknown) => {
          const writer = new Writer()
          codec.write(writer, value)
          return Buffer.concat(writer.chunks())
        },
      }
    })
  }),
)

const decoded = (value: { codec: { read(reader: Reader): unknown } }, bytes: Buffer) =>
  value.codec.read(new Reader(bytes))

function refusal(read: () => unknown): QuestlogError | undefined {
  try {
    read()
    return undefined
  } catch (error) {
    if (error instanceof QuestlogError && error.code === 'REQUEST_MALFORMED') return error
    throw error
  }
}

/** Elements of all arrays of a value together. */
function countElements(value: unknown): number {
  if (Buffer.isBuffer(value) || typeof value !== 'object' || value === null) return 0
  const inner = Object.values(value).reduce((sum: number, item) => sum + countElements(item), 0)
  return inner + (Array.isArray(value) ? value.length : 0)
}

describe('every message in every version', () => {
  test('there are two for each version of an API', () => {
    expect(apiNames.length).toBe(30)
    expect(messages.length).toBeGreaterThan(300)
    expect(new Set(apiNames.map((name) => apis[name].key)).size).toBe(apiNames.length)
    for (const name of apiNames) expect(apiNameOf(apis[name].key)).toBe(name)
    expect(apiNameOf(999)).toBeUndefined()
  })

  test('reads back what was written, and leaves what follows', () => {
    for (const message of messages) {
      fc.assert(
        fc.property(message.values, (value) => {
          const bytes = message.encode(value)
          const reader = new Reader(Buffer.concat([bytes, Buffer.alloc(3)]))
          expect(message.codec.read(reader), message.title).toEqual(value)
          expect(reader.left, message.title).toBe(3)
        }),
        { numRuns: 6 },
      )
    }
  })

  test('is refused when any of its last bytes are missing', () => {
    for (const message of messages) {
      fc.assert(
        fc.property(message.values, fc.nat(), (value, cut) => {
          const bytes = message.encode(value)
          if (bytes.length === 0) return
          const part = bytes.subarray(0, cut % bytes.length)
          expect(refusal(() => decoded(message, part))?.hint, message.title).toBeDefined()
        }),
        { numRuns: 6 },
      )
    }
  })

  test('damaged, is read or refused, and never grows beyond its bytes', () => {
    for (const message of messages) {
      fc.assert(
        fc.property(
          message.values,
          fc.array(fc.tuple(fc.nat(), fc.constantFrom(0, 1, 0x7f, 0x80, 0xff, 0xfe)), {
            minLength: 1,
            maxLength: 4,
          }),
          (value, damages) => {
            const bytes = message.encode(value)
            if (bytes.length === 0) return
            for (const [place, byte] of damages) bytes[place % bytes.length] = byte
            refusal(() => {
              expect(countElements(decoded(message, bytes))).toBeLessThanOrEqual(bytes.length)
            })
          },
        ),
        { numRuns: 6 },
      )
    }
  })

  test('made of chance alone, is read or refused', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...messages),
        fc.uint8Array({ maxLength: 200 }),
        (message, bytes) => {
          refusal(() => decoded(message, Buffer.from(bytes)))
        },
      ),
      { numRuns: 500 },
    )
  })
})

const produced = (version: number, bytes: string) =>
  decodeRequest('produce', version, new Reader(Buffer.from(bytes.replaceAll(' ', ''), 'hex')))

describe('lengths', () => {
  const head = 'ffff 0001 00000005' // no transactional id, acks 1, 5 ms

  test('an array of more elements than there are bytes is refused before memory is taken', () => {
    expect(refusal(() => produced(3, `${head} 7fffffff`))?.message).toContain('2147483647 elements')
    expect(refusal(() => produced(3, `${head} fffffffe`))?.message).toContain('-2 elements')
    expect(refusal(() => produced(9, '00 0001 00000005 ffffffff0f'))).toBeDefined()
  })

  test('a null is refused where the version has none', () => {
    expect(refusal(() => produced(3, `${head} ffffffff`))?.message).toContain('null')
    expect(refusal(() => produced(3, `${head} 00000001 ffff 00000000`))?.message).toContain('null')
  })

  test('strings and byte strings that are negative or too long are refused', () => {
    expect(refusal(() => produced(3, 'fffe 0001 00000005 00000000'))).toBeDefined()
    expect(refusal(() => produced(3, '7fff 61'))).toBeDefined()
    const records = (length: string) =>
      `${head} 00000001 0001 74 00000001 00000000 ${length} 616263`
    expect(refusal(() => produced(3, records('00000004')))).toBeDefined()
    expect(refusal(() => produced(3, records('80000000')))).toBeDefined()
    expect(
      produced(3, records('00000003')).topicData[0]?.partitionData[0]?.records?.toString(),
    ).toBe('abc')
  })

  test('a varint of more than 32 bits is refused', () => {
    expect(
      refusal(() => new Reader(Buffer.from('ffffffff7f', 'hex')).unsignedVarint()),
    ).toBeDefined()
    expect(
      refusal(() => new Reader(Buffer.from('808080808001', 'hex')).unsignedVarint()),
    ).toBeDefined()
    expect(new Reader(Buffer.from('ffffffff0f', 'hex')).unsignedVarint()).toBe(2 ** 32 - 1)
  })

  test('a message has a bounded number of elements, whatever it nests', () => {
    const topic = { name: '', partitions: [] }
    const topics = Array.from({ length: arrayElementsMax + 1 }, () => topic)
    const request = { groupId: 'g', topics }
    const bytes = Buffer.concat(encodeRequest('offsetDelete', 0, request).chunks())
    expect(refusal(() => decodeRequest('offsetDelete', 0, new Reader(bytes)))?.message).toContain(
      'more than 200000 elements',
    )
  })
})

describe('records', () => {
  const records = Buffer.alloc(100_000, 7)

  test('are a view of the frame, not a copy', () => {
    const request = {
      acks: 1,
      timeoutMs: 5,
      topicData: [{ name: 't', partitionData: [{ index: 0, records }] }],
    }
    const bytes = Buffer.concat(encodeRequest('produce', 9, request).chunks())
    const view = decodeRequest('produce', 9, new Reader(bytes)).topicData[0]?.partitionData[0]
    expect(view?.records?.buffer).toBe(bytes.buffer)
  })

  test('go into a response as they are', () => {
    const partition = { partitionIndex: 0, errorCode: 0, highWatermark: 1, records }
    const response = { responses: [{ topic: 't', partitions: [partition] }] }
    const chunks = encodeResponse('fetch', 12, response).chunks()
    expect(chunks.includes(records)).toBe(true)
    expect(chunks.length).toBe(3)
    const decodedAgain = decodeResponse('fetch', 12, new Reader(Buffer.concat(chunks)))
    expect(decodedAgain.responses[0]?.partitions[0]).toEqual({
      ...partition,
      lastStableOffset: -1,
      logStartOffset: -1,
      divergingEpoch: { epoch: -1, endOffset: -1 },
      currentLeader: { leaderId: -1, leaderEpoch: -1 },
      snapshotId: { endOffset: -1, epoch: -1 },
      abortedTransactions: [],
      preferredReadReplica: -1,
    })
  })
})

describe('fields', () => {
  test('that a version does not have, or that are left out, have their defaults', () => {
    const bytes = Buffer.concat(encodeRequest('joinGroup', 0, joining).chunks())
    const { rebalanceTimeoutMs, groupInstanceId, reason } = decodeRequest(
      'joinGroup',
      0,
      new Reader(bytes),
    )
    expect({ rebalanceTimeoutMs, groupInstanceId, reason }).toEqual({
      rebalanceTimeoutMs: -1,
      groupInstanceId: null,
      reason: null,
    })
  })

  const joining: ClientRequestOf<'joinGroup'> = {
    groupId: 'g',
    sessionTimeoutMs: 6000,
    rebalanceTimeoutMs: 9000,
    memberId: '',
    protocolType: 'consumer',
    protocols: [],
    reason: 'for one',
  }

  test('tagged ones are written only when they differ from their default, and unknown ones are skipped', () => {
    const plain = encodeResponse('apiVersions', 3, { errorCode: 0, apiKeys: [] }).chunks()
    expect(Buffer.concat(plain).toString('hex')).toBe('0000' + '01' + '00000000' + '00')
    const unknown = Buffer.from(
      '0000' + '01' + '00000000' + '02' + '0108ffffffff00000005' + '7f03abcdef',
      'hex',
    )
    expect(decodeResponse('apiVersions', 3, new Reader(unknown)).finalizedFeaturesEpoch).toBe(
      -0x100000000 + 5,
    )
  })

  test('a tagged one of another length than it says is refused', () => {
    const wrong = Buffer.from('0000' + '01' + '00000000' + '01' + '01090000000000000005ff', 'hex')
    expect(refusal(() => decodeResponse('apiVersions', 3, new Reader(wrong)))?.message).toContain(
      'tagged field 1',
    )
  })

  test('have the types that their schema says', () => {
    expectTypeOf<RequestOf<'heartbeat'>>().toEqualTypeOf<{
      readonly groupId: string
      readonly generationId: number
      readonly memberId: string
      readonly groupInstanceId: string | null
    }>()
    expectTypeOf<ClientRequestOf<'heartbeat'>>().toEqualTypeOf<{
      readonly groupId: string
      readonly generationId: number
      readonly memberId: string
      readonly groupInstanceId?: string | null | undefined
    }>()
  })
})

test('64-bit numbers beyond what is exact are cut to the largest and smallest', () => {
  const bytes = (value: number) => {
    const writer = new Writer()
    writer.int64(value)
    return Buffer.concat(writer.chunks()).toString('hex')
  }
  expect(bytes(2 ** 63)).toBe('7fffffffffffffff')
  expect(bytes(-(2 ** 70))).toBe('8000000000000000')
  expect(bytes(-1)).toBe('ffffffffffffffff')
  expect(bytes(2 ** 53)).toBe('0020000000000000')
})

test('a version that is not in the table is a mistake of ours', () => {
  expect(() => decodeRequest('fetch', 99, new Reader(Buffer.alloc(0)))).toThrow('versions 4 to 17')
})
