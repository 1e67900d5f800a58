import { describe, expect, test } from 'vitest'
import { kafkaErrors } from '../../../src/kafka/error-codes.ts'
import type { TransactionClaim } from '../../../src/kafka/transactions/coordinator.ts'
import { outcomesIn, topicNamed, TransactionBench } from './support.ts'

const minuteMs = 60_000
const inPartitions = (...partitions: number[]) => ({
  partitions: [{ topicId: 'id-t', topic: 't', partitions }],
  groups: [],
})
const inGroup = (group: string) => ({ partitions: [], groups: [group] })

async function init(
  bench: TransactionBench,
  transactionalId: string | null = 'x',
  claim?: { producerId: number; producerEpoch: number },
) {
  return bench.coordinator.initProducerId({ transactionalId, timeoutMs: minuteMs, claim })
}

/** A producer with a transactional id. */
async function producer(bench: TransactionBench, transactionalId = 'x'): Promise<TransactionClaim> {
  const { errorCode, producerId, producerEpoch } = await init(bench, transactionalId)
  expect(errorCode).toBe(0)
  return { transactionalId, producerId, producerEpoch }
}

/** A producer that has written `label` to partitions 0 and 1 in an open transaction. */
async function writing(bench: TransactionBench, label: string): Promise<TransactionClaim> {
  const claim = await producer(bench)
  expect(await bench.coordinator.add(claim, inPartitions(0, 1))).toBe(0)
  expect(bench.write(claim, 0, label)).toBe(0)
  expect(bench.write(claim, 1, label)).toBe(0)
  return claim
}

const outcome = (bench: TransactionBench, label: string) =>
  [0, 1].map((partition) => outcomesIn(bench.partitions.get(partition) ?? []).get(label))

describe('producer ids', () => {
  test('are never given twice, whatever process gives them', async () => {
    const bench = new TransactionBench()
    const ids = new Set<number>()
    for (let process = 0; process < 3; process++) {
      const answers = await Promise.all(Array.from({ length: 600 }, () => init(bench, null)))
      for (const { errorCode, producerId, producerEpoch } of answers) {
        expect({ errorCode, producerEpoch }).toEqual({ errorCode: 0, producerEpoch: 0 })
        ids.add(producerId)
      }
      bench.restart()
    }
    expect(ids.size).toBe(1800)
  })

  test('are not given while the state can not be kept', async () => {
    const bench = new TransactionBench()
    bench.arm(0, 'OVERLOADED')
    expect((await init(bench, null)).errorCode).toBe(kafkaErrors.coordinatorNotAvailable)
    expect((await init(bench, null)).errorCode).toBe(0)
  })
})

describe('a transactional id', () => {
  test('keeps its producer id, and every producer that takes it has the next epoch', async () => {
    const bench = new TransactionBench()
    const first = await producer(bench)
    bench.restart()
    const second = await producer(bench)
    expect(second).toEqual({ ...first, producerEpoch: first.producerEpoch + 1 })
    expect((await producer(bench, 'y')).producerId).not.toBe(first.producerId)
  })

  test('is refused when it is empty, or asks for a timeout that is too long', async () => {
    const { coordinator } = new TransactionBench()
    const ask = async (transactionalId: string, timeoutMs: number) =>
      (await coordinator.initProducerId({ transactionalId, timeoutMs, claim: undefined })).errorCode
    expect(await ask('', minuteMs)).toBe(kafkaErrors.invalidRequest)
    expect(await ask('x', 900_001)).toBe(kafkaErrors.invalidTransactionTimeout)
    expect(await ask('x', 0)).toBe(kafkaErrors.invalidTransactionTimeout)
    expect(await ask('x', 900_000)).toBe(kafkaErrors.none)
  })

  test('there are at most as many as the setting says, and unused ones make room', async () => {
    const bench = new TransactionBench({ transactionalIdsMax: 2 })
    await producer(bench, 'a')
    await producer(bench, 'b')
    expect((await init(bench, 'c')).errorCode).toBe(kafkaErrors.policyViolation)
    await bench.advance(86_400_001)
    expect((await init(bench, 'c')).errorCode).toBe(0)
    expect(bench.coordinator.size).toBe(1)
    bench.restart()
    expect(bench.coordinator.size).toBe(1)
  })

  test('is not forgotten while its transaction is open', async () => {
    const bench = new TransactionBench({ transactionalIdRetentionMs: 1_000 })
    const claim = await writing(bench, 'kept')
    await bench.advance(2_000)
    expect((await init(bench, 'other')).errorCode).toBe(0)
    expect(await bench.coordinator.end(claim, 'commit')).toBe(0)
  })
})

