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

/** Messages that create, change and remove topics (public protocol guide, "API Keys"). */

const changeAnswers = list({
  errorCode: int16,
  errorMessage: nullable(string),
  resourceType: int8,
  resourceName: string,
})

export const topicApis = {
  createTopics: api({
    key: 19,
    minVersion: 0,
    maxVersion: 7,
    flexibleFrom: 5,
    doc: 'Create topics with replication factor 1 (or -1), or only check whether they could be.',
    kips: [4, 464, 516, 525, 599],
    request: struct({
      topics: list({
        name: string,
        numPartitions: int32,
        replicationFactor: int16,
        assignments: optional(list({ partitionIndex: int32, brokerIds: array(int32) }), []),
        configs: optional(list({ name: string, value: nullable(string) }), []),
      }),
      timeoutMs: optional(int32, 60_000),
      validateOnly: since(1, bool),
    }),
    response: struct({
      throttleTimeMs: since(2, int32),
      topics: list({
        name: string,
        topicId: since(7, uuid),
        errorCode: int16,
        errorMessage: since(1, nullable(string)),
        topicConfigErrorCode: tagged(0, 5, int16),
        numPartitions: since(5, int32, -1),
        replicationFactor: since(5, int16, -1),
        configs: since(
          5,
          nullable(
            list({
              name: string,
              value: nullable(string),
              readOnly: bool,
              configSource: optional(int8, -1),
              isSensitive: bool,
            }),
            5,
          ),
          [],
        ),
      }),
    }),
  }),

  deleteTopics: api({
    key: 20,
    minVersion: 0,
    maxVersion: 6,
    flexibleFrom: 4,
    doc: 'Delete topics by name or id. Refused for a topic that feeds a table.',
    kips: [4, 516, 525, 599],
    request: struct({
      topics: since(6, list({ name: optional(nullable(string), null), topicId: uuid })),
      topicNames: between(0, 5, array(string)),
      timeoutMs: int32,
    }),
    response: struct({
      throttleTimeMs: since(1, int32),
      responses: list({
        name: nullable(string, 6),
        topicId: since(6, uuid),
        errorCode: int16,
        errorMessage: since(5, nullable(string)),
      }),
    }),
  }),

  createPartitions: api({
    key: 37,
    minVersion: 0,
    maxVersion: 3,
    flexibleFrom: 2,
    doc: 'Add partitions to topics.',
    kips: [195, 525, 599],
    request: struct({
      topics: list({
        name: string,
        count: int32,
        assignments: nullable(list({ brokerIds: array(int32) })),
      }),
      timeoutMs: int32,
      validateOnly: bool,
    }),
    response: struct({
      throttleTimeMs: optional(int32, 0),
      results: list({
        name: string,
        errorCode: int16,
        errorMessage: optional(nullable(string), null),
      }),
    }),
  }),

  deleteRecords: api({
    key: 21,
    minVersion: 0,
    maxVersion: 2,
    flexibleFrom: 2,
    doc: 'Delete the records before an offset. Refused beyond what the tables of the topic have committed.',
    kips: [107],
    request: struct({
      topics: list({
        name: string,
        partitions: list({ partitionIndex: int32, offset: int64 }),
      }),
      timeoutMs: int32,
    }),
    response: struct({
      throttleTimeMs: optional(int32, 0),
      topics: list({
        name: string,
        partitions: list({ partitionIndex: int32, lowWatermark: int64, errorCode: int16 }),
      }),
    }),
  }),

  describeConfigs: api({
    key: 32,
    minVersion: 0,
    maxVersion: 4,
    flexibleFrom: 4,
    doc: 'Show the configs of topics and of the broker, with where each value comes from.',
    kips: [133, 226, 569],
    request: struct({
      resources: list({
        resourceType: int8,
        resourceName: string,
        configurationKeys: nullable(array(string)),
      }),
      includeSynonyms: since(1, bool),
      includeDocumentation: since(3, bool),
    }),
    response: struct({
      throttleTimeMs: optional(int32, 0),
      results: list({
        errorCode: int16,
        errorMessage: nullable(string),
        resourceType: int8,
        resourceName: string,
        configs: list({
          name: string,
          value: nullable(string),
          readOnly: bool,
          isDefault: between(0, 0, bool),
          configSource: since(1, int8, -1),
          isSensitive: bool,
          synonyms: since(1, list({ name: string, value: nullable(string), source: int8 })),
          configType: since(3, int8),
          documentation: since(3, nullable(string)),
        }),
      }),
    }),
  }),

  alterConfigs: api({
    key: 33,
    minVersion: 0,
    maxVersion: 2,
    flexibleFrom: 2,
    doc: 'Replace all configs of topics. IncrementalAlterConfigs is the better way.',
    kips: [133],
    request: struct({
      resources: list({
        resourceType: int8,
        resourceName: string,
        configs: list({ name: string, value: nullable(string) }),
      }),
      validateOnly: bool,
    }),
    response: struct({ throttleTimeMs: optional(int32, 0), responses: changeAnswers }),
  }),

  incrementalAlterConfigs: api({
    key: 44,
    minVersion: 0,
    maxVersion: 1,
    flexibleFrom: 1,
    doc: 'Set or reset single configs of topics.',
    kips: [339],
    request: struct({
      resources: list({
        resourceType: int8,
        resourceName: string,
        configs: list({ name: string, configOperation: int8, value: nullable(string) }),
      }),
      validateOnly: bool,
    }),
    response: struct({ throttleTimeMs: optional(int32, 0), responses: changeAnswers }),
  }),
}
