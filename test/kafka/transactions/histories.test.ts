import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { kafkaErrors } from '../../../src/kafka/error-codes.ts'
import type { TransactionClaim } from '../../../src/kafka/transactions/coordinator.ts'
import { outcomesIn, TransactionBench, type Trouble } from './support.ts'

const timeoutMs = 60_000
const ids = ['x', 'y'] as const

/** What a producer does next, or what happens to all. */
type Step =
  | { readonly kind: 'init' | 'commit' | 'abort'; readonly client: number }
  | { readonly kind: 'add'; readonly client: number; readonly partitions: readonly number[] }
  | { readonly kind: 'write' | 'offset'; readonly client: number }
  | { readonly kind: 'advance'; readonly byMs: number }
  | { readonly kind: 'trouble'; readonly inSteps: number; readonly trouble: Trouble }
  | { readonly kind: 'restart' }

const client = fc.nat(3)
const partitions = fc.subarray([0, 1, 2], { minLength: 1 })
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('init' as const), client }) },
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('add' as const), client, partitions }) },
  { weight: 5, arbitrary: fc.record({ kind: fc.constantFrom('write', 'offset'), client }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constantFrom('commit', 'abort'), client }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('advance' as const),
      byMs: fc.constantFrom(1_000, 30_000, 60_000),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('trouble' as const),
      inSteps: fc.nat(7),
      trouble: fc.constantFrom<Trouble>(
        'crash before',
        'crash after',
        'OVERLOADED',
        'PARTITION_OFFLINE',
      ),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('restart' as const) }) },
)

/** A producer; clients 0 and 2 share one transactional id, 1 and 3 the other. */
class Client {
  readonly #bench: TransactionBench
  readonly #history: History
  readonly #id: string
  /** Undefined until it has its epoch, and when it has given up. */
  claim: TransactionClaim | undefined
  /** What its open transaction writes; undefined while none is open. */
  #label: string | undefined

  constructor(bench: TransactionBench, history: History, id: string) {
    this.#bench = bench
    this.#history = history
    this.#id = id
  }

  async init(): Promise<void> {
    const request = { transactionalId: this.#id, timeoutMs, claim: undefined }
    this.#giveUp()
    const answer = await this.#bench.ask((coordinator) => coordinator.initProducerId(request))
    if (answer === 'crashed' || answer.errorCode !== 0) return
    const { producerId, producerEpoch } = answer
    this.claim = { transactionalId: this.#id, producerId, producerEpoch }
    this.#history.given(this.claim)
  }

  async add(places: readonly number[]): Promise<void> {
    await this.#extend({
      partitions: [{ topicId: 'id-t', topic: 't', partitions: places }],
      groups: [],
    })
  }

  /** Into every partition that takes it. */
  write(): void {
    const { claim } = this
    if (claim === undefined) return
    for (const place of [0, 1, 2]) {
      const errorCode = this.#bench.write(claim, place, this.#label ?? 'outside')
      if (errorCode === 0) this.#history.wrote(claim, this.#label)
    }
  }

