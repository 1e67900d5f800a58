import { readFile } from 'node:fs/promises'
import { gzipSync } from 'node:zlib'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { sealBatch } from '../../src/log/record-batch.ts'
import { batchOf, batchOfAll } from '../support/kafka-batches.ts'
import { askKafka, exchangeKafka, kafkaSession, requestBytes } from '../support/kafka-fuzz.ts'
import { Instance } from '../support/instance.ts'
import { Game } from './game.ts'
import { LoopPauses } from './loop-pauses.ts'

/** Rounds of a hundred connections; more by QUESTLOG_FUZZ_RUNS. */
const rounds = Number(process.env['QUESTLOG_FUZZ_RUNS'] ?? 10)
const seed = Number(process.env['QUESTLOG_SEED'] ?? 20180726)

const MiB = 1024 * 1024
const names = (count: number) => Array.from({ length: count }, (_, n) => `n${n}`)
const places = (count: number) => Array.from({ length: count }, (_, index) => index)

/** A batch with a record area of zeroes, whose checksum is wrong. */
function hollowBatch(bytes: number): Buffer {
  const batch = Buffer.concat([batchOf('x').subarray(0, 61), Buffer.alloc(bytes)])
  batch.writeInt32BE(batch.length - 12, 8)
  return batch
}

/** A batch that is right, and grows to a gibibyte when it is decompressed. */
function bomb(): Buffer {
  const batch = Buffer.concat([batchOf('x').subarray(0, 61), gzipSync(Buffer.alloc(1024 * MiB))])
  batch.writeInt32BE(batch.length - 12, 8)
  batch.writeInt16BE(1, 21)
  batch.writeInt32BE(499, 23)
  batch.writeInt32BE(500, 57)
  sealBatch(batch)
  return batch
}

function produceOf(batches: readonly Buffer[], topic = 'events'): Buffer {
  const partitionData = batches.map((records, index) => ({ index, records }))
  const topicData = [{ name: topic, partitionData }]
  return requestBytes('produce', 9, { acks: -1, timeoutMs: 100, topicData })
}

/** Requests that are as large, or as much work, as the limits allow. */
const heavyRequests: Readonly<Record<string, () => Buffer>> = {
  'Metadata of 9,900 topics': () =>
    requestBytes('metadata', 9, {
      topics: names(9_900).map((name) => ({ name })),
      allowAutoTopicCreation: false,
    }),
  'Metadata of one topic 9,900 times': () =>
    requestBytes('metadata', 9, { topics: names(9_900).map(() => ({ name: 'events' })) }),
  'Metadata that makes 1,000 topics': () =>
    requestBytes('metadata', 9, { topics: names(1_000).map((name) => ({ name: `made-${name}` })) }),
  'Fetch of 3,000 partitions': () =>
    requestBytes('fetch', 12, {
      maxWaitMs: 50,
      minBytes: 1,
      topics: [
        {
          topic: 'events',
          partitions: places(3_000).map((partition) => ({
            partition,
            fetchOffset: 0,
            partitionMaxBytes: MiB,
          })),
        },
      ],
    }),
  'Fetch of 9,900 partitions': () =>
    requestBytes('fetch', 12, {
      maxWaitMs: 50,
      minBytes: 1,
      topics: [
        {
          topic: 'events',
          partitions: places(9_900).map(() => ({
            partition: 0,
            fetchOffset: 0,
            partitionMaxBytes: MiB,
          })),
        },
      ],
    }),
  'ListOffsets of 9,900 partitions': () =>
    requestBytes('listOffsets', 5, {
      topics: [
        {
          name: 'events',
          partitions: places(9_900).map(() => ({ partitionIndex: 0, timestamp: 1 })),
        },
      ],
    }),
  'Produce to 2,900 partitions': () => produceOf(places(2_900).map(() => batchOf('{}'))),
  'Produce to 9,900 partitions': () => produceOf(places(9_900).map(() => Buffer.alloc(0))),
  'Produce of 90 MiB with a wrong checksum': () => produceOf([hollowBatch(90 * MiB)]),
  'Produce of 90 MiB in batches of 100 bytes': () =>
    produceOf([Buffer.concat(Array.from({ length: 900_000 }, () => hollowBatch(39)))]),
  'Produce of 20 MiB in many batches of one partition': () =>
    produceOf([Buffer.concat(Array.from({ length: 290_000 }, () => batchOf('{}')))], 'made-n0'),
  'Produce of a batch of 500,000 records': () =>
    produceOf([batchOfAll(places(500_000).map(() => ''))], 'made-n0'),
  'Produce of a batch that grows to 1 GiB': () => produceOf([bomb()]),
  'Produce of a batch with 2 billion records': () => {
    const batch = batchOf('x')
    batch.writeInt32BE(0x7fffffff, 57)
    batch.writeInt32BE(0x7ffffffe, 23)
    return produceOf([batch])
  },
  'OffsetCommit of 9,900 partitions': () =>
    requestBytes('offsetCommit', 8, {
      groupId: 'g',
      generationIdOrMemberEpoch: -1,
      memberId: '',
      topics: [
        {
          name: 'events',
          partitions: places(9_900).map((partitionIndex) => ({
            partitionIndex,
            committedOffset: 1,
            committedMetadata: '',
          })),
        },
      ],
    }),
  'FindCoordinator of 9,900 keys': () =>
    requestBytes('findCoordinator', 4, { keyType: 0, coordinatorKeys: names(9_900) }),
  'DescribeGroups of 9,900 groups': () =>
    requestBytes('describeGroups', 5, { groups: names(9_900) }),
  'JoinGroup with 9,900 protocols': () =>
    requestBytes('joinGroup', 5, {
      groupId: 'many',
      sessionTimeoutMs: 10_000,
      rebalanceTimeoutMs: 10_000,
      memberId: '',
      protocolType: 'consumer',
      protocols: names(9_900).map((name) => ({ name, metadata: Buffer.alloc(1) })),
    }),
  'DeleteGroups of 9,900 groups': () =>
    requestBytes('deleteGroups', 2, { groupsNames: names(9_900) }),
  'CreateTopics of 9,900 topics that can not be': () =>
    requestBytes('createTopics', 7, {
      topics: names(9_900).map((name) => ({
        name: `no!${name}`,
        numPartitions: 1,
        replicationFactor: 1,
        assignments: [],
        configs: [],
      })),
      timeoutMs: 1_000,
    }),
  'DescribeConfigs of 9,900 topics': () =>
    requestBytes('describeConfigs', 4, {
      resources: names(9_900).map(() => ({
        resourceType: 2,
        resourceName: 'events',
        configurationKeys: null,
      })),
    }),
}

