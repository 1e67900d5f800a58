import { setImmediate } from 'node:timers/promises'
import { QuestlogError, type ErrorCode } from '../../../src/core/errors.ts'
import { silentLogger } from '../../../src/core/logger.ts'
import { RareLog } from '../../../src/kafka/rare-log.ts'
import { TransactionCoordinator } from '../../../src/kafka/transactions/coordinator.ts'
import type { ProducerClaim, Transaction } from '../../../src/kafka/transactions/transaction.ts'
import type { EndMarker, KnownProducer, Topic } from '../../../src/log/record.ts'
import { SimulatedClock } from '../../support/simulated-clock.ts'

/** What goes wrong at a change of the disk: the process ends before or after it, or the change fails with an error. */
export type Trouble = 'crash before' | 'crash after' | ErrorCode

export interface Entry extends ProducerClaim {
  readonly kind: 'data' | EndMarker['outcome']
  /** What was written, for the test; empty for markers. */
  readonly label: string
}

const settings = {
  transactionTimeoutMaxMs: 900_000,
  transactionalIdsMax: 100,
  transactionalIdRetentionMs: 86_400_000,
  transactionPartitionsMax: 100,
}

/** Says that a process has ended. */
class CrashSignal {
  isGiven = false
  give: () => void = () => {}
  readonly promise = new Promise<'crashed'>((resolve) => {
    this.give = () => {
      this.isGiven = true
      resolve('crashed')
    }
  })
}

/** A disk with a state file, a log of topic `t` and the offsets of groups, and the coordinator on it, which can be killed at any change. */
export class TransactionBench {
  readonly clock = new SimulatedClock()
  readonly partitions = new Map<number, Entry[]>()
  /** Offsets that have taken effect, and that wait: group → label. */
  readonly offsets = new Map<string, string[]>()
  readonly staged: (ProducerClaim & { group: string; label: string })[] = []
  readonly topics = new Map<string, Topic>()
  /** Changes of the state file so far: each is a sync that somebody may wait for. */
  stateChanges = 0
  readonly #state = new Map<string, string>()
  readonly #settings: typeof settings
  #troubles: { inSteps: number; trouble: Trouble }[] = []
  #incarnation = 0
  #coordinator: TransactionCoordinator
  #crashed = new CrashSignal()

  constructor(changes: Partial<typeof settings> = {}) {
    this.#settings = { ...settings, ...changes }
    this.topics.set('t', topicNamed('t', 'id-t'))
    for (let partition = 0; partition < 3; partition++) this.partitions.set(partition, [])
    this.#coordinator = this.#start()
  }

  get coordinator(): TransactionCoordinator {
    return this.#coordinator
  }

  /** Lets something go wrong at a change of the disk that is to come; 0 is the next one. */
  arm(inSteps: number, trouble: Trouble): void {
    this.#troubles.push({ inSteps, trouble })
  }

  /** Whether the process has ended. */
  get isCrashed(): boolean {
    return this.#crashed.isGiven
  }

  disarm(): void {
    this.#troubles = []
  }