  async offset(): Promise<void> {
    const { claim } = this
    if (claim === undefined || !(await this.#extend({ partitions: [], groups: ['g'] }))) return
    if (this.#bench.coordinator.checkGroup(claim, 'g') !== 0) return
    const label = this.#label ?? 'outside'
    this.#history.wrote(claim, this.#label)
    this.#bench.staged.push({ ...claim, group: 'g', label })
  }

  async end(outcome: 'commit' | 'abort'): Promise<void> {
    const { claim } = this
    const label = this.#label
    this.#label = undefined
    if (claim === undefined || label === undefined) return
    this.#history.asked(label, outcome)
    const errorCode = await this.#bench.ask((coordinator) => coordinator.end(claim, outcome))
    if (errorCode === 0) this.#history.answered(claim, label, outcome)
    else this.#giveUp()
  }

  async #extend(added: Parameters<TransactionBench['coordinator']['add']>[1]): Promise<boolean> {
    const { claim } = this
    if (claim === undefined) return false
    const errorCode = await this.#bench.ask((coordinator) => coordinator.add(claim, added))
    if (errorCode === 0) {
      this.#label ??= this.#history.newLabel()
      return true
    }
    // It may be in the transaction all the same: then it ends as that does.
    if (errorCode === kafkaErrors.concurrentTransactions && this.#label === undefined) return false
    this.#giveUp()
    return false
  }

  #giveUp(): void {
    this.claim = undefined
    this.#label = undefined
  }
}

/** What producers were told, and what must follow from it. */
class History {
  readonly #given = new Set<string>()
  /** Transactional id → the producer that was told last that it has it. */
  readonly #owners = new Map<string, TransactionClaim>()
  /** Label → how the transaction may have ended. */
  readonly #possible = new Map<string, Set<'commit' | 'abort'>>()

  newLabel(): string {
    const label = `transaction ${this.#possible.size}`
    // Until its end is asked for, it can only be aborted: by time or by another producer.
    this.#possible.set(label, new Set(['abort']))
    return label
  }

  given(claim: TransactionClaim): void {
    const name = `${claim.producerId} ${claim.producerEpoch}`
    expect(this.#given.has(name), `${name} was given twice`).toBe(false)
    this.#given.add(name)
    this.#owners.set(claim.transactionalId, claim)
  }

  wrote(claim: TransactionClaim, label: string | undefined): void {
    expect(label, 'something was written outside of a transaction').toBeDefined()
    this.#isOwner(claim)
  }

  asked(label: string, outcome: 'commit' | 'abort'): void {
    this.#possible.get(label)?.add(outcome)
  }

  answered(claim: TransactionClaim, label: string, outcome: 'commit' | 'abort'): void {
    this.#isOwner(claim)
    this.#possible.set(label, new Set([outcome]))
  }

  #isOwner(claim: TransactionClaim): void {
    expect(this.#owners.get(claim.transactionalId), 'the producer was shut out').toEqual(claim)
  }

  check(bench: TransactionBench): void {
    const ends = new Map<string, Set<string>>()
    for (const entries of bench.partitions.values()) {
      for (const [label, outcome] of outcomesIn(entries))
        ends.set(label, (ends.get(label) ?? new Set()).add(outcome))
    }
    expect(bench.staged, 'offsets wait for a transaction').toEqual([])
    for (const label of bench.offsets.get('g') ?? [])
      ends.set(label, (ends.get(label) ?? new Set()).add('commit'))
    for (const [label, outcomes] of ends) {
      expect(outcomes.size, `${label} ended as ${[...outcomes].join(' and ')}`).toBe(1)
      const [outcome] = outcomes
      expect([...(this.#possible.get(label) ?? [])], label).toContain(outcome)
    }
  }
}

test('whatever crashes and fails, every transaction ends as it was answered, everywhere alike', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 80 }), async (steps) => {
      const bench = new TransactionBench()
      const history = new History()
      const clients = [0, 1, 2, 3].map(
        (index) => new Client(bench, history, ids[index % 2] ?? ids[0]),
      )
      for (const each of steps) await take(each, bench, clients)
      bench.disarm()
      bench.restart()
      for (let minutes = 0; minutes < 3; minutes++) await bench.advance(timeoutMs)
      history.check(bench)
    }),
    { numRuns: 80 },
  )
})

test('two producers at once do not get in between each other', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(step, step, step), { minLength: 5, maxLength: 25 }),
      async (rounds) => {
        const bench = new TransactionBench()
        const history = new History()
        // One client of each id: who was told last that it has an id is known only when they do not ask at once.
        const clients = ids.map((id) => new Client(bench, history, id))
        for (const round of rounds) {
          const own = [0, 1].map(async (index) => {
            for (const each of round)
              if (!('client' in each) || each.client % 2 === index)
                await take(each, bench, clients, 'client' in each)
          })
          await Promise.all(own)
        }
        bench.disarm()
        bench.restart()
        for (let minutes = 0; minutes < 3; minutes++) await bench.advance(timeoutMs)
        history.check(bench)
      },
    ),
    { numRuns: 50 },
  )
})

async function take(
  each: Step,
  bench: TransactionBench,
  clients: readonly Client[],
  mayStartAnew = true,
): Promise<void> {
  if (each.kind === 'advance') return bench.advance(each.byMs)
  if (each.kind === 'trouble') return bench.arm(each.inSteps, each.trouble)
  if (each.kind === 'restart') return mayStartAnew ? bench.restart() : undefined
  const actor = clients[each.client % clients.length]
  if (each.kind === 'init') await actor?.init()
  else if (each.kind === 'add') await actor?.add(each.partitions)
  else if (each.kind === 'write') actor?.write()
  else if (each.kind === 'offset') await actor?.offset()
  else await actor?.end(each.kind)
  if (mayStartAnew && bench.isCrashed) bench.restart()
}
