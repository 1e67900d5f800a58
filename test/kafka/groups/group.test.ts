import { describe, expect, test } from 'vitest'
import { kafkaErrors } from '../../../src/kafka/error-codes.ts'
import { GroupBench, rebalanceTimeoutMs, sessionTimeoutMs } from './support.ts'

describe('joining', () => {
  test('a first member is given an id, then leads a generation, then is stable', () => {
    const bench = new GroupBench()
    const client = bench.client('a')
    expect(client.join()).toMatchObject({
      errorCode: kafkaErrors.memberIdRequired,
      memberId: 'a-1',
    })
    expect(bench.group.state).toBe('Empty')
    expect(client.join()).toMatchObject({
      errorCode: 0,
      generationId: 1,
      leader: 'a-1',
      protocolType: 'consumer',
      protocolName: 'range',
      members: [{ memberId: 'a-1', metadata: Buffer.from('a') }],
    })
    expect(bench.group.state).toBe('CompletingRebalance')
    client.sync()
    expect(client.assignment).toBe('1:a-1')
    expect(bench.group.state).toBe('Stable')
  })

  test('an old client joins without an id of its own at once', () => {
    const client = new GroupBench().client('old', { needsMemberId: false })
    expect(client.join()).toMatchObject({ errorCode: 0, generationId: 1, memberId: 'old-1' })
  })

  test('members that come within the initial delay share the first generation', () => {
    const bench = new GroupBench({ initialRebalanceDelayMs: 500 })
    const [a, b] = [bench.client('a'), bench.client('b')]
    a.joinFully()
    bench.advance(400)
    b.joinFully()
    bench.advance(200) // the newcomer has prolonged the delay
    expect(bench.group.state).toBe('PreparingRebalance')
    bench.advance(400)
    expect([a.joined?.generationId, b.joined?.generationId]).toEqual([1, 1])
    expect(a.joined?.members.map(({ memberId }) => memberId)).toEqual([a.memberId, b.memberId])
    expect(b.joined?.members).toEqual([])
  })

  test('newcomers prolong the initial delay no further than the rebalance timeout', () => {
    const bench = new GroupBench({ initialRebalanceDelayMs: 500 })
    const clients = Array.from({ length: 30 }, (_, index) =>
      bench.client(`c${index}`, { rebalanceTimeoutMs: 2_000 }),
    )
    for (const client of clients.slice(0, 20)) {
      client.joinFully()
      bench.advance(100)
    }
    expect(bench.group.state).toBe('CompletingRebalance')
    expect(bench.group.generationId).toBe(1)
  })

  test('a member whose protocols nobody shares is refused', () => {
    const bench = new GroupBench()
    bench.stable('a')
    const metadata = Buffer.alloc(0)
    const other = bench.client('x', { protocols: [{ name: 'sticky', metadata }] })
    expect(other.join()?.errorCode).toBe(kafkaErrors.inconsistentGroupProtocol)
    const connect = bench.client('y', { protocolType: 'connect' })
    expect(connect.join()?.errorCode).toBe(kafkaErrors.inconsistentGroupProtocol)
    expect(bench.group.state).toBe('Stable')
  })

  test('the protocol that most members like best of those that all can do is taken', () => {
    const bench = new GroupBench({ initialRebalanceDelayMs: 100 })
    const protocols = (...names: string[]) => ({
      protocols: names.map((name) => ({ name, metadata: Buffer.from(name) })),
    })
    const clients = [
      bench.client('a', protocols('only-a', 'range', 'sticky')),
      bench.client('b', protocols('sticky', 'range')),
      bench.client('c', protocols('sticky', 'range')),
    ]
    for (const client of clients) client.joinFully()
    bench.advance(1_000)
    expect(clients.map(({ joined }) => joined?.protocolName)).toEqual(Array(3).fill('sticky'))
    expect(clients[0]?.joined?.members[0]?.metadata.toString()).toBe('sticky')
  })

  test('a group takes no more members than it may have, and its own may still come back', () => {
    const bench = new GroupBench({ membersMax: 2 })
    const [a] = bench.stable('a', 'b')
    expect(bench.client('c').join()?.errorCode).toBe(kafkaErrors.groupMaxSizeReached)
    a.join()
    expect(bench.group.state).toBe('PreparingRebalance')
  })

  test('an id that the group does not know is refused', () => {
    const bench = new GroupBench()
    bench.stable('a')
    const stranger = bench.client('x')
    stranger.memberId = 'x-of-before-the-restart'
    expect(stranger.join()?.errorCode).toBe(kafkaErrors.unknownMemberId)
  })

  test('an id that nobody comes back with holds up a rebalance only for its session timeout', () => {
    const bench = new GroupBench()
    const [a] = bench.stable('a')
    bench.client('b').join() // asks for an id and goes away
    a.join()
    expect(a.joined).toBeUndefined()
    bench.advance(sessionTimeoutMs)
    expect(a.joined).toMatchObject({ errorCode: 0, generationId: 2 })
  })
})

