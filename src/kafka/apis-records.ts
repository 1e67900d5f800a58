import { api } from './api.ts'
import {
  array,
  between,
  int16,
  int32,
  int64,
  int8,
  list,
  nullable,
  optional,
  records,
  since,
  string,
  struct,
  tagged,
  uuid,
} from './schema.ts'

/** Messages about records: written, read, and found by time or epoch (public protocol guide, "API Keys"). */

/** Where else the leader of a partition is; questlog is the only node and never sets them. */
const nodeEndpoints = list({
  nodeId: int32,
  host: string,
  port: int32,
  rack: optional(nullable(string), null),
})

export const recordApis = {
  produce: api({
    key: 0,
    minVersion: 0,
    maxVersion: 11,
    flexibleFrom: 9,
    doc: 'Append record batches. Version 0 to 2 are offered so that librdkafka compresses, and answered with an error (43): their records are older than batches.',
    kips: [4, 98, 110, 467, 951],
    request: struct({
      transactionalId: since(3, nullable(string, 3)),
      acks: int16,
      timeoutMs: int32,
      topicData: list({
        name: string,
        partitionData: list({ index: int32, records }),
      }),
    }),
    response: struct({
      responses: list({
        name: string,
        partitionResponses: list({
          index: int32,
          errorCode: int16,
          baseOffset: int64,
          logAppendTimeMs: since(2, int64, -1),
          logStartOffset: since(5, int64, -1),
          recordErrors: since(
            8,
            list({ batchIndex: int32, batchIndexErrorMessage: optional(nullable(string), null) }),
          ),
          errorMessage: since(8, nullable(string)),
          currentLeader: tagged(
            0,
            10,
            struct({ leaderId: optional(int32, -1), leaderEpoch: optional(int32, -1) }),
          ),
        }),
      }),
      throttleTimeMs: since(1, int32),
      nodeEndpoints: tagged(0, 10, nodeEndpoints),
    }),
  }),

  fetch: api({
    key: 1,
    minVersion: 4,
    maxVersion: 17,
    flexibleFrom: 12,
    doc: 'Read record batches as they lie in the log, waiting for new ones.',
    kips: [74, 98, 107, 227, 320, 392, 516, 595, 903, 951],
    request: struct({
      clusterId: tagged(0, 12, nullable(string)),
      replicaId: between(0, 14, int32, -1),
      replicaState: tagged(
        1,
        15,
        struct({ replicaId: optional(int32, -1), replicaEpoch: optional(int64, -1) }),
      ),
      maxWaitMs: int32,
      minBytes: int32,
      maxBytes: since(3, int32, 0x7fffffff),
      isolationLevel: since(4, int8),
      sessionId: since(7, int32),
      sessionEpoch: since(7, int32, -1),
      topics: list({
        topic: between(0, 12, string),
        topicId: since(13, uuid),
        partitions: list({
          partition: int32,
          currentLeaderEpoch: since(9, int32, -1),
          fetchOffset: int64,
          lastFetchedEpoch: since(12, int32, -1),
          logStartOffset: since(5, int64, -1),
          partitionMaxBytes: int32,
          replicaDirectoryId: tagged(0, 17, uuid),
        }),
      }),
      forgottenTopicsData: since(
        7,
        list({
          topic: between(7, 12, string),
          topicId: since(13, uuid),
          partitions: array(int32),
        }),
      ),
      rackId: since(11, string),
    }),
    response: struct({
      throttleTimeMs: since(1, int32),
      errorCode: since(7, int16),
      sessionId: since(7, int32),
      responses: list({
        topic: between(0, 12, string),
        topicId: since(13, uuid),
        partitions: list({
          partitionIndex: int32,
          errorCode: int16,
          highWatermark: int64,
          lastStableOffset: since(4, int64, -1),
          logStartOffset: since(5, int64, -1),
          divergingEpoch: tagged(
            0,
            12,
            struct({ epoch: optional(int32, -1), endOffset: optional(int64, -1) }),
          ),
          currentLeader: tagged(
            1,
            12,
            struct({ leaderId: optional(int32, -1), leaderEpoch: optional(int32, -1) }),
          ),
          snapshotId: tagged(
            2,
            12,
            struct({ endOffset: optional(int64, -1), epoch: optional(int32, -1) }),
          ),
          abortedTransactions: since(
            4,
            nullable(list({ producerId: int64, firstOffset: int64 }), 4),
            [],
          ),
          preferredReadReplica: since(11, int32, -1),
          records,
        }),
      }),
      nodeEndpoints: tagged(0, 16, nodeEndpoints),
    }),
  }),

  listOffsets: api({
    key: 2,
    minVersion: 1,
    maxVersion: 9,
    flexibleFrom: 6,
    doc: 'Find the first or last offset of a partition, or the offset of a time.',
    kips: [79, 98, 207, 405, 734, 1005],
    request: struct({
      replicaId: optional(int32, -1),
      isolationLevel: since(2, int8),
      topics: list({
        name: string,
        partitions: list({
          partitionIndex: int32,
          currentLeaderEpoch: since(4, int32, -1),
          timestamp: int64,
        }),
      }),
    }),
    response: struct({
      throttleTimeMs: since(2, int32),
      topics: list({
        name: string,
        partitions: list({
          partitionIndex: int32,
          errorCode: int16,
          timestamp: since(1, int64, -1),
          offset: since(1, int64, -1),
          leaderEpoch: since(4, int32, -1),
        }),
      }),
    }),
  }),

  offsetForLeaderEpoch: api({
    key: 23,
    minVersion: 0,
    maxVersion: 4,
    flexibleFrom: 4,
    doc: 'Find where a leader epoch ended. There is one leader and one epoch, 0, whose end is the end of the log.',
    kips: [101, 279, 320],
    request: struct({
      replicaId: since(3, int32, -2),
      topics: list({
        topic: string,
        partitions: list({
          partition: int32,
          currentLeaderEpoch: since(2, int32, -1),
          leaderEpoch: int32,
        }),
      }),
    }),
    response: struct({
      throttleTimeMs: since(2, int32),
      topics: list({
        topic: string,
        partitions: list({
          errorCode: int16,
          partition: int32,
          leaderEpoch: since(1, int32, -1),
          endOffset: optional(int64, -1),
        }),
      }),
    }),
  }),
}