describe('a transaction', () => {
  test('commits in all of its partitions, and a repeated end is answered as the first', async () => {
    const bench = new TransactionBench()
    const claim = await writing(bench, 'a')
    expect(await bench.coordinator.end(claim, 'commit')).toBe(0)
    expect(outcome(bench, 'a')).toEqual(['commit', 'commit'])
    expect(bench.partitions.get(2)).toEqual([])
    expect(await bench.coordinator.end(claim, 'commit')).toBe(0)
    expect(await bench.coordinator.end(claim, 'abort')).toBe(kafkaErrors.invalidTxnState)
    expect(bench.partitions.get(0)?.length).toBe(2)
  })

  test('aborts in all of its partitions', async () => {
    const bench = new TransactionBench()
    const claim = await writing(bench, 'a')
    expect(await bench.coordinator.end(claim, 'abort')).toBe(0)
    expect(outcome(bench, 'a')).toEqual(['abort', 'abort'])
    expect(await bench.coordinator.end(claim, 'abort')).toBe(0)
    expect(await bench.coordinator.end(claim, 'commit')).toBe(kafkaErrors.invalidTxnState)
  })

  test('takes offsets of groups along', async () => {
    const bench = new TransactionBench()
    const claim = await producer(bench)
    expect(bench.coordinator.checkGroup(claim, 'g')).toBe(kafkaErrors.invalidTxnState)
    expect(await bench.coordinator.add(claim, inGroup('g'))).toBe(0)
    expect(bench.coordinator.checkGroup(claim, 'g')).toBe(0)
    expect(bench.coordinator.checkGroup(claim, 'h')).toBe(kafkaErrors.invalidTxnState)
    bench.staged.push({ ...claim, group: 'g', label: 'a' })
    expect(await bench.coordinator.end(claim, 'commit')).toBe(0)
    expect(bench.offsets.get('g')).toEqual(['a'])
    expect(bench.coordinator.checkGroup(claim, 'g')).toBe(kafkaErrors.invalidTxnState)
  })

  test('is not begun by a producer that is not the one of its id', async () => {
    const bench = new TransactionBench()
    const { coordinator } = bench
    const claim = await producer(bench)
    const add = (changes: Partial<TransactionClaim>) =>
      coordinator.add({ ...claim, ...changes }, inPartitions(0))
    expect(await add({ transactionalId: 'y' })).toBe(kafkaErrors.invalidProducerIdMapping)
    expect(await add({ producerId: 77 })).toBe(kafkaErrors.invalidProducerIdMapping)
    expect(await add({ producerEpoch: 7 })).toBe(kafkaErrors.producerFenced)
    expect(await coordinator.end({ ...claim, transactionalId: 'y' }, 'commit')).toBe(
      kafkaErrors.invalidProducerIdMapping,
    )
    expect(await coordinator.end(claim, 'commit')).toBe(kafkaErrors.invalidTxnState)
  })

  test('writes only where it has said so, and not after its end', async () => {
    const bench = new TransactionBench()
    const claim = await writing(bench, 'a')
    expect(bench.write(claim, 2, 'a')).toBe(kafkaErrors.invalidTxnState)
    expect(bench.write({ ...claim, producerEpoch: 9 }, 0, 'a')).toBe(
      kafkaErrors.invalidProducerEpoch,
    )
    expect(bench.write({ producerId: 99, producerEpoch: 0 }, 0, 'a')).toBe(
      kafkaErrors.invalidProducerIdMapping,
    )
    expect(bench.coordinator.checkWrite(claim, 'gone', 0)).toBe(kafkaErrors.invalidTxnState)
    await bench.coordinator.end(claim, 'commit')
    expect(bench.write(claim, 0, 'late')).toBe(kafkaErrors.invalidTxnState)
  })

  test('has at most as many partitions as the setting says', async () => {
    const bench = new TransactionBench({ transactionPartitionsMax: 2 })
    const claim = await writing(bench, 'a')
    expect(await bench.coordinator.add(claim, inPartitions(0, 1))).toBe(0)
    expect(await bench.coordinator.add(claim, inPartitions(2))).toBe(kafkaErrors.policyViolation)
    expect(await bench.coordinator.end(claim, 'commit')).toBe(0)
  })

  test('does not wait for partitions of a topic that was deleted, or made again', async () => {
    const bench = new TransactionBench()
    const claim = await writing(bench, 'a')
    bench.topics.set('t', topicNamed('t', 'another-id'))
    expect(bench.coordinator.checkWrite(claim, 't', 0)).toBe(kafkaErrors.invalidTxnState)
    expect(await bench.coordinator.end(claim, 'commit')).toBe(0)
    expect(bench.partitions.get(0)?.length).toBe(1)
    expect(await bench.coordinator.add(claim, inPartitions(0))).toBe(0)
  })
})