describe('rebalancing', () => {
  test('a newcomer makes the others join again, and each gets its part', () => {
    const bench = new GroupBench()
    const [a, b] = bench.stable('a', 'b')
    const c = bench.client('c')
    c.joinFully()
    expect(a.heartbeat()).toBe(kafkaErrors.rebalanceInProgress)
    expect(c.joined).toBeUndefined()
    const generation = bench.group.generationId
    for (const client of [a, b]) client.join()
    expect(c.joined).toMatchObject({ generationId: generation + 1, leader: a.memberId })
    for (const client of [c, b]) expect(client.sync()).toBeUndefined() // waits for the leader
    a.sync()
    for (const client of [a, b, c])
      expect(client.assignment).toBe(`${generation + 1}:${client.memberId}`)
  })

  test('who does not join again within the rebalance timeout is out', () => {
    const bench = new GroupBench()
    const [a, b] = bench.stable('a', 'b')
    a.join()
    for (let passed = 0; passed < rebalanceTimeoutMs; passed += 5_000) {
      expect(b.heartbeat()).toBe(kafkaErrors.rebalanceInProgress) // lives, but does not come
      bench.advance(5_000)
    }
    expect(a.joined?.members.map(({ memberId }) => memberId)).toEqual([a.memberId])
    expect(b.heartbeat()).toBe(kafkaErrors.unknownMemberId)
  })

  test('who takes a generation and never asks for its part is out after the rebalance timeout', () => {
    const bench = new GroupBench()
    const [a, b] = bench.stable('a', 'b')
    a.join()
    b.join()
    a.sync()
    for (let passed = 0; passed < rebalanceTimeoutMs; passed += 5_000) {
      a.heartbeat()
      b.heartbeat()
      bench.advance(5_000)
    }
    expect(a.heartbeat()).toBe(kafkaErrors.rebalanceInProgress)
    expect(b.heartbeat()).toBe(kafkaErrors.unknownMemberId)
  })

  test('a leader that dies before it has assigned is replaced', () => {
    const bench = new GroupBench()
    const [a, b] = bench.stable('a', 'b')
    a.join()
    b.join()
    expect(b.joined?.leader).toBe(a.memberId)
    b.sync()
    bench.advance(sessionTimeoutMs)
    expect(b.synced?.errorCode).toBe(kafkaErrors.rebalanceInProgress)
    expect(b.join()).toMatchObject({ leader: b.memberId, errorCode: 0 })
    b.sync()
    expect(bench.group.members().map(({ id }) => id)).toEqual([b.memberId])
    expect(bench.group.state).toBe('Stable')
  })

  test('a member that comes back unchanged is told the generation that there is; a leader starts a new one', () => {
    const bench = new GroupBench()
    const [a, b] = bench.stable('a', 'b')
    const generation = bench.group.generationId
    expect(b.join()).toMatchObject({ errorCode: 0, generationId: generation })
    expect(bench.group.state).toBe('Stable')
    expect(a.join()).toBeUndefined()
    expect(bench.group.state).toBe('PreparingRebalance')
  })

  test('a member that comes back with another subscription starts a new generation', () => {
    const bench = new GroupBench()
    const [, b] = bench.stable('a', 'b')
    b.join({ protocols: [{ name: 'range', metadata: Buffer.from('other topics') }] })
    expect(bench.group.state).toBe('PreparingRebalance')
  })

  test('of two joins of one member the earlier is answered too', () => {
    const bench = new GroupBench()
    const [a, b] = bench.stable('a', 'b')
    const answers: number[] = []
    const answer = ({ errorCode }: { errorCode: number }) => answers.push(errorCode)
    const protocols = [{ name: 'range', metadata: Buffer.from('new') }]
    a.join({ protocols, answer })
    a.join({ protocols })
    expect(answers).toEqual([kafkaErrors.rebalanceInProgress])
    b.join()
    expect(a.joined?.errorCode).toBe(0)
  })

  test('what an earlier generation sends is refused', () => {
    const bench = new GroupBench()
    const [a, b] = bench.stable('a', 'b')
    const old = a.claim
    for (const client of [a, b])
      client.join({ protocols: [{ name: 'range', metadata: Buffer.from('2') }] })
    for (const client of [a, b]) client.sync()
    expect(bench.group.heartbeat(old, bench.nowMs)).toBe(kafkaErrors.illegalGeneration)
    expect(bench.group.commit(old, false, bench.nowMs)).toBe(kafkaErrors.illegalGeneration)
    expect(a.heartbeat()).toBe(0)
  })
})

