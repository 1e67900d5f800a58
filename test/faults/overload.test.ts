import { readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { waitFor } from '../support/commands.ts'
import { Instance } from '../support/instance.ts'
import { Game } from './game.ts'
import { expectExactly, NumberedLoad, percentile } from './numbered-load.ts'

/** With QUESTLOG_TEST_FULL=1 lake is away for ten minutes at 5,000 events a second, and must be level within one. */
const full = process.env['QUESTLOG_TEST_FULL'] === '1'

const tenTables = Array.from(
  { length: 10 },
  (_, index) => `${index === 0 ? 'hits' : `hits_${index}`}: table({ from: 'hit', trigger: '1s' })`,
).join(', ')

test('more than the tables can take: 429 with Retry-After, memory stays flat, what is accepted is answered as fast as before, nothing is lost', async () => {
  await using game = await Game.write(tenTables)
  await using instance = await Instance.start(game.config, {
    environment: {
      QUESTLOG_BACKLOG_BYTES_MAX: String(2 * 1024 * 1024),
      QUESTLOG_BATCH_BYTES_MAX: String(64 * 1024), // many small micro-batches: lake converts less than ingest takes
      QUESTLOG_DUCKDB_THREADS: '1',
    },
  })
  const pid = await instance.pid('ingest')
  const load = new NumberedLoad(instance, { workers: 8, batch: 40, padBytes: 400 })
  await waitFor('the backlog is full', 300_000, async () => (load.statuses.get(429) ?? 0) > 20)
  const halves: { memory: number; p90: number; answers: number }[] = []
  const startMs = performance.now()
  for (const target of [1, 2]) {
    const from = load.tookMs.length
    const refused = load.statuses.get(429) ?? 0
    const sizes: number[] = []
    await waitFor('more answers and refusals', 300_000, async () => {
      sizes.push(await residentMiB(pid))
      const answers = load.tookMs.length - from
      return (
        performance.now() - startMs > target * 5_000 &&
        answers > 50 &&
        (load.statuses.get(429) ?? 0) > refused + 20 &&
        load.next > load.answered.size * 1.5
      )
    })
    const took = load.tookMs.slice(from)
    // Not the slowest of all: those tell of the machine's own pauses.
    halves.push({
      memory: Math.max(...sizes),
      p90: percentile(took, 0.9),
      answers: took.length,
    })
  }
  const seconds = (performance.now() - startMs) / 1000
  await load.stop()
  expect([...load.statuses.keys()].toSorted((one, other) => one - other)).toEqual([200, 429])
  for (const { retryAfter, body } of load.refusals) {
    expect(retryAfter).toBe('5')
    expect(body).toContain('BEHIND')
  }
  const [first, second] = halves
  if (first === undefined || second === undefined) throw new Error('not measured')
  const accepted = (first.answers + second.answers) * 40
  console.log(
    `overload: ${load.next} events sent, ${load.answered.size} accepted (${Math.round(accepted / seconds)}/s), the rest refused; ` +
      `p90 of the accepted ${first.p90.toFixed(0)} then ${second.p90.toFixed(0)} ms; memory of ingest ${first.memory.toFixed(0)} then ${second.memory.toFixed(0)} MiB`,
  )
  expect(second.memory).toBeLessThan(first.memory * 1.3 + 16)
  expect(second.p90).toBeLessThan(first.p90 * 10 + 100)
  await expectExactly(instance, load)
})

test(
  'while lake stands still every event is taken; when it goes on it is level soon, and everything is there once',
  { timeout: full ? 2_400_000 : 1_200_000 },
  async () => {
    await using game = await Game.write(`hits: table({ from: 'hit' })`)
    await using instance = await Instance.start(game.config)
    const pid = await instance.pid('lake')
    const ingest = await instance.pid('ingest')
    const load = new NumberedLoad(instance, {
      workers: 4,
      batch: 50,
      padBytes: 100,
      eventsPerSecond: full ? 5_000 : 2_000,
    })
    await waitFor('answers', 120_000, async () => load.answered.size > 2_000)
    const before = await residentMiB(ingest)
    const answeredBefore = load.answered.size
    const away = full ? 600_000 : 10_000
    const stoppedMs = performance.now()
    process.kill(pid, 'SIGSTOP')
    try {
      await waitFor('the time', away * 2, async () => performance.now() - stoppedMs > away)
    } finally {
      process.kill(pid, 'SIGCONT')
    }
    const meanwhile = load.answered.size - answeredBefore
    const after = await residentMiB(ingest)
    const continuedMs = performance.now()
    const counted = await instance.sql('select count(*) from hits')
    const levelMs = performance.now() - continuedMs
    expect(Number(counted[0]?.[0])).toBeGreaterThanOrEqual(answeredBefore + meanwhile)
    await load.stop()
    console.log(
      `lake away for ${away / 1000} s: ${meanwhile} events (${Math.round(meanwhile / (away / 1000))}/s) answered meanwhile, level after ${(levelMs / 1000).toFixed(1)} s; ` +
        `memory of ingest ${before.toFixed(0)} then ${after.toFixed(0)} MiB`,
    )
    expect([...load.statuses.keys()]).toEqual([200])
    expect(meanwhile).toBeGreaterThan(1_000)
    expect(levelMs).toBeLessThan(full ? 60_000 : away)
    expect(await instance.pid('lake')).toBe(pid)
    expect(
      await instance.sql(
        `select count(*), count(distinct n), cast(sum(n) as varchar) from (select cast(raw_event ->> 'n' as bigint) as n from hits)`,
      ),
    ).toEqual([[load.answered.size, load.answered.size, String(sumOf(load.answered))]])
    expect((await instance.audit()).code).toBe(0)
  },
)

test('one table of ten that can not be committed: the nine others go on committing, all ten show every event at once, and it catches up', async () => {
  await using game = await Game.write(tenTables)
  await using instance = await Instance.start(game.config)
  const folder = (table: string) => join(instance.data, 'lake', 'default', table)
  const healthy = ['hits', ...[1, 2, 4, 5, 6, 7, 8, 9].map((index) => `hits_${index}`)]
  const broken = 'hits_3'
  const metadata = join(folder(broken), 'metadata')
  const load = new NumberedLoad(instance, {
    workers: 2,
    batch: 5,
    padBytes: 100,
    eventsPerSecond: 200,
  })
  await waitFor('commits', 300_000, async () => (await version(folder(broken))) > 2)
  const normal = await freshness(instance, load, healthy, broken, 10)
  await rename(metadata, `${metadata}.away`)
  await writeFile(metadata, '')
  let failing: number[]
  try {
    const failed = `table ${broken} can't be committed`
    await waitFor('a failure', 300_000, async () => (await instance.ps()).includes(failed))
    const versions = await Promise.all(healthy.map((table) => version(folder(table))))
    failing = await freshness(instance, load, healthy, broken, 10)
    await waitFor('three more commits of each of the others', 300_000, async () => {
      const now = await Promise.all(healthy.map((table) => version(folder(table))))
      return now.every((one, index) => one >= (versions[index] ?? 0) + 3)
    })
    const ps = await instance.ps()
    expect(ps).toContain(failed)
    for (const table of healthy) expect(ps).not.toContain(`table ${table} can't be committed`)
  } finally {
    await rm(metadata)
    await rename(`${metadata}.away`, metadata)
  }
  await waitFor('a commit of the tenth', 300_000, async () =>
    (await instance.ps()).includes(broken) ? false : true,
  )
  await load.stop()
  console.log(
    `failing table: a statement over two tables took ${percentile(normal, 0.5).toFixed(0)} ms before, ${percentile(failing, 0.5).toFixed(0)} ms while one of ten failed (medians)`,
  )
  await expectExactly(instance, load)
})

/** Asks for the failing table and for one of the others: both must show everything that was answered before. Milliseconds that each statement took. */
async function freshness(
  instance: Instance,
  load: NumberedLoad,
  healthy: readonly string[],
  broken: string,
  times: number,
): Promise<number[]> {
  const tookMs: number[] = []
  for (let time = 0; time < times; time++) {
    const table = healthy[time % healthy.length] ?? 'hits'
    const answered = load.answered.size
    const startMs = performance.now()
    const [row] = await instance.sql(
      `select (select count(*) from ${table}), (select count(*) from ${broken})`,
    )
    tookMs.push(performance.now() - startMs)
    expect(Number(row?.[0])).toBeGreaterThanOrEqual(answered)
    expect(row?.[1]).toBe(row?.[0])
  }
  return tookMs
}

/** The highest committed version of a table; 0 when its folder can't be read. */
async function version(table: string): Promise<number> {
  const names = await readdir(join(table, 'metadata')).catch(() => [])
  return Math.max(0, ...names.map((name) => Number(/^v(\d+)\./.exec(name)?.[1] ?? 0)))
}

async function residentMiB(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) / 1024
}

function sumOf(numbers: Iterable<number>): number {
  let sum = 0
  for (const number of numbers) sum += number
  return sum
}
