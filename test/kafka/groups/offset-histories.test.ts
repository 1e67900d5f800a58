import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect, test } from 'vitest'
import type { HandlerClient } from '../call-handlers.ts'
import { seededRandom, type Random } from '../../support/random.ts'
import { CoordinatorBench, fetched, offsetsOf } from './coordinator-bench.ts'

const groupId = 'g'
const claim = { groupId, memberId: '', groupInstanceId: null, generationId: -1 }

/** One partition: what was sent in order, and up to where it was answered. */
interface Line {
  readonly sent: number[]
  answered: number
}

/** One seeded life of a group's offsets: commits by many requests at once, transactions, power losses at any moment. */
class History {
  readonly #random: Random
  readonly #bench: CoordinatorBench
  readonly #lines: readonly Line[] = [0, 1, 2].map(() => ({ sent: [], answered: -1 }))
  #next = 0

  constructor(seed: number) {
    this.#random = seededRandom(seed)
    this.#bench = new CoordinatorBench({}, seed)
  }

  async run(): Promise<void> {
    let client = await this.#bench.start()
    for (let life = 0; life < 6; life++) {
      const requests: Promise<void>[] = []
      const count = this.#random.below(30)
      for (let request = 0; request < count; request++) {
        requests.push(this.#random.chance(0.2) ? this.#transaction() : this.#commit(client))
        const turns = this.#random.below(3)
        for (let turn = 0; turn < turns; turn++) await nextTurn()
      }
      const isClean = this.#random.chance(0.3)
      if (isClean) await Promise.all(requests)
      this.#bench.files.crash()
      await Promise.allSettled(requests)
      client = await this.#bench.start()
      await this.#check(client)
    }
    await this.#bench.close()
  }

  #send(): { readonly line: Line; readonly partition: number; readonly offset: number } {
    const partition = this.#random.below(this.#lines.length)
    const line = this.#lines[partition]
    if (line === undefined) throw new Error('no such partition')
    // Offsets may go back: a client may commit what it likes.
    const offset = this.#random.below(1_000) * 1_000 + this.#next++
    return { line, partition, offset }
  }

  async #commit(client: HandlerClient): Promise<void> {
    const { line, partition, offset } = this.#send()
    const at = line.sent.push(offset) - 1
    const topics = offsetsOf('events', [partition, offset])
    const answer = await client.call('offsetCommit', { groupId, topics })
    if (answer.topics[0]?.partitions[0]?.errorCode === 0)
      line.answered = Math.max(line.answered, at)
  }

  async #transaction(): Promise<void> {
    const { line, partition, offset } = this.#send()
    const { commits } = this.#bench
    const producer = { producerId: ++this.#next, producerEpoch: 0 }
    const topics = [
      {
        name: 'events',
        partitions: [
          {
            partitionIndex: partition,
            committedOffset: offset,
            committedLeaderEpoch: -1,
            committedMetadata: null,
          },
        ],
      },
    ]
    const staged = await commits.stage({ ...claim, ...producer, topics })
    if (staged[0]?.partitions[0]?.errorCode !== 0) return
    const outcome = this.#random.pick<'commit' | 'abort'>(['commit', 'abort'])
    const at = outcome === 'commit' ? line.sent.push(offset) - 1 : -1
    try {
      await commits.finish(producer.producerId, 0, outcome)
      line.answered = Math.max(line.answered, at)
    } catch {
      // The power has failed: its outcome is one or the other.
    }
  }

  /** What was answered is there, or something that was sent after it; nothing older, and nothing that was never sent or was aborted. */
  async #check(client: HandlerClient): Promise<void> {
    const found = await client.call('offsetFetch', { groupId, topics: null }, 7)
    const offsets = fetched(found.topics)
    for (const [partition, line] of this.#lines.entries()) {
      const offset = offsets[partition] ?? -1
      const at = line.sent.indexOf(offset)
      expect(at).toBeGreaterThanOrEqual(line.answered)
      expect(at >= 0 || offset === -1).toBe(true)
      // From now on this is what is committed, whatever else was sent.
      line.sent.splice(at + 1)
      line.answered = at
    }
  }
}

test('an answered commit survives power losses, and no offset goes back to one that was committed earlier', async () => {
  for (let seed = 1; seed <= 12; seed++) {
    try {
      await new History(seed).run()
    } catch (error) {
      throw new Error(`seed ${seed}`, { cause: error })
    }
  }
})