describe('a decision', () => {
  test('that can not be kept is not answered as made', async () => {
    const bench = new TransactionBench()
    const claim = await writing(bench, 'a')
    bench.arm(0, 'OVERLOADED')
    expect(await bench.coordinator.end(claim, 'commit')).toBe(kafkaErrors.coordinatorNotAvailable)
    expect(outcome(bench, 'a')).toEqual(['open', 'open'])
    expect(await bench.coordinator.end(claim, 'commit')).toBe(0)
    expect(outcome(bench, 'a')).toEqual(['commit', 'commit'])
  })

  test('that is kept is carried out again and again until every partition has its marker', async () => {
    const bench = new TransactionBench()
    const claim = await writing(bench, 'a')
    bench.arm(2, 'PARTITION_OFFLINE')
    bench.arm(4, 'OUTCOME_UNKNOWN')
    expect(await bench.coordinator.end(claim, 'commit')).toBe(0)
    expect(await bench.coordinator.end(claim, 'commit')).toBe(kafkaErrors.concurrentTransactions)
    expect(await bench.coordinator.end(claim, 'abort')).toBe(kafkaErrors.invalidTxnState)
    expect(await bench.coordinator.add(claim, inPartitions(0))).toBe(
      kafkaErrors.concurrentTransactions,
    )
    expect((await init(bench)).errorCode).toBe(kafkaErrors.concurrentTransactions)
    await bench.advance(1_000)
    await bench.advance(1_000)
    expect(outcome(bench, 'a')).toEqual(['commit', 'commit'])
    expect(await bench.coordinator.add(claim, inPartitions(0))).toBe(0)
  })

  test.each([1, 2, 3])('survives a crash at step %i of carrying it out', async (step) => {
    for (const trouble of ['crash before', 'crash after'] as const) {
      const bench = new TransactionBench()
      const claim = await writing(bench, 'a')
      await bench.coordinator.add(claim, inGroup('g'))
      bench.staged.push({ ...claim, group: 'g', label: 'a' })
      bench.arm(step, trouble)
      expect(await bench.ask((coordinator) => coordinator.end(claim, 'commit'))).toBe('crashed')
      bench.restart()
      await bench.settle()
      expect(outcome(bench, 'a')).toEqual(['commit', 'commit'])
      expect(bench.offsets.get('g')).toEqual(['a'])
      expect(await bench.coordinator.end(claim, 'commit')).toBe(0)
    }
  })

  test('takes two changes of the state a transaction: that one is done is kept with the next, or soon', async () => {
    const bench = new TransactionBench()
    const claim = await producer(bench)
    const before = bench.stateChanges
    for (let n = 0; n < 10; n++) {
      expect(await bench.coordinator.add(claim, inPartitions(0))).toBe(0)
      expect(bench.write(claim, 0, `t${n}`)).toBe(0)
      expect(await bench.coordinator.end(claim, 'commit')).toBe(0)
    }
    expect(bench.stateChanges - before).toBe(20)
    await bench.advance(1_000)
    expect(bench.stateChanges - before).toBe(21)
    await bench.advance(1_000)
    expect(bench.stateChanges - before).toBe(21)
    const markers = bench.partitions.get(0)?.length
    bench.restart()
    await bench.settle()
    expect(bench.partitions.get(0)).toHaveLength(markers ?? 0) // nothing was left to do
  })

  test.each(['commit', 'abort'] as const)(
    'to %s is carried out once more by a start that does not know that it is done, which changes nothing',
    async (end) => {
      const bench = new TransactionBench()
      const claim = await writing(bench, 'a')
      await bench.coordinator.add(claim, inGroup('g'))
      bench.staged.push({ ...claim, group: 'g', label: 'a' })
      expect(await bench.coordinator.end(claim, end)).toBe(0)
      for (let start = 0; start < 2; start++) {
        bench.restart()
        await bench.settle()
        expect(outcome(bench, 'a')).toEqual([end, end])
        expect(bench.offsets.get('g') ?? []).toEqual(end === 'commit' ? ['a'] : [])
      }
      expect(await bench.coordinator.add(claim, inPartitions(0))).toBe(0)
      expect(bench.write(claim, 0, 'b')).toBe(0)
      bench.restart() // before that transaction is decided: the one before is not to end it
      await bench.settle()
      expect(outcomesIn(bench.partitions.get(0) ?? []).get('b')).toBe('open')
      expect(await bench.coordinator.end(claim, 'commit')).toBe(0)
      expect(outcome(bench, 'b')[0]).toBe('commit')
    },
  )

  test('that is carried out is kept when the coordinator closes', async () => {
    const bench = new TransactionBench()
    const claim = await writing(bench, 'a')
    expect(await bench.coordinator.end(claim, 'commit')).toBe(0)
    await bench.coordinator.close()
    const markers = bench.partitions.get(0)?.length
    bench.restart()
    await bench.settle()
    expect(bench.partitions.get(0)).toHaveLength(markers ?? 0)
  })
})

