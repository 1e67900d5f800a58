import { kafkaErrors } from '../error-codes.ts'
import type { Handler } from '../handler.ts'
import type { GroupCoordinator } from './coordinator.ts'
import { syncRefusal } from './member.ts'

/**
 * JoinGroup v0-9.
 * - Answers when the others have joined, or the rebalance timeout has passed.
 * - From v4 on a first join is answered with MEMBER_ID_REQUIRED and an id (KIP-394); v5 static members (KIP-345); v7 names the protocol
 *   type (KIP-559); v8 reasons are ignored (KIP-800); v9 may say `skipAssignment` to a static leader that came back (KIP-814).
 * - v0 has no rebalance timeout: the session timeout stands in.
 */
export function joinGroupHandler(coordinator: GroupCoordinator): Handler<'joinGroup'> {
  return {
    api: 'joinGroup',
    minVersion: 0,
    maxVersion: 9,
    async handle(request, { apiVersion, clientId, connection }) {
      const answer = await coordinator.join(request.groupId, {
        memberId: request.memberId,
        groupInstanceId: request.groupInstanceId,
        clientId: clientId ?? '',
        clientHost: `/${connection.clientHost}`,
        sessionTimeoutMs: request.sessionTimeoutMs,
        rebalanceTimeoutMs:
          request.rebalanceTimeoutMs < 0 ? request.sessionTimeoutMs : request.rebalanceTimeoutMs,
        protocolType: request.protocolType,
        protocols: request.protocols,
        needsMemberId: apiVersion >= 4,
        canSkipAssignment: apiVersion >= 9,
      })
      // Null from v7 on only.
      const protocolName = answer.protocolName ?? (apiVersion >= 7 ? null : '')
      return { ...answer, protocolName }
    },
  }
}

/** SyncGroup v0-5. Answers when the leader has sent the assignments. v5 must name protocol type and name (KIP-559). */
export function syncGroupHandler(coordinator: GroupCoordinator): Handler<'syncGroup'> {
  return {
    api: 'syncGroup',
    minVersion: 0,
    maxVersion: 5,
    async handle(request, { apiVersion }) {
      const { protocolType, protocolName } = request
      if (apiVersion >= 5 && (protocolType === null || protocolName === null))
        return syncRefusal(kafkaErrors.inconsistentGroupProtocol)
      return coordinator.sync(request.groupId, {
        memberId: request.memberId,
        groupInstanceId: request.groupInstanceId,
        generationId: request.generationId,
        protocolType,
        protocolName,
        assignments: new Map(
          request.assignments.map(({ memberId, assignment }) => [memberId, assignment]),
        ),
      })
    },
  }
}

/** Heartbeat v0-4. REBALANCE_IN_PROGRESS asks the member to join again. */
export function heartbeatHandler(coordinator: GroupCoordinator): Handler<'heartbeat'> {
  return {
    api: 'heartbeat',
    minVersion: 0,
    maxVersion: 4,
    async handle(request) {
      return { errorCode: coordinator.heartbeat(request.groupId, request) }
    },
  }
}

/** LeaveGroup v0-5. From v3 on several members at once, static ones by instance id (KIP-345); v5 reasons are ignored (KIP-800). */
export function leaveGroupHandler(coordinator: GroupCoordinator): Handler<'leaveGroup'> {
  return {
    api: 'leaveGroup',
    minVersion: 0,
    maxVersion: 5,
    async handle({ groupId, memberId, members }, { apiVersion }) {
      if (apiVersion < 3) return { errorCode: coordinator.leave(groupId, memberId, null) }
      if (groupId === '') return { errorCode: kafkaErrors.invalidGroupId }
      const left = members.map((member) => ({
        memberId: member.memberId,
        groupInstanceId: member.groupInstanceId,
        errorCode: coordinator.leave(groupId, member.memberId, member.groupInstanceId),
      }))
      return { errorCode: kafkaErrors.none, members: left }
    },
  }
}