  /** A request to the coordinator; `crashed` when the process ends before the answer. */
  ask<T>(request: (coordinator: TransactionCoordinator) => Promise<T>): Promise<T | 'crashed'> {
    return Promise.race([request(this.#coordinator), this.#crashed.promise])
  }

  /** What is under way is never heard of again; a new process finds what is on the disk. */
  restart(): void {
    this.#crash()
    this.#coordinator = this.#start()
  }

  async advance(byMs: number): Promise<void> {
    this.clock.advance(byMs)
    await this.settle()
  }

  /** Changes what is kept of a transactional id; the next process finds it. */
  edit(transactionalId: string, changes: Partial<Transaction>): void {
    const key = `transaction/${transactionalId}`
    const kept = parse(this.#state.get(key))
    this.#state.set(key, JSON.stringify({ ...(kept as Transaction), ...changes }))
  }

  /** The state file is gone; the log is not. */
  loseState(): void {
    this.#state.clear()
  }

  /** Until nothing moves without the clock. */
  async settle(): Promise<void> {
    for (let turn = 0; turn < 12; turn++) await setImmediate()
  }

  /** A producer writes a record as the broker lets it: refused with an error code, or kept. */
  write(claim: ProducerClaim, partition: number, label: string): number {
    const errorCode = this.#coordinator.checkWrite(claim, 't', partition)
    if (errorCode !== 0) return errorCode
    const { producerId, producerEpoch } = claim
    this.partitions.get(partition)?.push({ kind: 'data', producerId, producerEpoch, label })
    return 0
  }

  #start(): TransactionCoordinator {
    const incarnation = ++this.#incarnation
    this.#crashed = new CrashSignal()
    const change = (apply: () => void) => this.#change(incarnation, apply)
    return new TransactionCoordinator({
      store: {
        get: (key) => parse(this.#state.get(key)),
        entries: () =>
          [...this.#state].map(([key, text]): [string, unknown] => [key, parse(text)]).values(),
        put: (changes) =>
          change(() => {
            this.stateChanges++
            for (const [key, value] of changes) {
              if (value === undefined) this.#state.delete(key)
              else this.#state.set(key, JSON.stringify(value))
            }
          }),
      },
      log: {
        topic: (name) => this.topics.get(name),
        producers: () => this.#producers(),
        appendMarker: (_topic, partition, marker) =>
          change(() => {
            const { producerId, producerEpoch, outcome } = marker
            const entry = { kind: outcome, producerId, producerEpoch, label: '' }
            this.partitions.get(partition)?.push(entry)
          }),
      },
      offsets: {
        finish: (producerId, producerEpoch, outcome) =>
          change(() => {
            for (const staged of this.staged.splice(0)) {
              if (staged.producerId !== producerId || staged.producerEpoch > producerEpoch)
                this.staged.push(staged)
              else if (outcome === 'commit')
                this.offsets.set(staged.group, [
                  ...(this.offsets.get(staged.group) ?? []),
                  staged.label,
                ])
            }
          }),
      },
      settings: this.#settings,
      clock: this.clock,
      logger: silentLogger,
      rareLog: new RareLog(silentLogger, this.clock),
    })
  }

  /** What the log knows of its producers. */
  #producers(): KnownProducer[] {
    return [...this.partitions].flatMap(([partition, entries]) => {
      const known = new Map<number, KnownProducer>()
      for (const { kind, producerId, producerEpoch } of entries) {
        const isInTransaction = kind === 'data'
        known.set(producerId, { topic: 't', partition, producerId, producerEpoch, isInTransaction })
      }
      return [...known.values()]
    })
  }

  /** A durable change. Of a process that has ended none is made, and none resolves. */
  async #change(incarnation: number, apply: () => void): Promise<void> {
    await setImmediate()
    const trouble = incarnation === this.#incarnation ? this.#trouble() : 'crash before'
    if (trouble === undefined || trouble === 'crash after') apply()
    if (trouble === undefined) return
    if (trouble !== 'crash before' && trouble !== 'crash after')
      throw new QuestlogError(trouble, 'as the test wants it')
    if (incarnation === this.#incarnation) this.#crash()
    await new Promise(() => {})
  }

  #crash(): void {
    this.#incarnation++
    this.#crashed.give()
  }

  #trouble(): Trouble | undefined {
    const due = this.#troubles.findIndex(({ inSteps }) => inSteps === 0)
    this.#troubles = this.#troubles.map(({ inSteps, trouble }) => ({
      inSteps: inSteps - 1,
      trouble,
    }))
    return this.#troubles.splice(due, due < 0 ? 0 : 1)[0]?.trouble
  }
}

const parse = (text: string | undefined): unknown =>
  text === undefined ? undefined : JSON.parse(text)

export function topicNamed(name: string, id: string): Topic {
  return { name, id, partitions: 3, configs: {} }
}

/** How the records of a partition ended: by label; `open` while they have not. Fails when a producer that was shut out has written. */
export function outcomesIn(entries: readonly Entry[]): Map<string, 'commit' | 'abort' | 'open'> {
  const outcomes = new Map<string, 'commit' | 'abort' | 'open'>()
  const open = new Map<number, string[]>()
  const epochs = new Map<number, number>()
  for (const { kind, producerId, producerEpoch, label } of entries) {
    if (producerEpoch < (epochs.get(producerId) ?? 0))
      throw new Error(`${label || kind}: epoch ${producerEpoch} of producer ${producerId} is old`)
    epochs.set(producerId, producerEpoch)
    const labels = open.get(producerId) ?? []
    if (kind === 'data') {
      open.set(producerId, [...labels, label])
      outcomes.set(label, 'open')
    } else {
      open.delete(producerId)
      for (const ended of labels) outcomes.set(ended, kind)
    }
  }
  return outcomes
}
