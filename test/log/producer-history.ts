import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect } from 'vitest'
import { QuestlogError } from '../../src/core/errors.ts'
import type { EventLog } from '../../src/log/event-log.ts'
import { isControl, isTransactional, outcomeOf } from '../../src/log/control-batch.ts'
import { LogReader } from '../../src/log/reader.ts'
import {
  batchBytesAt,
  batchIn,
  decodeRecords,
  sequenceOf,
  type RecordBatch,
} from '../../src/log/record-batch.ts'
import { keptRecords } from '../../src/log/record.ts'
import { seededRandom, type Random } from '../support/random.ts'
import { SimulatedClock } from '../support/simulated-clock.ts'
import { SimulatedFiles } from '../support/simulated-files.ts'
import { clientBatch, untouched } from './client-batch.ts'
import { createEvents, logFolder, openLog, record, watermarkOf } from './support.ts'

interface ModelProducer {
  readonly id: number
  readonly isTransactional: boolean
  epoch: number
  sequence: number
  isOpen: boolean
  /** A request of it failed: what is on the log is known after the next start. */
  isUnsure: boolean
  /** Its last batches in this epoch, with the offset that was acknowledged. */
  sent: { bytes: Buffer; baseOffset: number }[]
}

type Label = 'event' | 'excluded'

/** What a list of batches means, worked out offset by offset, without any of the log's bookkeeping. */
function judge(batches: readonly RecordBatch[], end: number) {
  const labels = new Map<number, Label>()
  const open = new Map<number, number[]>()
  for (const batch of batches) {
    const { producerId, baseOffset, nextOffset } = batch
    const offsets = Array.from({ length: nextOffset - baseOffset }, (_, n) => baseOffset + n)
    for (const offset of offsets) labels.set(offset, isControl(batch) ? 'excluded' : 'event')
    if (isControl(batch)) {
      if (outcomeOf(batch) === 'abort')
        for (const offset of open.get(producerId) ?? []) labels.set(offset, 'excluded')
      open.delete(producerId)
    } else if (isTransactional(batch))
      open.set(producerId, [...(open.get(producerId) ?? []), ...offsets])
  }
  const firsts = [...open.values()].map(([first = end]) => first)
  const stable = Math.min(end, ...firsts)
  return { labels, open, stable }
}

/** One seeded life of a partition under idempotent and transactional producers, with stops at any file operation. */
export class ProducerHistory {
  readonly files: SimulatedFiles
  readonly random: Random
  readonly clock = new SimulatedClock()
  readonly #settings: Record<string, number | 'fsync'>
  readonly #acknowledged = new Map<number, Buffer>()
  /** What every stable offset was found to be. */
  readonly #labels = new Map<number, Label>()
  #producers: ModelProducer[]
  #next = 0
  isFaulty = false

