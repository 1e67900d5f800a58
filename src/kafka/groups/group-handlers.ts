import { kafkaErrors } from '../error-codes.ts'
import type { AnyHandler, Handler } from '../handler.ts'
import { addressFor, type Address } from '../metadata.ts'
import type { GroupCoordinator, TopicSource } from './coordinator.ts'
import type { Group } from './group.ts'
import { metadataOf, noBytes } from './member.ts'
import {
  heartbeatHandler,
  joinGroupHandler,
  leaveGroupHandler,
  syncGroupHandler,
} from './membership-handlers.ts'
import type { OffsetCommits } from './offset-commits.ts'
import { offsetCommitHandler, offsetDeleteHandler, offsetFetchHandler } from './offset-handlers.ts'

export interface GroupParts {
  readonly coordinator: GroupCoordinator
  readonly commits: OffsetCommits
  readonly topics: TopicSource
  readonly brokerId: number
  readonly advertised: Address | null
}

/** Kinds of coordinators (public protocol guide, FindCoordinator). */
const groupKey = 0
const transactionKey = 1
/** What may be done with a group, as bits (KIP-430): read 3, delete 6, describe 8. Everybody may. */
const groupOperations = (1 << 3) | (1 << 6) | (1 << 8)

/** The APIs of consumer groups. */
export function groupHandlers(parts: GroupParts): readonly AnyHandler[] {
  const { coordinator, commits, topics } = parts
  return [
    findCoordinatorHandler(parts),
    joinGroupHandler(coordinator),
    syncGroupHandler(coordinator),
    heartbeatHandler(coordinator),
    leaveGroupHandler(coordinator),
    offsetCommitHandler(commits),
    offsetFetchHandler(coordinator, topics),
    offsetDeleteHandler(coordinator, topics),
    describeGroupsHandler(coordinator),
    listGroupsHandler(coordinator),
    deleteGroupsHandler(coordinator),
  ]
}

/** FindCoordinator v0-6: this broker, for groups and for transactions (v1); v4 takes several keys (KIP-699). Share groups (v6, KIP-932) there are none. */
function findCoordinatorHandler(parts: GroupParts): Handler<'findCoordinator'> {
  return {
    api: 'findCoordinator',
    minVersion: 0,
    maxVersion: 6,
    async handle({ key, keyType, coordinatorKeys }, { apiVersion, connection }) {
      const isServed = keyType === groupKey || keyType === transactionKey
      const answer = isServed
        ? {
            errorCode: kafkaErrors.none,
            errorMessage: null,
            nodeId: parts.brokerId,
            ...addressFor(connection, parts.advertised),
          }
        : {
            errorCode: kafkaErrors.invalidRequest,
            errorMessage: `there are no coordinators of type ${keyType}, only of groups (0) and transactions (1)`,
            nodeId: -1,
            host: '',
            port: -1,
          }
      if (apiVersion < 4) return { ...answer, key }
      return { coordinators: coordinatorKeys.map((asked) => ({ ...answer, key: asked })) }
    },
  }
}

/** DescribeGroups v0-5, each group once. One that does not exist is answered as `Dead`, without an error. What members say and get is shown when the group is stable. */
function describeGroupsHandler(coordinator: GroupCoordinator): Handler<'describeGroups'> {
  return {
    api: 'describeGroups',
    minVersion: 0,
    maxVersion: 5,
    async handle({ groups, includeAuthorizedOperations }) {
      return {
        groups: [...new Set(groups)].map((groupId) => ({
          errorCode: kafkaErrors.none,
          groupId,
          ...describe(coordinator.group(groupId)),
          ...(includeAuthorizedOperations ? { authorizedOperations: groupOperations } : {}),
        })),
      }
    },
  }
}

function describe(group: Group | undefined) {
  if (group === undefined)
    return { groupState: 'Dead', protocolType: '', protocolData: '', members: [] }
  const isStable = group.state === 'Stable'
  return {
    groupState: group.state,
    protocolType: group.protocolType ?? '',
    protocolData: (isStable ? group.protocolName : null) ?? '',
    members: group.members().map((member) => ({
      memberId: member.id,
      groupInstanceId: member.groupInstanceId,
      clientId: member.clientId,
      clientHost: member.clientHost,
      memberMetadata: isStable ? metadataOf(member, group.protocolName) : noBytes,
      memberAssignment: isStable ? member.assignment : noBytes,
    })),
  }
}

/** ListGroups v0-5: v4 filters by state (KIP-518), v5 by type (KIP-848): all are `classic`. Filters ignore case. */
function listGroupsHandler(coordinator: GroupCoordinator): Handler<'listGroups'> {
  const fits = (filter: readonly string[], value: string) =>
    filter.length === 0 || filter.some((text) => text.toLowerCase() === value.toLowerCase())
  return {
    api: 'listGroups',
    minVersion: 0,
    maxVersion: 5,
    async handle({ statesFilter, typesFilter }) {
      const groups = fits(typesFilter, 'classic') ? coordinator.groups() : []
      return {
        errorCode: kafkaErrors.none,
        groups: groups
          .filter(({ state }) => fits(statesFilter, state))
          .map(({ id, protocolType, state }) => ({
            groupId: id,
            protocolType: protocolType ?? '',
            groupState: state,
            groupType: 'classic',
          })),
      }
    },
  }
}

/** DeleteGroups v0-2: only groups without members; their offsets go with them, durably. */
function deleteGroupsHandler(coordinator: GroupCoordinator): Handler<'deleteGroups'> {
  return {
    api: 'deleteGroups',
    minVersion: 0,
    maxVersion: 2,
    async handle({ groupsNames }) {
      const results = groupsNames.map(async (groupId) => ({
        groupId,
        errorCode: await coordinator.delete(groupId),
      }))
      return { results: await Promise.all(results) }
    },
  }
}
