import { setMaxListeners } from 'node:events'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { silentLogger } from '../../src/core/logger.ts'
import { resolveSettings } from '../../src/core/settings.ts'
import { BrokerCounters } from '../../src/kafka/broker-counters.ts'
import { kafkaErrors } from '../../src/kafka/error-codes.ts'
import type { ClientConnection } from '../../src/kafka/handler.ts'
import { produceHandler } from '../../src/kafka/produce.ts'
import { RareLog } from '../../src/kafka/rare-log.ts'
import type { EventLog } from '../../src/log/event-log.ts'
import { clientBatch } from '../log/client-batch.ts'
import { codeOf, createEvents, openLog, readAll, record, values } from '../log/support.ts'
import { seededRandom, type Random } from '../support/random.ts'
import { SimulatedClock } from '../support/simulated-clock.ts'
import { SimulatedFiles } from '../support/simulated-files.ts'
import { produceRequest } from './harness.ts'

const batchesMax = 14
const inFlightMax = 5
const settings = { ...resolveSettings(), pendingBytesMax: 900, backlogBytesMax: 9 }
const sizes = [10, 100, 300, 700] as const

/** Hands a request to the broker; gives the error code of its answer. */
type Handle = (bytes: Buffer, timeoutMs: number, connection: ClientConnection) => Promise<number>

/** An idempotent producer as clients are: five requests under way, what was refused comes again in its place. It gives up when its next batch is out of order. */
class Producer {
  readonly acked = new Set<number>()
  readonly #random: Random
  readonly #handle: Handle
  readonly #waiting = Array.from({ length: batchesMax }, (_, sequence) => sequence)
  #inFlight: number[] = []
  #answers: Promise<unknown> = Promise.resolve()
  #closing = new AbortController()
  #connection = this.#connect()
  /** Everything that was sent and when it is answered, also over a connection that is gone. */
  readonly sent: Promise<number>[] = []

  constructor(random: Random, handle: Handle) {
    this.#random = random
    this.#handle = handle
  }

  #connect(): ClientConnection {
    const { signal } = this.#closing
    setMaxListeners(0, signal)
    return { id: 1, clientHost: '', localHost: '', localPort: 0, closed: signal }
  }

  send(): void {
    while (this.#inFlight.length < inFlightMax && this.#random.chance(0.7)) {
      const sequence = this.#waiting.shift()
      if (sequence === undefined) return
      this.#inFlight.push(sequence)
      const value = `${sequence}:${'x'.repeat(this.#random.pick(sizes))}`
      const connection = this.#connection
      const bytes = clientBatch({ values: [value], producerId: 7, sequence })
      const timeoutMs = this.#random.pick([0, 30, 100, 1_000])
      const answer = this.#handle(bytes, timeoutMs, connection)
      this.sent.push(answer)
      this.#answers = Promise.all([this.#answers, answer]).then(([, errorCode]) => {
        if (connection === this.#connection) this.#answered(sequence, errorCode)
      })
    }
  }

  #answered(sequence: number, errorCode: number): void {
    this.#inFlight = this.#inFlight.filter((other) => other !== sequence)
    if (errorCode === kafkaErrors.none) return void this.acked.add(sequence)
    if (errorCode === kafkaErrors.outOfOrderSequenceNumber && this.acked.size === sequence)
      throw new Error(`batch ${sequence} is the next, but is refused as out of order`)
    this.#again([sequence])
  }

  #again(sequences: readonly number[]): void {
    this.#waiting.push(...sequences)
    this.#waiting.sort((one, other) => one - other)
  }

  /** Sends what has no answer over another connection. */
  reconnect(): void {
    this.#closing.abort()
    this.#closing = new AbortController()
    this.#connection = this.#connect()
    this.#again(this.#inFlight.splice(0))
    this.#answers = Promise.resolve()
  }

  /** Rejects when an answer can't be. */
  async settled(): Promise<void> {
    await Promise.race([this.#answers, nextTurn()])
  }
}

/** Something that happens to the disk, the tables, the network or others that write. */
function disturb(
  random: Random,
  parts: { files: SimulatedFiles; log: EventLog; producer: Producer; work: Promise<unknown>[] },
  setBacklog: (bytes: number) => void,
): void {
  const { files, log, producer, work } = parts
  const choice = random.below(30)
  if (choice === 0) files.capacityBytes = random.chance(0.5) ? 0 : Infinity
  else if (choice === 1) {
    const probability = random.pick([0, 0, 0.5, 1])
    files.fault = (operation) =>
      operation === 'shared' && random.chance(probability) ? 'EIO' : undefined
  } else if (choice === 2) setBacklog(random.pick([0, 0, 10]))
  else if (choice === 3 && random.chance(0.3)) producer.reconnect()
  else if (choice === 4)
    work.push(codeOf(log.append('events', null, [record('y'.repeat(random.below(700)))])))
}

async function play(seed: number): Promise<void> {
  const random = seededRandom(seed)
  const files = new SimulatedFiles({ seed })
  const clock = new SimulatedClock()
  const log = await openLog(files, { clock, settings })
  const topic = await createEvents(log)
  let backlog = 0
  const handler = produceHandler({
    log,
    settings,
    clock,
    counters: new BrokerCounters(),
    rareLog: new RareLog(silentLogger, clock),
    transactions: { checkWrite: () => kafkaErrors.none },
    backlogBytes: () => backlog,
  })
  const producer = new Producer(random, async (bytes, timeoutMs, connection) => {
    const request = {
      ...produceRequest(bytes, { timeoutMs, acks: random.pick([-1, -1, 1]) }),
      transactionalId: null,
    }
    const context = { connection, clientId: null, apiVersion: 9 }
    const answer = await handler.handle(request as Parameters<typeof handler.handle>[0], context)
    return answer?.responses[0]?.partitionResponses[0]?.errorCode ?? kafkaErrors.unknown
  })
  const work: Promise<unknown>[] = []
  const parts = { files, log, producer, work }
  for (let round = 0; producer.acked.size < batchesMax; round++) {
    if (round > 20_000) throw new Error('the producer does not get on')
    if (round < 3_000) disturb(random, parts, (bytes) => (backlog = bytes))
    else {
      files.capacityBytes = Infinity
      files.fault = () => undefined
      backlog = 0
    }
    producer.send()
    if (random.chance(0.5)) clock.advance(random.pick([1, 10, 20, 100]))
    if (random.chance(0.8)) await nextTurn()
    await producer.settled()
  }
  let isDone = false
  const done = Promise.all([...producer.sent, ...work]).then(() => (isDone = true))
  while (!isDone) {
    clock.advance(100)
    await nextTurn()
  }
  await done
  files.fault = () => undefined
  files.capacityBytes = Infinity
  await log.close()
  const found = values(await readAll(files, topic)).filter((value) => value.includes(':'))
  expect(found.map((value) => Number.parseInt(value, 10))).toEqual(
    Array.from({ length: batchesMax }, (_, sequence) => sequence),
  )
}

test('whatever the disk, the tables and the network do, the batches of an idempotent producer are there once and in order, and the next of them is never out of order', async () => {
  for (let seed = 0; seed < 150; seed++)
    await play(seed).catch((cause: unknown) => {
      throw new Error(`history ${seed} breaks a promise`, { cause })
    })
})