describe('a producer that takes over', () => {
  test('aborts what the one before has open, and shuts it out', async () => {
    const bench = new TransactionBench()
    const old = await writing(bench, 'a')
    const claim = await producer(bench)
    expect(claim.producerEpoch).toBeGreaterThan(old.producerEpoch)
    expect(outcome(bench, 'a')).toEqual(['abort', 'abort'])
    // So the partition itself knows that the one before is shut out.
    expect(bench.partitions.get(0)?.at(-1)?.producerEpoch).toBeGreaterThan(old.producerEpoch)
    expect(await bench.coordinator.end(old, 'commit')).toBe(kafkaErrors.producerFenced)
    expect(await bench.coordinator.add(old, inPartitions(0))).toBe(kafkaErrors.producerFenced)
    expect(bench.write(old, 0, 'late')).toBe(kafkaErrors.invalidProducerEpoch)
    expect((await init(bench, 'x', old)).errorCode).toBe(kafkaErrors.producerFenced)
    expect(await bench.coordinator.add(claim, inPartitions(0))).toBe(0)
  })

  test('comes again when the markers of the abort could not be written', async () => {
    const bench = new TransactionBench()
    await writing(bench, 'a')
    bench.arm(1, 'PARTITION_OFFLINE')
    expect((await init(bench)).errorCode).toBe(kafkaErrors.concurrentTransactions)
    await bench.advance(1_000)
    expect((await init(bench)).errorCode).toBe(0)
    expect(outcome(bench, 'a')).toEqual(['abort', 'abort'])
  })
})

describe('a producer that goes on after an error (KIP-360)', () => {
  test('gets the next epoch, and the same answer when that was lost', async () => {
    const bench = new TransactionBench()
    const claim = await producer(bench)
    const next = await init(bench, 'x', claim)
    expect(next).toMatchObject({ errorCode: 0, producerEpoch: claim.producerEpoch + 1 })
    expect(await init(bench, 'x', claim)).toEqual(next)
    bench.restart()
    expect(await init(bench, 'x', claim)).toEqual(next)
    const other = await producer(bench)
    expect((await init(bench, 'x', claim)).errorCode).toBe(kafkaErrors.producerFenced)
    expect((await init(bench, 'x', next)).errorCode).toBe(kafkaErrors.producerFenced)
    expect((await init(bench, 'x', other)).errorCode).toBe(0)
  })

  test('has its own open transaction aborted', async () => {
    const bench = new TransactionBench()
    const claim = await writing(bench, 'a')
    expect(await init(bench, 'x', claim)).toMatchObject({
      errorCode: 0,
      producerEpoch: claim.producerEpoch + 1,
    })
    expect(outcome(bench, 'a')).toEqual(['abort', 'abort'])
  })

  test('gets another producer id when the epochs are used up', async () => {
    const bench = new TransactionBench()
    const claim = { ...(await producer(bench)), producerEpoch: 32_766 }
    bench.edit('x', claim)
    bench.restart()
    const next = await init(bench, 'x', claim)
    expect(next).toMatchObject({ errorCode: 0, producerEpoch: 0 })
    expect(next.producerId).not.toBe(claim.producerId)
    expect(await init(bench, 'x', claim)).toEqual(next)
    expect(bench.coordinator.checkWrite(claim, 't', 0)).toBe(kafkaErrors.invalidProducerIdMapping)
    bench.edit('x', claim)
    bench.restart()
    expect(await producer(bench)).toMatchObject({ producerEpoch: 0 })
  })
})