describe('ends', () => {
  test('a member that is silent is removed at its session timeout, not before', () => {
    const bench = new GroupBench()
    const [a, b] = bench.stable('a', 'b')
    bench.advance(sessionTimeoutMs - 1)
    a.heartbeat()
    expect(bench.group.members()).toHaveLength(2)
    bench.advance(1)
    expect(bench.group.members().map(({ id }) => id)).toEqual([a.memberId])
    expect(a.heartbeat()).toBe(kafkaErrors.rebalanceInProgress)
    expect(b.heartbeat()).toBe(kafkaErrors.unknownMemberId)
  })

  test('a member that leaves is gone at once', () => {
    const bench = new GroupBench()
    const [a, b] = bench.stable('a', 'b')
    expect(b.leave()).toBe(0)
    expect(b.leave()).toBe(kafkaErrors.unknownMemberId)
    expect(a.join()).toMatchObject({ errorCode: 0, leader: a.memberId })
    a.sync()
    expect(a.leave()).toBe(0)
    expect(bench.group).toMatchObject({ state: 'Empty', bytes: 0, leaderId: null })
    expect(bench.group.deadlineMs).toBe(Infinity)
  })

  test('only an empty group can be deleted; it takes no one after that', () => {
    const bench = new GroupBench()
    const [a] = bench.stable('a')
    expect(bench.group.delete()).toBe(kafkaErrors.nonEmptyGroup)
    a.leave()
    expect(bench.group.delete()).toBe(0)
    expect(bench.client('b').join()?.errorCode).toBe(kafkaErrors.coordinatorNotAvailable)
  })

  test('everyone who waits is answered when the coordinator ends', () => {
    const bench = new GroupBench()
    const [a, b] = bench.stable('a', 'b')
    b.join()
    a.join({ protocols: [{ name: 'range', metadata: Buffer.from('new') }] })
    b.join({ protocols: [{ name: 'range', metadata: Buffer.from('new') }] })
    b.sync()
    bench.group.close(kafkaErrors.coordinatorNotAvailable)
    expect(b.synced?.errorCode).toBe(kafkaErrors.coordinatorNotAvailable)
  })
})