  constructor(seed: number) {
    this.files = new SimulatedFiles({ seed })
    this.random = seededRandom(seed + 1)
    this.#settings = {
      durability: 'fsync',
      segmentBytesMax: this.random.pick([400, 1500, 6000]),
      messageBytesMax: 2000,
    }
    this.#producers = [1, 2, 3, 4].map((id) => newProducer(id, id > 1))
  }

  async open(): Promise<EventLog> {
    return openLog(this.files, { settings: this.#settings, clock: this.clock })
  }

  /** Opens, looks, does things until the machine stops (or not), and brings it down in one way or another. */
  async run(): Promise<void> {
    if (this.random.chance(0.8))
      this.files.stopAt = this.files.operations + this.random.below(this.random.pick([60, 300]))
    const log = await this.#openIfPossible()
    if (log !== undefined) {
      const rounds = 1 + this.random.below(8)
      for (let round = 0; round < rounds && !this.files.stopped; round++) {
        await Promise.all(this.#producers.map((producer) => this.#act(log, producer)))
        await this.#appendEvents(log)
        this.clock.advance(this.random.below(700))
        if (!this.files.stopped && !this.isFaulty && this.random.chance(0.3)) {
          await this.#lookBetween(log)
          if (this.random.chance(0.4)) await this.#retain(log)
        }
      }
      if (this.random.chance(0.3)) await log.close().catch(() => {})
    }
    if (this.random.chance(0.5) && !(this.isFaulty && this.files.stopped)) this.files.kill()
    else {
      this.files.crash()
      // What was only written may be lost with the machine.
      for (const producer of this.#producers) producer.isUnsure = true
    }
  }

  /** Looking is no part of the life: the machine does not stop meanwhile. */
  async #lookBetween(log: EventLog): Promise<void> {
    // What was answered when it was written may still be on its way to the disk.
    while ((log.states()[0]?.pendingBytes ?? 0) > 0) await nextTurn()
    if (this.files.stopped) return
    const { stopAt, operations } = this.files
    this.files.stopAt = Infinity
    await this.look(log)
    this.files.stopAt = stopAt + this.files.operations - operations
  }

  async #openIfPossible(): Promise<EventLog | undefined> {
    try {
      const log = await this.open()
      await createEvents(log)
      return log
    } catch (error) {
      const isDamaged = error instanceof QuestlogError && error.code === 'LOG_DAMAGED'
      if (this.files.stopped || (this.isFaulty && !isDamaged)) return undefined
      throw error
    }
  }

  async #act(log: EventLog, producer: ModelProducer): Promise<void> {
    if (producer.isUnsure || this.random.chance(0.3)) return
    const action = this.random.below(10)
    if (action < 6) {
      const count = 1 + this.random.below(3)
      await Promise.all(Array.from({ length: count }, () => this.#send(log, producer)))
    } else if (action === 6) await this.#repeat(log, producer)
    else if (action === 7) await this.#skip(log, producer)
    else if (producer.isTransactional) await this.#end(log, producer)
  }

  /** The next batch, and maybe the same once more before there is an answer. */
  async #send(log: EventLog, producer: ModelProducer): Promise<void> {
    const { id, epoch, sequence } = producer
    const values = this.#values()
    const bytes = clientBatch({ ...this.#batchOf(producer), values })
    producer.sequence += values.length
    if (producer.isTransactional) producer.isOpen = true
    const until = this.random.pick(['written', 'acknowledged'] as const)
    const sending = log.appendBatches('events', 0, Buffer.from(bytes), until)
    const again = this.random.chance(0.2)
      ? log.appendBatches('events', 0, Buffer.from(bytes), 'acknowledged')
      : sending
    try {
      const [{ baseOffset }, repeated] = await Promise.all([sending, again])
      expect(repeated.baseOffset, `a repeat of ${id}/${epoch}/${sequence}`).toBe(baseOffset)
      // What is answered when it is written overtakes what is answered when it is synced.
      producer.sent = [...producer.sent, { bytes, baseOffset }]
        .sort((one, other) => one.baseOffset - other.baseOffset)
        .slice(-5)
      // One that is only written may be lost with the machine.
      if (until === 'acknowledged' || again !== sending) this.#acknowledged.set(baseOffset, bytes)
    } catch (error) {
      this.#fail(producer, error)
      await Promise.allSettled([sending, again])
    }
  }

  #batchOf({ id, epoch, sequence, isTransactional: is }: ModelProducer) {
    return { producerId: id, epoch, sequence, isTransactional: is }
  }

  /** A batch that it has sent before. */
  async #repeat(log: EventLog, producer: ModelProducer): Promise<void> {
    const there = stillThere(log, producer)
    const known = there[this.random.below(Math.max(1, there.length))]
    if (known === undefined) return
    try {
      const records = Buffer.from(known.bytes)
      const { baseOffset } = await log.appendBatches('events', 0, records, 'acknowledged')
      expect(baseOffset).toBe(known.baseOffset)
    } catch (error) {
      this.#fail(producer, error)
    }
  }

  /** A batch that comes too early, and one of an epoch that is over. */
  async #skip(log: EventLog, producer: ModelProducer): Promise<void> {
    if (stillThere(log, producer).length === 0) return
    const early = { ...this.#batchOf(producer), sequence: producer.sequence + 1, values: ['x'] }
    await this.#expectRefused(log, producer, clientBatch(early), 'SEQUENCE_OUT_OF_ORDER')
    if (producer.epoch === 0) return
    const old = { ...this.#batchOf(producer), epoch: producer.epoch - 1, values: ['x'] }
    await this.#expectRefused(log, producer, clientBatch(old), 'PRODUCER_EPOCH_OLD')
  }

  async #expectRefused(
    log: EventLog,
    producer: ModelProducer,
    bytes: Buffer,
    code: string,
  ): Promise<void> {
    try {
      await log.appendBatches('events', 0, bytes, 'acknowledged')
      expect.unreachable('it was taken')
    } catch (error) {
      if (error instanceof QuestlogError && error.code === code) return
      this.#fail(producer, error)
    }
  }

  /** Ends the transaction; now and then as a coordinator does that shuts the producer out. */
  async #end(log: EventLog, producer: ModelProducer): Promise<void> {
    const isFenced = this.random.chance(0.2)
    const outcome = isFenced ? 'abort' : this.random.pick(['commit', 'abort'] as const)
    const producerEpoch = producer.epoch + (isFenced ? 1 : 0)
    const marker = { producerId: producer.id, producerEpoch, coordinatorEpoch: 0, outcome }
    try {
      await log.appendMarker('events', 0, marker)
      producer.isOpen = false
      if (!isFenced) return
      producer.epoch = producerEpoch
      producer.sequence = 0
      producer.sent = []
    } catch (error) {
      this.#fail(producer, error)
    }
  }

  #fail(producer: ModelProducer, error: unknown): void {
    if (!(error instanceof QuestlogError)) throw error
    producer.isUnsure = true
    if (this.files.stopped || this.isFaulty) return
    throw error
  }

  async #appendEvents(log: EventLog): Promise<void> {
    const sending: Promise<unknown>[] = Array.from({ length: this.random.below(3) }, () =>
      log.append('events', null, this.#values().map(record)),
    )
    if (this.random.chance(0.3)) {
      const records = clientBatch({ values: this.#values() })
      sending.push(log.appendBatches('events', 0, records, 'acknowledged'))
    }
    for (const result of await Promise.allSettled(sending))
      if (result.status === 'rejected' && !(result.reason instanceof QuestlogError))
        throw result.reason
  }

  #values(): string[] {
    const count = 1 + this.random.below(4)
    return Array.from(
      { length: count },
      () => `${this.#next++}:${'x'.repeat(this.random.below(40))}`,
    )
  }

  async #retain(log: EventLog): Promise<void> {
    const state = log.states()[0]
    if (state === undefined) return
    const gate = state.startOffset + this.random.below(state.highWatermark - state.startOffset + 9)
    await log.removeSegments(state.topicId, 0, gate).catch((error: unknown) => {
      if (!this.files.stopped) throw error
    })
  }

  /** Compares what the log says, to consumers and to tables, with what its batches mean. Nothing is appended meanwhile. */
  async look(log: EventLog): Promise<void> {
    const topic = log.topic('events')
    const view = log.partition('events', 0)
    const [state] = log.states()
    if (topic === undefined || view === undefined || state === undefined) return
    const batches = await readBatches(view, 'uncommitted')
    const { labels, open, stable } = judge(batches.all, state.highWatermark)
    expect(state.endOffset).toBe(state.highWatermark)
    expect(view.lastStableOffset, 'the last stable offset').toBe(stable)
    const wanted = [...labels].filter(([offset, label]) => offset < stable && label === 'event')
    const events = wanted.map(([offset]) => offset)
    const upToStable = [...labels.keys()].filter((offset) => offset < stable).length
    expect(state.excludedOffsets, 'excluded').toBe(upToStable - events.length)
    expect(keptRecords(state), 'kept').toBe(events.length)
    expect(await this.#consumed(view), 'what a consumer takes').toEqual(events)
    expect(await this.#read(topic.id, log), 'what tables take').toEqual(events)
    this.#checkRemoved(state)
    for (const [offset, label] of labels) if (offset < stable) this.#labels.set(offset, label)
    this.#checkAcknowledged(batches.all, view.startOffset)
    this.#learn(batches.all, open)
  }

  #checkRemoved(state: ReturnType<EventLog['states']>[number]): void {
    let events = 0
    for (const [offset, label] of this.#labels)
      if (offset < state.startOffset && label === 'event') events++
    expect(state.removedRecords, 'removed').toBe(events)
    expect(state.removedRecords + state.removedExcluded).toBe(state.startOffset)
  }

  #checkAcknowledged(batches: readonly RecordBatch[], startOffset: number): void {
    const found = new Map(batches.map((batch) => [batch.baseOffset, batch.bytes]))
    for (const [offset, bytes] of this.#acknowledged) {
      if (offset < startOffset) continue
      const kept = found.get(offset)
      expect(kept === undefined ? undefined : untouched(kept), `offset ${offset}`).toEqual(
        untouched(bytes),
      )
    }
  }

  /** What a client does that reads committed records only. */
  async #consumed(view: NonNullable<ReturnType<EventLog['partition']>>): Promise<number[]> {
    const taken: number[] = []
    const { slices } = await readBatches(view, 'committed')
    for (const { batches, aborted } of slices) {
      const ahead = [...aborted].sort((one, other) => one.firstOffset - other.firstOffset)
      const left = new Set<number>()
      for (const batch of batches) {
        while ((ahead[0]?.firstOffset ?? Infinity) <= batch.nextOffset - 1)
          left.add(ahead.shift()?.producerId ?? -1)
        if (isControl(batch)) {
          if (outcomeOf(batch) === 'abort') left.delete(batch.producerId)
        } else if (!isTransactional(batch) || !left.has(batch.producerId))
          for (let offset = batch.baseOffset; offset < batch.nextOffset; offset++)
            taken.push(offset)
      }
    }
    return taken
  }

  /** What the tables read, in small steps. */
  async #read(topicId: string, log: EventLog): Promise<number[]> {
    const topic = log.topics().find(({ id }) => id === topicId)
    const reader = new LogReader(this.files, logFolder)
    const taken: number[] = []
    if (topic === undefined) return taken
    const upTo = watermarkOf(reader, topic)
    let excluded = 0
    for (let offset = upTo.startOffset; offset < upTo.visibleOffset;) {
      const slice = await reader.read(topic, 0, offset, upTo, 300)
      taken.push(...slice.batches.flatMap(decodeRecords).map((each) => each.offset))
      excluded += slice.excluded
      expect(slice.nextOffset).toBeGreaterThan(offset)
      offset = slice.nextOffset
    }
    expect(excluded).toBe(upTo.excludedOffsets)
    await reader.close()
    return taken
  }

  /** What a producer learns by asking: which of its batches are there. */
  #learn(batches: readonly RecordBatch[], open: ReadonlyMap<number, readonly number[]>): void {
    this.#producers = this.#producers.map((known) => {
      if (!known.isUnsure) return known
      const own = batches.filter((batch) => batch.producerId === known.id)
      const last = own.at(-1)
      if (last === undefined) return newProducer(known.id + 10, known.isTransactional)
      const { epoch } = sequenceOf(last)
      const sent = own
        .filter((batch) => sequenceOf(batch).epoch === epoch && !isControl(batch))
        .map(({ bytes, baseOffset }) => ({ bytes: Buffer.from(bytes), baseOffset }))
        .slice(-5)
      const newest = sent.at(-1)
      const end =
        newest === undefined
          ? 0
          : sequenceOf(batchIn(newest.bytes)).firstSequence + batchIn(newest.bytes).recordCount
      // All that it had sent in this epoch may be removed: then nobody knows how it goes on.
      if (newest === undefined && epoch === known.epoch)
        return newProducer(known.id + 10, known.isTransactional)
      return { ...known, epoch, sequence: end, isOpen: open.has(known.id), isUnsure: false, sent }
    })
  }

  /** What is derived from the batches can be made anew. */
  async #damageDerived(): Promise<void> {
    const derived = this.files.paths().filter((path) => /aborted$|snapshot$|index$/.test(path))
    for (const path of derived) {
      const bytes = await this.files.readAll(path)
      const action = this.random.below(5)
      if (action === 0) await this.files.unlink(path)
      if (action === 1)
        this.files.overwrite(path, bytes.subarray(0, this.random.below(bytes.length)))
      if (action === 2) this.files.flip(path, this.random.below(bytes.length))
    }
  }

  /** Opens what a stop has left, looks at it, and closes. */
  async check(): Promise<void> {
    const log = await this.open()
    await this.look(log)
    await log.close()
    if (this.random.chance(0.5)) await this.#damageDerived()
    const again = await this.open()
    await this.look(again)
    await again.close()
  }
}

