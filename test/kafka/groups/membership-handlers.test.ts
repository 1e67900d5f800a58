import { afterEach, describe, expect, test } from 'vitest'
import { kafkaErrors } from '../../../src/kafka/error-codes.ts'
import type { HandlerClient } from '../call-handlers.ts'
import { CoordinatorBench } from './coordinator-bench.ts'

const protocols = [{ name: 'range', metadata: Buffer.from('topics') }]
const member = {
  sessionTimeoutMs: 10_000,
  rebalanceTimeoutMs: 20_000,
  protocolType: 'consumer',
  protocols,
}

let bench = new CoordinatorBench()
afterEach(() => bench.close())

async function joinAlone(client: HandlerClient, groupId = 'g') {
  const first = await client.call('joinGroup', { ...member, groupId, memberId: '' })
  const { memberId } = first
  const joined = await client.call('joinGroup', { ...member, groupId, memberId })
  const { generationId } = joined
  const assignments = [{ memberId, assignment: Buffer.from('all of it') }]
  const named = { protocolType: 'consumer', protocolName: 'range' }
  const claim = { groupId, memberId, generationId }
  const synced = await client.call('syncGroup', { ...claim, ...named, assignments })
  return { first, joined, synced, claim }
}

describe('a consumer', () => {
  test.each([2, 5, 7, 9])(
    'joins, syncs, sends heartbeats and leaves with JoinGroup v%i',
    async (version) => {
      bench = new CoordinatorBench()
      const client = await bench.start()
      const groupId = 'g'
      const first = await client.call('joinGroup', { ...member, groupId, memberId: '' }, version)
      const { memberId } = first
      expect(first.errorCode).toBe(version >= 4 ? kafkaErrors.memberIdRequired : 0)
      const joined =
        version >= 4
          ? await client.call('joinGroup', { ...member, groupId, memberId }, version)
          : first
      expect(joined).toMatchObject({
        errorCode: 0,
        generationId: 1,
        protocolName: 'range',
        leader: memberId,
        members: [{ memberId, metadata: Buffer.from('topics') }],
      })
      const claim = { groupId, memberId, generationId: 1 }
      const assignments = [{ memberId, assignment: Buffer.from('all of it') }]
      const old = Math.min(version, 3)
      const synced = await client.call('syncGroup', { ...claim, assignments }, old)
      expect(synced).toMatchObject({ errorCode: 0, assignment: Buffer.from('all of it') })
      expect(await client.call('heartbeat', claim, old)).toMatchObject({ errorCode: 0 })
      expect(await client.call('leaveGroup', { groupId, memberId }, 2)).toMatchObject({
        errorCode: 0,
      })
      expect(await client.call('heartbeat', claim)).toMatchObject({
        errorCode: kafkaErrors.unknownMemberId,
      })
    },
  )

  test('that is gone without a word is removed at its session timeout, by the clock alone', async () => {
    bench = new CoordinatorBench()
    const client = await bench.start()
    await joinAlone(client)
    await bench.advance(9_999)
    expect(bench.coordinator.group('g')?.state).toBe('Stable')
    await bench.advance(1)
    expect(bench.coordinator.group('g')?.state).toBe('Empty')
  })

  test('waits for those who join within the initial delay', async () => {
    bench = new CoordinatorBench({ groupInitialRebalanceDelayMs: 500 })
    const client = await bench.start()
    const join = (memberId: string) =>
      client.call('joinGroup', { ...member, groupId: 'g', memberId }, 3)
    const both = Promise.all([join(''), join('')])
    await bench.advance(500)
    await bench.advance(500)
    const [one, other] = await both
    expect([one.generationId, other.generationId]).toEqual([1, 1])
    expect(one.members.length + other.members.length).toBe(2)
  })

  test('does not notice a restart or a power loss: it keeps its place, its part and its generation', async () => {
    bench = new CoordinatorBench()
    const { claim } = await joinAlone(await bench.start())
    bench.files.crash()
    for (const start of ['start', 'restart'] as const) {
      const client = await bench[start]()
      expect(await client.call('heartbeat', claim)).toMatchObject({ errorCode: 0 })
      const asked = { ...claim, assignments: [] }
      expect(await client.call('syncGroup', asked, 4)).toMatchObject({
        errorCode: 0,
        assignment: Buffer.from('all of it'),
      })
      await bench.advance(9_000)
    }
    await bench.advance(1_000)
    expect(bench.coordinator.group('g')?.state).toBe('Empty')
    const { joined } = await joinAlone(bench.client())
    expect(joined.generationId).toBeGreaterThan(claim.generationId)
  })

  test('that was fenced before a power loss is fenced after it', async () => {
    bench = new CoordinatorBench()
    let client = await bench.start()
    const groupInstanceId = 'one'
    const asked = { ...member, groupId: 'g', groupInstanceId, memberId: '' }
    const old = await client.call('joinGroup', asked)
    const claim = { groupId: 'g', memberId: old.memberId, generationId: 1, groupInstanceId }
    const assignments = [{ memberId: old.memberId, assignment: Buffer.from('all of it') }]
    await client.call('syncGroup', { ...claim, assignments }, 4)
    const again = await client.call('joinGroup', asked)
    bench.files.crash()
    client = await bench.start()
    const { fencedInstanceId } = kafkaErrors
    expect(await client.call('heartbeat', claim)).toMatchObject({ errorCode: fencedInstanceId })
    const present = { ...claim, memberId: again.memberId }
    expect(await client.call('heartbeat', present)).toMatchObject({ errorCode: 0 })
  })

  test('that was not heard of while questlog was down for longer than its session timeout is gone at once', async () => {
    bench = new CoordinatorBench()
    const { claim } = await joinAlone(await bench.start())
    await bench.close()
    bench.clock.advance(10_001)
    const client = await bench.start()
    await bench.advance(0)
    expect(await client.call('heartbeat', claim)).toMatchObject({
      errorCode: kafkaErrors.unknownMemberId,
    })
    const { joined } = await joinAlone(client)
    expect(joined.generationId).toBeGreaterThan(claim.generationId)
    // The time of that stop means nothing after a crash.
    const present = { groupId: 'g', memberId: joined.memberId, generationId: joined.generationId }
    bench.files.crash()
    bench.clock.advance(60_000)
    const after = await bench.start()
    expect(await after.call('heartbeat', present)).toMatchObject({ errorCode: 0 })
  })

  test('whose group is too large to be kept joins again after a restart', async () => {
    bench = new CoordinatorBench()
    let client = await bench.start()
    const metadata = Buffer.alloc(5 * 1024 * 1024)
    const large = { ...member, groupId: 'g', protocols: [{ name: 'range', metadata }] }
    const { memberId } = await client.call('joinGroup', { ...large, memberId: '' }, 3)
    const claim = { groupId: 'g', memberId, generationId: 1 }
    await client.call('syncGroup', { ...claim, assignments: [] }, 4)
    client = await bench.restart()
    const { unknownMemberId } = kafkaErrors
    expect(await client.call('heartbeat', claim)).toMatchObject({ errorCode: unknownMemberId })
    expect(bench.coordinator.group('g')).toMatchObject({ state: 'Empty', generationId: 1 })
  })

  test('that waits when questlog stops is told to look for its coordinator again', async () => {
    bench = new CoordinatorBench({ groupInitialRebalanceDelayMs: 500 })
    const client = await bench.start()
    const waiting = client.call('joinGroup', { ...member, groupId: 'g', memberId: '' }, 3)
    await bench.close()
    expect(await waiting).toMatchObject({ errorCode: kafkaErrors.coordinatorNotAvailable })
    const late = client.call('joinGroup', { ...member, groupId: 'g', memberId: '' })
    expect(await late).toMatchObject({ errorCode: kafkaErrors.coordinatorNotAvailable })
  })
})

