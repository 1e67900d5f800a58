import { compile } from './codec.ts'
import {
  array,
  bytes,
  int32,
  list,
  nullable,
  since,
  string,
  struct,
  type AnyType,
  type DecodedOf,
  type EncodedOf,
} from './schema.ts'
import { Reader, Writer } from './wire.ts'

/**
 * What members of a group with protocol type `consumer` say to each other; the broker passes it on without looking (public protocol guide,
 * "Consumer Protocol"; KIP-429, KIP-792, KIP-881). A version in front, then the fields; newer versions only add fields at the end.
 */

const topicPartitions = { topic: string, partitions: array(int32) }

/** What a member reads, sent in JoinGroup. */
export const subscription = struct({
  topics: array(string),
  userData: nullable(bytes),
  ownedPartitions: since(1, list(topicPartitions)),
  generationId: since(2, int32, -1),
  rackId: since(3, nullable(string, 3)),
})

/** What a member is to read, sent in SyncGroup. */
export const assignment = struct({
  assignedPartitions: list(topicPartitions),
  userData: nullable(bytes),
})

export const consumerProtocolVersionMax = 3

export type Subscription = DecodedOf<typeof subscription>
export type Assignment = DecodedOf<typeof assignment>

/** @throws QuestlogError REQUEST_MALFORMED when the bytes are something else */
export function decodeSubscription(encoded: Buffer): Subscription {
  return decode(subscription, encoded) as Subscription
}

/** @throws QuestlogError REQUEST_MALFORMED when the bytes are something else */
export function decodeAssignment(encoded: Buffer): Assignment {
  return decode(assignment, encoded) as Assignment
}

export function encodeSubscription(
  value: EncodedOf<typeof subscription>,
  version = consumerProtocolVersionMax,
): Buffer {
  return encode(subscription, version, value)
}

export function encodeAssignment(
  value: EncodedOf<typeof assignment>,
  version = consumerProtocolVersionMax,
): Buffer {
  return encode(assignment, version, value)
}

function decode(type: AnyType, encoded: Buffer): unknown {
  const reader = new Reader(encoded)
  const version = reader.int16()
  if (version < 0) throw reader.malformed(`version ${version} of the consumer protocol`)
  return compile(type, Math.min(version, consumerProtocolVersionMax), false).read(reader)
}

function encode(type: AnyType, version: number, value: unknown): Buffer {
  const writer = new Writer()
  writer.int16(version)
  compile(type, version, false).write(writer, value)
  return Buffer.concat(writer.chunks())
}