/** What retention has removed of its batches may be forgotten. */
function stillThere(log: EventLog, { sent }: ModelProducer) {
  const startOffset = log.states()[0]?.startOffset ?? 0
  return sent.filter(({ baseOffset }) => baseOffset >= startOffset)
}

function newProducer(id: number, isTransactionalProducer: boolean): ModelProducer {
  return {
    id,
    isTransactional: isTransactionalProducer,
    epoch: 0,
    sequence: 0,
    isOpen: false,
    isUnsure: false,
    sent: [],
  }
}

/** Everything that a consumer is given, fetch by fetch. */
async function readBatches(
  view: NonNullable<ReturnType<EventLog['partition']>>,
  isolation: 'committed' | 'uncommitted',
) {
  const end = isolation === 'committed' ? view.lastStableOffset : view.highWatermark
  const slices: {
    batches: RecordBatch[]
    aborted: readonly { producerId: number; firstOffset: number }[]
  }[] = []
  for (let offset = view.startOffset; offset < end;) {
    const { bytes, aborted } = await view.read(offset, {
      maxBytes: 300,
      atLeastOne: true,
      isolation,
    })
    const batches: RecordBatch[] = []
    for (let at = 0; at < bytes.length; at += batchBytesAt(bytes, at) ?? bytes.length)
      batches.push(batchIn(bytes.subarray(at, at + (batchBytesAt(bytes, at) ?? 0))))
    const next = batches.at(-1)?.nextOffset ?? offset
    if (next <= offset) throw new Error('the view does not move')
    slices.push({ batches, aborted })
    offset = next
  }
  return { slices, all: slices.flatMap(({ batches }) => batches) }
}
