import { api } from './api.ts'
import {
  array,
  between,
  bool,
  bytes,
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
} from './schema.ts'

/** Messages of consumer groups, classic protocol (public protocol guide, "API Keys"; KIP-62, KIP-345, KIP-394, KIP-429). */

const groupInstanceId = (from: number) => since(from, nullable(string, from))

export const groupApis = {
  findCoordinator: api({
    key: 10,
    minVersion: 0,
    maxVersion: 6,
    flexibleFrom: 3,
    doc: 'Find the broker of a group or of a transactional id: always this one.',
    kips: [98, 699, 890, 932],
    request: struct({
      key: between(0, 3, string),
      keyType: since(1, int8),
      coordinatorKeys: since(4, array(string)),
    }),
    response: struct({
      throttleTimeMs: since(1, int32),
      errorCode: between(0, 3, int16),
      errorMessage: between(1, 3, nullable(string, 1), ''),
      nodeId: between(0, 3, int32),
      host: between(0, 3, string),
      port: between(0, 3, int32),
      coordinators: since(
        4,
        list({
          key: string,
          nodeId: int32,
          host: string,
          port: int32,
          errorCode: int16,
          errorMessage: optional(nullable(string, 4), ''),
        }),
      ),
    }),
  }),

  joinGroup: api({
    key: 11,
    minVersion: 0,
    maxVersion: 9,
    flexibleFrom: 6,
    doc: 'Become a member of a group and wait until the others have joined.',
    kips: [62, 345, 394, 559, 800, 814],
    request: struct({
      groupId: string,
      sessionTimeoutMs: int32,
      rebalanceTimeoutMs: since(1, int32, -1),
      memberId: string,
      groupInstanceId: groupInstanceId(5),
      protocolType: string,
      protocols: list({ name: string, metadata: bytes }),
      reason: since(8, nullable(string, 8)),
    }),
    response: struct({
      throttleTimeMs: since(2, int32),
      errorCode: int16,
      generationId: optional(int32, -1),
      protocolType: since(7, nullable(string, 7)),
      protocolName: optional(nullable(string, 7), ''),
      leader: string,
      skipAssignment: since(9, bool),
      memberId: string,
      members: list({
        memberId: string,
        groupInstanceId: groupInstanceId(5),
        metadata: bytes,
      }),
    }),
  }),

  syncGroup: api({
    key: 14,
    minVersion: 0,
    maxVersion: 5,
    flexibleFrom: 4,
    doc: "Hand in the leader's assignment, or wait for it.",
    kips: [345, 559],
    request: struct({
      groupId: string,
      generationId: int32,
      memberId: string,
      groupInstanceId: groupInstanceId(3),
      protocolType: since(5, nullable(string, 5)),
      protocolName: since(5, nullable(string, 5)),
      assignments: list({ memberId: string, assignment: bytes }),
    }),
    response: struct({
      throttleTimeMs: since(1, int32),
      errorCode: int16,
      protocolType: since(5, nullable(string, 5)),
      protocolName: since(5, nullable(string, 5)),
      assignment: bytes,
    }),
  }),

  heartbeat: api({
    key: 12,
    minVersion: 0,
    maxVersion: 4,
    flexibleFrom: 4,
    doc: 'Stay a member of a group; learns of a rebalance.',
    kips: [345],
    request: struct({
      groupId: string,
      generationId: int32,
      memberId: string,
      groupInstanceId: groupInstanceId(3),
    }),
    response: struct({ throttleTimeMs: since(1, int32), errorCode: int16 }),
  }),

  leaveGroup: api({
    key: 13,
    minVersion: 0,
    maxVersion: 5,
    flexibleFrom: 4,
    doc: 'Leave a group, or remove members from it.',
    kips: [345, 571, 800],
    request: struct({
      groupId: string,
      memberId: between(0, 2, string),
      members: since(
        3,
        list({
          memberId: string,
          groupInstanceId: optional(nullable(string), null),
          reason: since(5, nullable(string)),
        }),
      ),
    }),
    response: struct({
      throttleTimeMs: since(1, int32),
      errorCode: int16,
      members: since(
        3,
        list({ memberId: string, groupInstanceId: nullable(string), errorCode: int16 }),
      ),
    }),
  }),

  offsetCommit: api({
    key: 8,
    minVersion: 2,
    maxVersion: 9,
    flexibleFrom: 8,
    doc: 'Keep the offsets up to which a group has read.',
    kips: [98, 211, 320, 345],
    request: struct({
      groupId: string,
      generationIdOrMemberEpoch: since(1, int32, -1),
      memberId: since(1, string),
      groupInstanceId: groupInstanceId(7),
      retentionTimeMs: between(2, 4, int64, -1),
      topics: list({
        name: string,
        partitions: list({
          partitionIndex: int32,
          committedOffset: int64,
          committedLeaderEpoch: since(6, int32, -1),
          committedMetadata: nullable(string),
        }),
      }),
    }),
    response: struct({
      throttleTimeMs: since(3, int32),
      topics: list({
        name: string,
        partitions: list({ partitionIndex: int32, errorCode: int16 }),
      }),
    }),
  }),

  offsetFetch: api({
    key: 9,
    minVersion: 1,
    maxVersion: 9,
    flexibleFrom: 6,
    doc: 'Read the offsets that groups have committed.',
    kips: [88, 320, 447, 709],
    request: struct({
      groupId: between(0, 7, string),
      topics: between(
        0,
        7,
        nullable(list({ name: string, partitionIndexes: array(int32) }), 2),
        [],
      ),
      groups: since(
        8,
        list({
          groupId: string,
          memberId: since(9, nullable(string, 9)),
          memberEpoch: since(9, int32, -1),
          topics: nullable(list({ name: string, partitionIndexes: array(int32) })),
        }),
      ),
      requireStable: since(7, bool),
    }),
    response: struct({
      throttleTimeMs: since(3, int32),
      topics: between(
        0,
        7,
        list({
          name: string,
          partitions: list({
            partitionIndex: int32,
            committedOffset: int64,
            committedLeaderEpoch: since(5, int32, -1),
            metadata: nullable(string),
            errorCode: int16,
          }),
        }),
      ),
      errorCode: between(2, 7, int16),
      groups: since(
        8,
        list({
          groupId: string,
          topics: list({
            name: string,
            partitions: list({
              partitionIndex: int32,
              committedOffset: int64,
              committedLeaderEpoch: optional(int32, -1),
              metadata: nullable(string),
              errorCode: int16,
            }),
          }),
          errorCode: int16,
        }),
      ),
    }),
  }),

  offsetDelete: api({
    key: 47,
    minVersion: 0,
    maxVersion: 0,
    flexibleFrom: Number.POSITIVE_INFINITY,
    doc: 'Forget committed offsets of a group for topics that it does not read now.',
    kips: [496],
    request: struct({
      groupId: string,
      topics: list({ name: string, partitions: list({ partitionIndex: int32 }) }),
    }),
    response: struct({
      errorCode: int16,
      throttleTimeMs: optional(int32, 0),
      topics: list({
        name: string,
        partitions: list({ partitionIndex: int32, errorCode: int16 }),
      }),
    }),
  }),

  listGroups: api({
    key: 16,
    minVersion: 0,
    maxVersion: 5,
    flexibleFrom: 3,
    doc: 'List the groups, by state and type.',
    kips: [518, 848],
    request: struct({
      statesFilter: since(4, array(string)),
      typesFilter: since(5, array(string)),
    }),
    response: struct({
      throttleTimeMs: since(1, int32),
      errorCode: int16,
      groups: list({
        groupId: string,
        protocolType: string,
        groupState: since(4, string),
        groupType: since(5, string),
      }),
    }),
  }),

  describeGroups: api({
    key: 15,
    minVersion: 0,
    maxVersion: 5,
    flexibleFrom: 5,
    doc: 'Show the members of groups and what each is assigned.',
    kips: [345, 430],
    request: struct({
      groups: array(string),
      includeAuthorizedOperations: since(3, bool),
    }),
    response: struct({
      throttleTimeMs: since(1, int32),
      groups: list({
        errorCode: int16,
        groupId: string,
        groupState: string,
        protocolType: string,
        protocolData: string,
        members: list({
          memberId: string,
          groupInstanceId: groupInstanceId(4),
          clientId: string,
          clientHost: string,
          memberMetadata: bytes,
          memberAssignment: bytes,
        }),
        authorizedOperations: since(3, int32, -0x80000000),
      }),
    }),
  }),

  deleteGroups: api({
    key: 42,
    minVersion: 0,
    maxVersion: 2,
    flexibleFrom: 2,
    doc: 'Delete groups without members, with their offsets.',
    kips: [229],
    request: struct({ groupsNames: array(string) }),
    response: struct({
      throttleTimeMs: optional(int32, 0),
      results: list({ groupId: string, errorCode: int16 }),
    }),
  }),
}
