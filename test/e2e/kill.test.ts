import { expect, test } from 'vitest'
import { Instance } from '../support/instance.ts'
import { seededRandom } from '../support/random.ts'

const seed = Number(process.env['QUESTLOG_SEED'] ?? 20180726)
const routes = ['/purchase_a_sword', '/join_guild', '/']

/** Sends numbered events, single ones and batches, until it is told to stop. Nothing is sent twice. */
class Load {
  readonly sent = new Set<number>()
  readonly answered = new Set<number>()
  readonly #instance: Instance
  #running = true
  #waiting = { target: Number.POSITIVE_INFINITY, resolve: () => {} }
  #workers: Promise<void>[] = []

  constructor(instance: Instance, workers: number) {
    this.#instance = instance
    this.#workers = Array.from({ length: workers }, (_, index) =>
      index % 4 === 0 ? this.#batches() : this.#singles(),
    )
  }

  async stop(): Promise<void> {
    this.#running = false
    await Promise.all(this.#workers)
  }

  /** Resolves when this many more requests have been answered. */
  async more(count: number): Promise<void> {
    const target = this.answered.size + count
    await new Promise<void>((resolve) => (this.#waiting = { target, resolve }))
  }

  #answer(numbers: readonly number[]): void {
    for (const number of numbers) this.answered.add(number)
    if (this.answered.size >= this.#waiting.target) this.#waiting.resolve()
  }

  #next(): number {
    const number = this.sent.size + 1
    this.sent.add(number)
    return number
  }

  async #singles(): Promise<void> {
    while (this.#running) {
      const number = this.#next()
      const answer = await this.#instance
        .send(`${routes[number % routes.length]}?n=${number}`)
        .catch(() => undefined)
      if (answer?.status === 200) this.#answer([number])
      else await breathe()
    }
  }

  async #batches(): Promise<void> {
    while (this.#running) {
      const numbers = Array.from({ length: 20 }, () => this.#next())
      const body = numbers
        .map((n) => JSON.stringify({ event_type: 'join_guild', n: String(n) }))
        .join('\n')
      const answer = await this.#instance
        .send('/events', {
          method: 'POST',
          headers: { 'content-type': 'application/x-ndjson' },
          body,
        })
        .catch(() => undefined)
      if (answer?.status === 200) this.#answer(numbers)
      else await breathe()
    }
  }
}

/** Lets a process come back before the next try, without a fixed wait of any length that matters. */
const breathe = () => new Promise((resolve) => setTimeout(resolve, 5))

async function expectKept(instance: Instance, load: Load): Promise<void> {
  const rows = await instance.sql(
    `select cast(raw_event ->> 'n' as integer) as n, count(*) from events group by n`,
  )
  const found = new Map(rows.map(([number, count]) => [Number(number), Number(count)]))
  const missing = [...load.answered].filter((number) => !found.has(number))
  const doubled = [...found].filter(([, count]) => count !== 1).map(([number]) => number)
  const invented = [...found.keys()].filter((number) => !load.sent.has(number))
  expect({ seed, missing, doubled, invented }).toEqual({
    seed,
    missing: [],
    doubled: [],
    invented: [],
  })
  const [topic] = await instance.topics()
  expect(topic).toMatchObject({
    kept: found.size,
    inTables: found.size,
    filtered: 0,
    deadLetters: 0,
    unrouted: 0,
    inFlight: 0,
  })
  const audit = await instance.audit()
  expect(audit.stdout + audit.stderr).toContain('everything adds up')
  expect(audit.code).toBe(0)
}

test('kill -9 of ingest and of lake under load loses nothing that was answered, and doubles nothing', async () => {
  await using instance = await Instance.start()
  const random = seededRandom(seed)
  const load = new Load(instance, 8)
  for (const component of ['ingest', 'lake', 'lake', 'ingest']) {
    await load.more(50 + random.below(400))
    await instance.kill(component)
  }
  await load.more(200)
  await load.stop()
  await expectKept(instance, load)
})

test('kill -9 of the supervisor under load, and up again: the same', async () => {
  await using instance = await Instance.start()
  const load = new Load(instance, 8)
  await load.more(300)
  await instance.kill('supervisor')
  await instance.up()
  await load.more(300)
  await load.stop()
  await expectKept(instance, load)
})
