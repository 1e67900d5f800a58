import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { ClientRequestOf } from '../../src/kafka/apis.ts'
import { KafkaClient } from '../../src/kafka/client.ts'
import { decodeSubscription, encodeSubscription } from '../../src/kafka/consumer-protocol.ts'
import { kafkaErrors } from '../../src/kafka/error-codes.ts'
import { waitFor } from '../support/commands.ts'
import { targets, type Target } from './target.ts'

/** Requests of groups, one by one: what is expected is what Kafka answers. */
describe.each(targets)('groups of $name', ({ start }) => {
  let target: Target
  let client: KafkaClient
  /** Of requests that wait: Kafka answers those of one connection one after the other. */
  let patient: KafkaClient
  let groups = 0

  beforeAll(async () => {
    target = await start()
    const [host = '', port] = target.bootstrap.split(':')
    const options = { host, port: Number(port), clientId: 'c', timeoutMs: 60_000 }
    client = await KafkaClient.open(options)
    patient = await KafkaClient.open(options)
    const topics = ['read', 'other'].map((name) => ({
      name,
      numPartitions: 2,
      replicationFactor: 1,
    }))
    const created = await client.request('createTopics', 7, { topics })
    expect(created.topics.map(({ errorCode }) => errorCode)).toEqual([0, 0])
    // A new Kafka has no coordinator for a while.
    await waitFor('there is a coordinator', 120_000, async () => {
      const asked = { keyType: 0, coordinatorKeys: ['g'] }
      const { coordinators } = await client.request('findCoordinator', 6, asked)
      return coordinators[0]?.errorCode === 0
    })
    await waitFor('groups can be committed to', 120_000, async () => {
      return (await commit('first', {}))[0] === 0
    })
  })
  afterAll(async () => {
    await client.close()
    await patient.close()
    await target[Symbol.asyncDispose]()
  })

  const newGroup = () => `group-${++groups}`
  const metadata = encodeSubscription({ topics: ['read'], userData: null }, 1)
  const protocols = [{ name: 'range', metadata }]

  type Join = Partial<ClientRequestOf<'joinGroup'>> & { readonly groupId: string }
  const join = (over: Join, version = 9, by = client) =>
    by.request('joinGroup', version, {
      // Nobody sends heartbeats here: no member is to go while a slow machine thinks.
      sessionTimeoutMs: 120_000,
      rebalanceTimeoutMs: 120_000,
      memberId: '',
      protocolType: 'consumer',
      protocols,
      ...over,
    })
  const joinFully = async (over: Join) => {
    const first = await join(over)
    return first.errorCode === kafkaErrors.memberIdRequired
      ? join({ ...over, memberId: first.memberId })
      : first
  }
  interface Claim {
    readonly groupId: string
    readonly memberId: string
    readonly generationId: number
  }
  const sync = (claim: Claim, ...others: readonly string[]) => syncBy(client, claim, ...others)
  const syncBy = (by: KafkaClient, claim: Claim, ...others: readonly string[]) =>
    by.request('syncGroup', 5, {
      ...claim,
      protocolType: 'consumer',
      protocolName: 'range',
      assignments: others.map((memberId) => ({ memberId, assignment: Buffer.from(memberId) })),
    })
  const heartbeat = async (claim: Claim) => (await client.request('heartbeat', 4, claim)).errorCode
  const commit = async (
    groupId: string,
    over: object,
    name = 'read',
    partition = {},
    version = 9,
  ) => {
    const partitions = [
      { partitionIndex: 0, committedOffset: 5, committedMetadata: 'm', ...partition },
    ]
    const asked = { groupId, topics: [{ name, partitions }], ...over }
    const { topics } = await client.request('offsetCommit', version, asked)
    return topics.flatMap((topic) => topic.partitions.map(({ errorCode }) => errorCode))
  }
  /** A group of one member that has its part. */
  const alone = async (over: Partial<Join> = {}) => {
    const groupId = newGroup()
    const { memberId, generationId } = await joinFully({ groupId, ...over })
    const claim = { groupId, memberId, generationId }
    expect((await sync(claim, memberId)).errorCode).toBe(0)
    return claim
  }

  test('what does not fit is refused', async () => {
    const groupId = newGroup()
    const none = { groupId, memberId: 'nobody', generationId: 1 }
    expect((await join({ groupId: '' })).errorCode).toBe(kafkaErrors.invalidGroupId)
    expect((await join({ groupId, sessionTimeoutMs: 1 })).errorCode).toBe(
      kafkaErrors.invalidSessionTimeout,
    )
    expect((await join({ groupId, protocols: [] })).errorCode).toBe(
      kafkaErrors.inconsistentGroupProtocol,
    )
    expect((await join({ groupId, memberId: 'nobody' })).errorCode).toBe(
      kafkaErrors.unknownMemberId,
    )
    expect((await sync(none)).errorCode).toBe(kafkaErrors.unknownMemberId)
    expect(await heartbeat(none)).toBe(kafkaErrors.unknownMemberId)
    const left = await client.request('leaveGroup', 5, { groupId, members: [none] })
    expect(left.errorCode).toBe(0)
    expect(left.members[0]?.errorCode).toBe(kafkaErrors.unknownMemberId)
  })

  test('one member joins, syncs, stays and leaves', async () => {
    const groupId = newGroup()
    const first = await join({ groupId })
    expect(first).toMatchObject({ errorCode: kafkaErrors.memberIdRequired, generationId: -1 })
    const joined = await join({ groupId, memberId: first.memberId })
    const { memberId } = first
    expect(joined).toMatchObject({
      errorCode: 0,
      generationId: 1,
      protocolType: 'consumer',
      protocolName: 'range',
      leader: memberId,
      skipAssignment: false,
      memberId,
    })
    expect(joined.members).toEqual([{ memberId, groupInstanceId: null, metadata }])
    const claim = { groupId, memberId, generationId: 1 }
    expect(await heartbeat(claim)).toBe(0)
    const synced = await sync(claim, memberId)
    expect(synced).toMatchObject({ errorCode: 0, protocolType: 'consumer', protocolName: 'range' })
    expect(synced.assignment.toString()).toBe(memberId)
    expect(await heartbeat({ ...claim, generationId: 2 })).toBe(kafkaErrors.illegalGeneration)
    expect(await heartbeat({ ...claim, memberId: 'other' })).toBe(kafkaErrors.unknownMemberId)
    const { groups: described } = await client.request('describeGroups', 5, { groups: [groupId] })
    expect(described[0]).toMatchObject({
      errorCode: 0,
      groupState: 'Stable',
      protocolType: 'consumer',
      protocolData: 'range',
    })
    expect(described[0]?.members).toMatchObject([
      {
        memberId,
        clientId: 'c',
        clientHost: '/127.0.0.1',
        memberAssignment: Buffer.from(memberId),
      },
    ])
    expect(decodeSubscription(described[0]?.members[0]?.memberMetadata ?? metadata).topics).toEqual(
      ['read'],
    )
    const left = await client.request('leaveGroup', 5, { groupId, members: [claim] })
    expect(left.members).toEqual([{ memberId, groupInstanceId: null, errorCode: 0 }])
    expect(await heartbeat(claim)).toBe(kafkaErrors.unknownMemberId)
  })

  test('a second member makes the first join again; both get what the leader says', async () => {
    const sessionTimeoutMs = 15_000
    const one = await alone({ sessionTimeoutMs })
    const { groupId } = one
    const { memberId: second } = await join({ groupId })
    const joining = join({ groupId, memberId: second }, 9, patient)
    await waitFor('the first is asked to join', 60_000, async () => {
      return (await heartbeat(one)) === kafkaErrors.rebalanceInProgress
    })
    expect((await sync(one, one.memberId)).errorCode).toBe(kafkaErrors.rebalanceInProgress)
    expect(await commit(groupId, { ...claimOf(one) })).toEqual([0])
    const first = await join({ groupId, memberId: one.memberId, sessionTimeoutMs })
    const other = await joining
    expect([first.generationId, other.generationId]).toEqual([2, 2])
    expect([first.leader, other.leader]).toEqual([one.memberId, one.memberId])
    expect(first.members.map(({ memberId }) => memberId).toSorted()).toEqual(
      [one.memberId, second].toSorted(),
    )
    expect(other.members).toEqual([])
    const both = {
      one: { ...one, generationId: 2 },
      two: { groupId, memberId: second, generationId: 2 },
    }
    expect(await commit(groupId, claimOf(both.one))).toEqual([kafkaErrors.rebalanceInProgress])
    const waiting = syncBy(patient, both.two)
    expect((await sync(both.one, one.memberId, second)).assignment.toString()).toBe(one.memberId)
    expect((await waiting).assignment.toString()).toBe(second)
    // The first leaves without a word: the second is told within the session timeout.
    await waitFor('the second is alone', 60_000, async () => {
      return (await heartbeat(both.two)) === kafkaErrors.rebalanceInProgress
    })
    const again = await join({ groupId, memberId: second })
    expect(again).toMatchObject({ errorCode: 0, generationId: 3, leader: second })
  })

  const claimOf = ({ memberId, generationId }: Claim) => ({
    memberId,
    generationIdOrMemberEpoch: generationId,
  })

  test('a member with other protocols, or of another kind, does not fit', async () => {
    const { groupId } = await alone()
    const strange = [{ name: 'strange', metadata }]
    for (const over of [{ protocols: strange }, { protocolType: 'connect' }])
      expect((await join({ groupId, ...over })).errorCode).toBe(
        kafkaErrors.inconsistentGroupProtocol,
      )
  })

  test('a static member that comes back takes over without a rebalance, and the old one is fenced', async () => {
    const groupInstanceId = 'one'
    const claim = await alone({ groupInstanceId })
    const { groupId } = claim
    const again = await join({ groupId, groupInstanceId })
    expect(again).toMatchObject({ errorCode: 0, generationId: 1, skipAssignment: true })
    expect(again.leader).toBe(again.memberId)
    expect(again.memberId).not.toBe(claim.memberId)
    const old = { ...claim, groupInstanceId }
    const fenced = kafkaErrors.fencedInstanceId
    expect((await client.request('heartbeat', 4, old)).errorCode).toBe(fenced)
    expect(await commit(groupId, { ...claimOf(claim), groupInstanceId })).toEqual([fenced])
    expect((await join({ ...old })).errorCode).toBe(fenced)
    const unknown = { ...old, groupInstanceId: 'two' }
    expect((await client.request('heartbeat', 4, unknown)).errorCode).toBe(
      kafkaErrors.unknownMemberId,
    )
    const asked = { groupId, groupInstanceId, memberId: again.memberId, generationId: 1 }
    const nameless = await client.request('syncGroup', 5, { ...asked, assignments: [] })
    expect(nameless.errorCode).toBe(kafkaErrors.inconsistentGroupProtocol)
    const synced = await client.request('syncGroup', 4, { ...asked, assignments: [] })
    expect(synced.assignment.toString()).toBe(claim.memberId)
    const before9 = await join({ groupId, groupInstanceId }, 8)
    expect(before9).toMatchObject({ errorCode: 0, leader: again.memberId, members: [] })
    const members = [{ memberId: '', groupInstanceId }]
    const left = await client.request('leaveGroup', 5, { groupId, members })
    expect(left.members[0]?.errorCode).toBe(0)
  })

  test('offsets: who may commit, and what is fetched', async () => {
    const claim = await alone()
    const { groupId } = claim
    expect(await commit(groupId, claimOf(claim))).toEqual([0])
    expect(await commit(groupId, claimOf({ ...claim, generationId: 9 }))).toEqual([
      kafkaErrors.illegalGeneration,
    ])
    expect(await commit(groupId, claimOf({ ...claim, memberId: 'x' }))).toEqual([
      kafkaErrors.unknownMemberId,
    ])
    expect(await commit(groupId, {})).toEqual([kafkaErrors.unknownMemberId])
    expect(await commit(newGroup(), claimOf(claim), 'read', {}, 8)).toEqual([
      kafkaErrors.illegalGeneration,
    ])
    expect(await commit(groupId, claimOf(claim), 'none')).toEqual([
      kafkaErrors.unknownTopicOrPartition,
    ])
    const long = { committedMetadata: 'm'.repeat(5_000) }
    expect(await commit(groupId, claimOf(claim), 'read', long)).toEqual([
      kafkaErrors.offsetMetadataTooLarge,
    ])
    const topics = ['read', 'none'].map((name) => ({ name, partitionIndexes: [0, 1] }))
    const fetch = async (groups: readonly { groupId: string; topics: typeof topics | null }[]) =>
      (await client.request('offsetFetch', 9, { groups, requireStable: true })).groups
    // Here a group is answered once in a request, however often it is asked for.
    const found = [
      ...(await fetch([
        { groupId, topics },
        { groupId: newGroup(), topics },
      ])),
      ...(await fetch([{ groupId, topics: null }])),
    ]
    const offsets = found.map(({ topics: ofTopics }) =>
      ofTopics.flatMap(({ name, partitions }) =>
        partitions.map((at) => [
          name,
          at.partitionIndex,
          at.committedOffset,
          at.metadata,
          at.errorCode,
        ]),
      ),
    )
    const nothing = (name: string, partition: number) => [name, partition, -1, '', 0]
    expect(offsets).toEqual([
      [['read', 0, 5, 'm', 0], nothing('read', 1), nothing('none', 0), nothing('none', 1)],
      [nothing('read', 0), nothing('read', 1), nothing('none', 0), nothing('none', 1)],
      [['read', 0, 5, 'm', 0]],
    ])
  })

  test('offsets are deleted of topics that nobody reads, groups when they are empty', async () => {
    const claim = await alone()
    const { groupId } = claim
    for (const name of ['read', 'other'])
      expect(await commit(groupId, claimOf(claim), name)).toEqual([0])
    const partitions = [{ partitionIndex: 0 }]
    const asked = { groupId, topics: ['read', 'other'].map((name) => ({ name, partitions })) }
    const deleted = await client.request('offsetDelete', 0, asked)
    const outcomes = deleted.topics.map((topic) => [topic.name, topic.partitions[0]?.errorCode])
    expect(Object.fromEntries(outcomes)).toEqual({
      other: 0,
      read: kafkaErrors.groupSubscribedToTopic,
    })
    const unknown = await client.request('offsetDelete', 0, { ...asked, groupId: newGroup() })
    expect(unknown.errorCode).toBe(kafkaErrors.groupIdNotFound)
    const remove = async () => {
      const groupsNames = [groupId, 'never-there']
      const { results } = await client.request('deleteGroups', 2, { groupsNames })
      return Object.fromEntries(results.map((result) => [result.groupId, result.errorCode]))
    }
    const never = { 'never-there': kafkaErrors.groupIdNotFound }
    expect(await remove()).toEqual({ ...never, [groupId]: kafkaErrors.nonEmptyGroup })
    await client.request('leaveGroup', 5, { groupId, members: [claim] })
    const listed = await client.request('listGroups', 5, {
      statesFilter: ['Empty'],
      typesFilter: ['classic'],
    })
    expect(listed.groups).toContainEqual({
      groupId,
      protocolType: 'consumer',
      groupState: 'Empty',
      groupType: 'classic',
    })
    expect(await remove()).toEqual({ ...never, [groupId]: 0 })
    const { groups: described } = await client.request('describeGroups', 5, { groups: [groupId] })
    expect(described[0]).toMatchObject({ groupState: 'Dead', members: [] })
  })
})