describe('limits', () => {
  const join = async (client: HandlerClient, asked: object) => {
    const request = { ...member, groupId: 'g', memberId: '', ...asked }
    return (await client.call('joinGroup', request, 3)).errorCode
  }

  test('a session timeout outside of the bounds is refused', async () => {
    bench = new CoordinatorBench()
    const client = await bench.start()
    expect(await join(client, { sessionTimeoutMs: 5_999 })).toBe(kafkaErrors.invalidSessionTimeout)
    expect(await join(client, { sessionTimeoutMs: 1_800_001 })).toBe(
      kafkaErrors.invalidSessionTimeout,
    )
    expect(await join(client, { groupId: '' })).toBe(kafkaErrors.invalidGroupId)
  })

  test('there are no more groups than groupsMax, but those that nobody uses make room', async () => {
    bench = new CoordinatorBench({ groupsMax: 2 })
    const client = await bench.start()
    const { claim } = await joinAlone(client, 'g1')
    expect(await join(client, { groupId: 'g2' })).toBe(0)
    expect(await join(client, { groupId: 'g3' })).toBe(kafkaErrors.groupMaxSizeReached)
    await client.call('leaveGroup', { groupId: 'g1', members: [claim] })
    expect(await join(client, { groupId: 'g3' })).toBe(0)
    expect(bench.coordinator.group('g1')).toBeUndefined()
  })

  test('members hold no more than groupBytesMax, over all groups', async () => {
    bench = new CoordinatorBench({ groupBytesMax: 2_000 })
    const client = await bench.start()
    const large = { protocols: [{ name: 'range', metadata: Buffer.alloc(1_500) }] }
    expect(await join(client, { groupId: 'g1', ...large })).toBe(0)
    expect(await join(client, { groupId: 'g2', ...large })).toBe(kafkaErrors.groupMaxSizeReached)
    await bench.advance(10_000) // the first one is gone
    expect(await join(client, { groupId: 'g2', ...large })).toBe(0)
  })
})

test('an administrator removes several static members at once', async () => {
  bench = new CoordinatorBench()
  const client = await bench.start()
  const groupInstanceId = 'one'
  await client.call('joinGroup', { ...member, groupId: 'g', memberId: '', groupInstanceId })
  const answer = await client.call('leaveGroup', {
    groupId: 'g',
    members: [
      { memberId: '', groupInstanceId },
      { memberId: '', groupInstanceId: 'two' },
    ],
  })
  expect(answer.members.map(({ errorCode }) => errorCode)).toEqual([0, kafkaErrors.unknownMemberId])
  expect(bench.coordinator.group('g')?.state).toBe('Empty')
})

test('who names more protocols than any client has is refused', async () => {
  bench = new CoordinatorBench()
  const client = await bench.start()
  const named = (count: number) =>
    Array.from({ length: count }, (_, n) => ({ name: `p${n}`, metadata: Buffer.alloc(0) }))
  const join = async (count: number) => {
    const asked = { ...member, groupId: 'g', memberId: '', protocols: named(count) }
    return (await client.call('joinGroup', asked)).errorCode
  }
  expect(await join(101)).toBe(kafkaErrors.inconsistentGroupProtocol)
  expect(await join(100)).toBe(kafkaErrors.memberIdRequired)
})