describe('static members', () => {
  const setUp = () => {
    const bench = new GroupBench({ initialRebalanceDelayMs: 100 })
    const a = bench.client('a', { groupInstanceId: 'one' })
    const b = bench.client('b', { groupInstanceId: 'two' })
    a.join()
    b.join()
    bench.advance(1_000)
    a.sync()
    b.sync()
    return { bench, a, b }
  }

  test('need no id to come back with', () => {
    const { a } = setUp()
    expect(a.joined).toMatchObject({ errorCode: 0, generationId: 1 })
  })

  test('one that is started again takes over its part without a rebalance; the old one is fenced', () => {
    const { bench, a, b } = setUp()
    const again = bench.client('b2', { groupInstanceId: 'two' })
    expect(again.join()).toMatchObject({ errorCode: 0, generationId: 1, leader: a.memberId })
    again.sync()
    expect(again.assignment).toBe(`1:${b.memberId}`)
    expect(b.heartbeat()).toBe(kafkaErrors.fencedInstanceId)
    expect(b.sync()?.errorCode).toBe(kafkaErrors.fencedInstanceId)
    expect(bench.group.commit(b.claim, false, bench.nowMs)).toBe(kafkaErrors.fencedInstanceId)
    expect(a.heartbeat()).toBe(0)
    expect(bench.group.generationId).toBe(1)
  })

  test('a leader that is started again is told to leave the assignment as it is', () => {
    const { bench, a, b } = setUp()
    const again = bench.client('a2', { groupInstanceId: 'one' })
    expect(again.join()).toMatchObject({ skipAssignment: true, leader: again.memberId })
    expect(again.joined?.members.map(({ groupInstanceId }) => groupInstanceId)).toEqual([
      'one',
      'two',
    ])
    again.sync()
    expect(again.assignment).toBe(`1:${a.memberId}`)
    expect(b.heartbeat()).toBe(0)
  })

  test('an old client that leads and is started again believes that another leads', () => {
    const { bench, a } = setUp()
    const again = bench.client('a2', { groupInstanceId: 'one', canSkipAssignment: false })
    expect(again.join()).toMatchObject({ skipAssignment: false, leader: a.memberId, members: [] })
  })

  test('one that is started again while the leader assigns starts a new generation', () => {
    const { bench, a, b } = setUp()
    a.join()
    b.join()
    expect(bench.group.state).toBe('CompletingRebalance')
    b.sync()
    const again = bench.client('b2', { groupInstanceId: 'two' })
    again.join()
    expect(b.synced?.errorCode).toBe(kafkaErrors.fencedInstanceId)
    a.join()
    expect(again.joined).toMatchObject({ errorCode: 0, generationId: 3 })
  })

  test('one that is away at a rebalance keeps its place until its session timeout', () => {
    const { bench, a, b } = setUp()
    const c = bench.client('c', { rebalanceTimeoutMs: 2_000 })
    for (const client of [a, b]) client.join({ rebalanceTimeoutMs: 2_000 })
    for (const client of [a, b]) client.sync()
    c.joinFully()
    a.join({ rebalanceTimeoutMs: 2_000 })
    bench.advance(2_000)
    expect(a.joined?.members.map(({ memberId }) => memberId)).toContain(b.memberId)
    a.sync()
    c.sync()
    a.heartbeat()
    c.heartbeat()
    bench.advance(sessionTimeoutMs - 2_000)
    expect(bench.group.members().map(({ id }) => id)).toEqual([a.memberId, c.memberId])
  })

  test('a leader that is away at a rebalance does not lead the next generation', () => {
    const { bench, a, b } = setUp()
    const c = bench.client('c', { rebalanceTimeoutMs: 2_000 })
    b.join({ rebalanceTimeoutMs: 2_000 })
    for (const client of [a, b]) client.join({ rebalanceTimeoutMs: 2_000 })
    for (const client of [b, a]) client.sync()
    c.joinFully()
    b.join({ rebalanceTimeoutMs: 2_000 })
    bench.advance(2_000)
    expect(bench.group.members().map(({ id }) => id)).toContain(a.memberId)
    expect([b, c].map(({ joined }) => joined?.leader)).toEqual([b.memberId, b.memberId])
  })

  test('one that is started again and never asks for its part is out after the rebalance timeout', () => {
    const { bench, a, b } = setUp()
    for (const client of [a, b]) client.join()
    a.sync() // b was told of the generation and is started again before it has asked
    const again = bench.client('b2', { groupInstanceId: 'two' })
    again.join()
    for (let passed = 0; passed < rebalanceTimeoutMs; passed += 5_000) {
      for (const client of [a, again]) client.heartbeat()
      bench.advance(5_000)
    }
    expect(again.heartbeat()).toBe(kafkaErrors.unknownMemberId)
  })

  test('an administrator removes one by its instance id', () => {
    const { bench, b } = setUp()
    expect(bench.group.leave('', 'two', bench.nowMs)).toBe(0)
    expect(bench.group.leave('', 'two', bench.nowMs)).toBe(kafkaErrors.unknownMemberId)
    expect(bench.group.leave('wrong', 'one', bench.nowMs)).toBe(kafkaErrors.fencedInstanceId)
    expect(b.heartbeat()).toBe(kafkaErrors.unknownMemberId)
  })
})

describe('commits', () => {
  const nobody = { memberId: '', groupInstanceId: null, generationId: -1 }

  test('a client without membership may commit while the group has no members', () => {
    const bench = new GroupBench()
    expect(bench.group.commit(nobody, false, 0)).toBe(0)
    bench.stable('a')
    expect(bench.group.commit(nobody, false, bench.nowMs)).toBe(kafkaErrors.unknownMemberId)
    expect(bench.group.commit(nobody, true, bench.nowMs)).toBe(0)
  })

  test('a member may commit while a rebalance begins, but not before it has its part', () => {
    const bench = new GroupBench()
    const [a, b] = bench.stable('a', 'b')
    expect(bench.group.commit(a.claim, false, bench.nowMs)).toBe(0)
    b.leave()
    expect(bench.group.state).toBe('PreparingRebalance')
    expect(bench.group.commit(a.claim, false, bench.nowMs)).toBe(0)
    a.join()
    expect(bench.group.commit(a.claim, false, bench.nowMs)).toBe(kafkaErrors.rebalanceInProgress)
  })
})
