import { api } from './api.ts'
import {
  array,
  between,
  bool,
  int16,
  int32,
  int64,
  int8,
  list,
  nullable,
  optional,
  since,
  string,
  struct,
  tagged,
  uuid,
} from './schema.ts'

/** Messages about what there is: the broker's versions, the cluster, its topics (public protocol guide, "API Keys"). */

/** Authorized operations when they were not asked for. */
const operationsUnknown = -0x80000000

export const clusterApis = {
  apiVersions: api({
    key: 18,
    minVersion: 0,
    maxVersion: 4,
    flexibleFrom: 3,
    doc: 'Say which versions of which requests are served. Any version is answered: a newer one in the form of version 0, with error 35.',
    kips: [35, 511, 584],
    request: struct({
      clientSoftwareName: since(3, string),
      clientSoftwareVersion: since(3, string),
    }),
    response: struct({
      errorCode: int16,
      apiKeys: list({ apiKey: int16, minVersion: int16, maxVersion: int16 }),
      throttleTimeMs: since(1, int32),
      supportedFeatures: tagged(0, 3, list({ name: string, minVersion: int16, maxVersion: int16 })),
      finalizedFeaturesEpoch: tagged(1, 3, int64, -1),
      finalizedFeatures: tagged(
        2,
        3,
        list({ name: string, maxVersionLevel: int16, minVersionLevel: int16 }),
      ),
      zkMigrationReady: tagged(3, 3, bool),
    }),
  }),

  metadata: api({
    key: 3,
    minVersion: 0,
    maxVersion: 12,
    flexibleFrom: 9,
    doc: 'List the broker, the topics and their partitions.',
    kips: [4, 78, 112, 320, 430, 516, 700],
    request: struct({
      topics: nullable(list({ topicId: since(10, uuid), name: nullable(string, 10) }), 1),
      allowAutoTopicCreation: since(4, bool, true),
      includeClusterAuthorizedOperations: between(8, 10, bool),
      includeTopicAuthorizedOperations: since(8, bool),
    }),
    response: struct({
      throttleTimeMs: since(3, int32),
      brokers: list({
        nodeId: int32,
        host: string,
        port: int32,
        rack: since(1, nullable(string, 1)),
      }),
      clusterId: since(2, nullable(string, 2)),
      controllerId: since(1, int32, -1),
      topics: list({
        errorCode: int16,
        name: nullable(string, 12),
        topicId: since(10, uuid),
        isInternal: since(1, bool),
        partitions: list({
          errorCode: int16,
          partitionIndex: int32,
          leaderId: int32,
          leaderEpoch: since(7, int32, -1),
          replicaNodes: array(int32),
          isrNodes: array(int32),
          offlineReplicas: since(5, array(int32)),
        }),
        topicAuthorizedOperations: since(8, int32, operationsUnknown),
      }),
      clusterAuthorizedOperations: between(8, 10, int32, operationsUnknown),
    }),
  }),

  describeCluster: api({
    key: 60,
    minVersion: 0,
    maxVersion: 1,
    flexibleFrom: 0,
    doc: 'Name the cluster and its one broker.',
    kips: [700, 919],
    request: struct({
      includeClusterAuthorizedOperations: bool,
      endpointType: since(1, int8, 1),
    }),
    response: struct({
      throttleTimeMs: optional(int32, 0),
      errorCode: int16,
      errorMessage: optional(nullable(string), null),
      endpointType: since(1, int8, 1),
      clusterId: string,
      controllerId: optional(int32, -1),
      brokers: list({
        brokerId: int32,
        host: string,
        port: int32,
        rack: optional(nullable(string), null),
      }),
      clusterAuthorizedOperations: optional(int32, operationsUnknown),
    }),
  }),
}