test(
  'whatever comes from Kafka clients: no crash, no pause of the event loop over 50 ms, memory flat',
  { timeout: 1_200_000 + rounds * 10_000 },
  async () => {
    await using game = await Game.write(`hits: table({ from: 'hit' })`)
    const loop = new LoopPauses(game.folder)
    await using instance = await Instance.start(game.config, {
      environment: { ...loop.environment, QUESTLOG_REQUEST_TIMEOUT_MS: '1000' },
    })
    const pid = await instance.pid('ingest')
    const port = Number(instance.endpoints.broker?.split(':').at(-1))
    await loop.longest(() => instance.ps())
    const memory: number[] = []
    let requests = 0
    for (let round = 0; round < rounds; round++) {
      if (round % 4 === 0) loop.notePace()
      const sessions = fc.sample(kafkaSession, { numRuns: 100, seed: seed + round })
      const pauseMs = await loop.shortest(() =>
        Promise.all(sessions.map((sent) => exchangeKafka(port, sent, 200))),
      )
      requests = Math.max(requests, pauseMs)
      memory.push(await residentMiB(pid))
    }
    // The shortest of three pauses: what is no accident comes again.
    const pauses = new Map<string, number>()
    const atHeavy: number[] = []
    for (let turn = 0; turn < 3; turn++) {
      loop.notePace()
      for (const [name, make] of Object.entries(heavyRequests)) {
        const bytes = make()
        const pauseMs = await loop.longest(() => askKafka(port, bytes))
        pauses.set(name, Math.min(pauses.get(name) ?? Infinity, pauseMs))
      }
      atHeavy.push(await residentMiB(pid))
    }
    const heavy = [...pauses].map(([name, pauseMs]) => `${name}: ${pauseMs.toFixed(0)} ms`)
    console.log(
      `kafka fuzz: ${rounds * 100} connections, longest pause ${requests.toFixed(0)} ms of ${loop.limitMs.toFixed(0)} allowed; ` +
        `memory ${memory[0]?.toFixed(0)} to ${memory.at(-1)?.toFixed(0)} MiB, after heavy requests ${atHeavy.map((size) => size.toFixed(0)).join(', ')} MiB\n  ${heavy.join('\n  ')}`,
    )
    expect(requests, `seed ${seed}`).toBeLessThan(loop.limitMs)
    for (const [name, pauseMs] of pauses) expect(pauseMs, name).toBeLessThan(loop.limitMs)
    expect(memory.at(-1)).toBeLessThan((memory[Math.floor(rounds / 2)] ?? 0) * 1.3 + 16)
    // A request or two may still wait for the garbage collector.
    expect(atHeavy.at(-1)).toBeLessThan(Math.max(...atHeavy.slice(0, -1)) * 1.2 + 128)
    expect(await instance.pid('ingest')).toBe(pid)
    expect((await instance.send('/hit')).status).toBe(200)
    expect((await instance.audit()).code).toBe(0)
  },
)

async function residentMiB(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) / 1024
}
