import { afterEach, expect, test } from 'vitest'
import { kafkaErrors } from '../../../src/kafka/error-codes.ts'
import { CoordinatorBench, offsetsOf } from './coordinator-bench.ts'

let bench = new CoordinatorBench()
afterEach(() => bench.close())

const protocols = [{ name: 'range', metadata: Buffer.from('topics') }]
const member = {
  sessionTimeoutMs: 6_000,
  rebalanceTimeoutMs: 6_000,
  protocolType: 'consumer',
  protocols,
}

async function withGroups() {
  bench = new CoordinatorBench()
  const client = await bench.start()
  await client.call('offsetCommit', { groupId: 'simple', topics: offsetsOf('events', [0, 1]) })
  const joined = await client.call('joinGroup', { ...member, groupId: 'busy', memberId: '' }, 3)
  const { memberId, generationId } = joined
  const assignments = [{ memberId, assignment: Buffer.from('all') }]
  const claim = { groupId: 'busy', memberId, generationId }
  await client.call('syncGroup', { ...claim, assignments }, 4)
  return { client, memberId }
}

test('the coordinator of everything is this broker, at the address that the client has reached', async () => {
  bench = new CoordinatorBench()
  const client = await bench.start()
  const here = { nodeId: 1, host: '127.0.0.1', port: 9092, errorCode: 0 }
  for (const version of [0, 1, 2, 3])
    expect(await client.call('findCoordinator', { key: 'g' }, version)).toMatchObject(here)
  const asked = { keyType: 1, coordinatorKeys: ['t1', 't2'] }
  for (const version of [4, 5, 6]) {
    const { coordinators } = await client.call('findCoordinator', asked, version)
    expect(coordinators).toMatchObject([
      { ...here, key: 't1' },
      { ...here, key: 't2' },
    ])
  }
  const share = await client.call('findCoordinator', { keyType: 2, coordinatorKeys: ['s'] })
  expect(share.coordinators[0]?.errorCode).toBe(kafkaErrors.invalidRequest)
})

test('groups are described with their members and what each is to read', async () => {
  const { client, memberId } = await withGroups()
  const asked = { groups: ['busy', 'simple', 'none'], includeAuthorizedOperations: true }
  const { groups } = await client.call('describeGroups', asked)
  expect(groups).toMatchObject([
    {
      errorCode: 0,
      groupState: 'Stable',
      protocolType: 'consumer',
      protocolData: 'range',
      members: [
        {
          memberId,
          clientId: 'client',
          clientHost: '/127.0.0.1',
          memberMetadata: Buffer.from('topics'),
          memberAssignment: Buffer.from('all'),
        },
      ],
      authorizedOperations: 0b1_0100_1000,
    },
    { errorCode: 0, groupState: 'Empty', protocolType: '', members: [] },
    { errorCode: 0, groupState: 'Dead', members: [] },
  ])
  for (const version of [0, 1, 2, 3, 4])
    expect(
      (await client.call('describeGroups', { groups: ['busy'] }, version)).groups,
    ).toHaveLength(1)
})

test('groups are listed by state and type', async () => {
  const { client } = await withGroups()
  const ids = async (filters: object, version?: number) => {
    const { groups } = await client.call('listGroups', filters, version)
    return groups.map(({ groupId }) => groupId)
  }
  expect((await ids({}, 0)).toSorted()).toEqual(['busy', 'simple'])
  expect(await ids({ statesFilter: ['stable'] })).toEqual(['busy'])
  expect(await ids({ statesFilter: ['Empty'] }, 4)).toEqual(['simple'])
  expect(await ids({ typesFilter: ['Consumer'] })).toEqual([])
  expect(await ids({ typesFilter: ['Classic'], statesFilter: ['Stable'] })).toEqual(['busy'])
})

test('the metrics count groups by state, and members', async () => {
  await withGroups()
  const values = bench.coordinator.metrics().map(({ name, values: found }) => [name, found])
  expect(Object.fromEntries(values)).toMatchObject({
    questlog_broker_groups: [
      { labels: { state: 'Empty' }, value: 1 },
      { labels: { state: 'Stable' }, value: 1 },
    ],
    questlog_broker_group_members: [{ value: 1 }],
  })
})

test('a request that names a group thousands of times is told of it once', async () => {
  const { client } = await withGroups()
  const names = Array.from({ length: 9_000 }, () => 'busy')
  const described = await client.call('describeGroups', { groups: [...names, 'simple'] })
  expect(described.groups.map(({ groupId }) => groupId)).toEqual(['busy', 'simple'])
  const asked = ['simple', ...names].map((groupId) => ({ groupId, topics: null }))
  const { groups } = await client.call('offsetFetch', { groups: asked })
  expect(groups.map(({ groupId, topics }) => [groupId, topics.length])).toEqual([
    ['simple', 1],
    ['busy', 0],
  ])
})
