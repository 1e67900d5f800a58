import { api } from './api.ts'
import {
  array,
  bool,
  int16,
  int32,
  int64,
  list,
  nullable,
  optional,
  since,
  string,
  struct,
} from './schema.ts'

/** Messages of idempotent and transactional producers (public protocol guide, "API Keys"; KIP-98, KIP-360, KIP-447). */

const producer = { producerId: int64, producerEpoch: int16 }

export const transactionApis = {
  initProducerId: api({
    key: 22,
    minVersion: 0,
    maxVersion: 5,
    flexibleFrom: 2,
    doc: 'Get a producer id and epoch; with a transactional id fence the producer that had it before and abort its transaction.',
    kips: [98, 360, 588, 890],
    request: struct({
      transactionalId: nullable(string),
      transactionTimeoutMs: int32,
      producerId: since(3, int64, -1),
      producerEpoch: since(3, int16, -1),
    }),
    response: struct({
      throttleTimeMs: optional(int32, 0),
      errorCode: int16,
      producerId: optional(int64, -1),
      producerEpoch: int16,
    }),
  }),

  addPartitionsToTxn: api({
    key: 24,
    minVersion: 0,
    maxVersion: 3,
    flexibleFrom: 3,
    doc: 'Say which partitions a transaction writes to. From version 4 on it is a request of brokers.',
    kips: [98],
    request: struct({
      v3AndBelowTransactionalId: string,
      v3AndBelowProducerId: int64,
      v3AndBelowProducerEpoch: int16,
      v3AndBelowTopics: list({ name: string, partitions: array(int32) }),
    }),
    response: struct({
      throttleTimeMs: optional(int32, 0),
      resultsByTopicV3AndBelow: list({
        name: string,
        resultsByPartition: list({ partitionIndex: int32, partitionErrorCode: int16 }),
      }),
    }),
  }),

  addOffsetsToTxn: api({
    key: 25,
    minVersion: 0,
    maxVersion: 4,
    flexibleFrom: 3,
    doc: 'Say which group a transaction commits offsets for.',
    kips: [98, 588, 890],
    request: struct({ transactionalId: string, ...producer, groupId: string }),
    response: struct({ throttleTimeMs: optional(int32, 0), errorCode: int16 }),
  }),

  endTxn: api({
    key: 26,
    minVersion: 0,
    maxVersion: 4,
    flexibleFrom: 3,
    doc: 'Commit or abort a transaction.',
    kips: [98, 588, 890],
    request: struct({ transactionalId: string, ...producer, committed: bool }),
    response: struct({ throttleTimeMs: optional(int32, 0), errorCode: int16 }),
  }),

  txnOffsetCommit: api({
    key: 28,
    minVersion: 0,
    maxVersion: 4,
    flexibleFrom: 3,
    doc: "Keep a group's offsets if and when the transaction commits.",
    kips: [98, 320, 447, 890],
    request: struct({
      transactionalId: string,
      groupId: string,
      ...producer,
      generationId: since(3, int32, -1),
      memberId: since(3, string),
      groupInstanceId: since(3, nullable(string, 3)),
      topics: list({
        name: string,
        partitions: list({
          partitionIndex: int32,
          committedOffset: int64,
          committedLeaderEpoch: since(2, int32, -1),
          committedMetadata: nullable(string),
        }),
      }),
    }),
    response: struct({
      throttleTimeMs: optional(int32, 0),
      topics: list({
        name: string,
        partitions: list({ partitionIndex: int32, errorCode: int16 }),
      }),
    }),
  }),
}