describe('a transaction that is open for too long', () => {
  test('is aborted, and its producer shut out', async () => {
    const bench = new TransactionBench()
    const claim = await writing(bench, 'a')
    await bench.advance(minuteMs - 1)
    expect(outcome(bench, 'a')).toEqual(['open', 'open'])
    await bench.advance(1)
    expect(outcome(bench, 'a')).toEqual(['abort', 'abort'])
    expect(await bench.coordinator.end(claim, 'commit')).toBe(kafkaErrors.producerFenced)
    expect(bench.write(claim, 0, 'late')).toBe(kafkaErrors.invalidProducerEpoch)
  })

  test('is aborted on time after a restart, also when the wall clock was set meanwhile', async () => {
    const bench = new TransactionBench()
    await writing(bench, 'a')
    await bench.advance(minuteMs / 2)
    bench.restart()
    await bench.advance(minuteMs / 2)
    expect(outcome(bench, 'a')).toEqual(['abort', 'abort'])
    await writing(bench, 'b')
    bench.clock.setWall(0)
    bench.restart()
    await bench.advance(minuteMs)
    expect(outcome(bench, 'b')).toEqual(['abort', 'abort'])
  })

  test('is aborted a little later when the disk is full just then', async () => {
    const bench = new TransactionBench()
    await writing(bench, 'a')
    bench.arm(0, 'OVERLOADED')
    await bench.advance(minuteMs)
    expect(outcome(bench, 'a')).toEqual(['open', 'open'])
    await bench.advance(1_000)
    expect(outcome(bench, 'a')).toEqual(['abort', 'abort'])
  })

  test('one that ended in time does not end the next', async () => {
    const bench = new TransactionBench()
    const claim = await writing(bench, 'a')
    await bench.coordinator.end(claim, 'commit')
    await bench.advance(minuteMs - 1_000)
    expect(await bench.coordinator.add(claim, inPartitions(0, 1))).toBe(0)
    bench.write(claim, 0, 'b')
    bench.write(claim, 1, 'b')
    await bench.advance(minuteMs - 1_000)
    expect(await bench.coordinator.end(claim, 'commit')).toBe(0)
    expect(outcome(bench, 'b')).toEqual(['commit', 'commit'])
  })
})

describe('when the log knows more than the coordinator', () => {
  test('records of a transaction that nobody knows are aborted', async () => {
    const bench = new TransactionBench()
    const claim = await writing(bench, 'a')
    bench.restart()
    await bench.settle()
    expect(outcome(bench, 'a')).toEqual(['open', 'open'])
    bench.loseState()
    bench.arm(0, 'PARTITION_OFFLINE')
    bench.restart()
    await bench.settle()
    expect(outcome(bench, 'a')).toEqual(['open', 'abort'])
    await bench.advance(1_000)
    expect(outcome(bench, 'a')).toEqual(['abort', 'abort'])
    expect(bench.write(claim, 0, 'late')).toBe(kafkaErrors.invalidProducerIdMapping)
  })

  test('producer ids go on above those that the log has seen', async () => {
    const bench = new TransactionBench()
    bench.partitions
      .get(0)
      ?.push({ kind: 'data', producerId: 5_000, producerEpoch: 0, label: 'an older life' })
    bench.restart()
    expect((await init(bench, null)).producerId).toBe(5_001)
  })
})

test('a coordinator that is closed finishes what it began, and nothing more', async () => {
  const bench = new TransactionBench()
  const claim = await writing(bench, 'a')
  const ended = bench.coordinator.end(claim, 'commit')
  await bench.coordinator.close()
  await bench.coordinator.close()
  expect(await ended).toBe(0)
  expect(await bench.coordinator.end(claim, 'commit')).toBe(kafkaErrors.coordinatorNotAvailable)
  bench.restart()
  await bench.settle()
  expect(outcome(bench, 'a')).toEqual(['commit', 'commit'])
})
