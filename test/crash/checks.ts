import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { realFiles } from '../../src/core/files.ts'
import { LogReader } from '../../src/log/reader.ts'
import type { Instance, Status } from '../support/instance.ts'
import { fateIn, type SentEvent } from './events.ts'
import type { Load } from './load.ts'

/** Everything must be back, and level, within this time. */
const patienceMs = 120_000
const shown = 12

/** A promise that did not hold, with what was found. */
export class Broken extends Error {}

/** Tables of every definition of the run. */
const arenaTables = ['everything', 'strikes', 'red_strikes']

interface FoundRow {
  readonly n: number
  readonly place: string
}

/** Asks until there is an answer: a process may be away or catching up. */
async function ask(instance: Instance, statement: string): Promise<unknown[][]> {
  const endMs = performance.now() + patienceMs
  for (;;) {
    const answer = await askOnce(instance, statement)
    if (Array.isArray(answer)) return answer
    if (performance.now() > endMs)
      throw new Broken(`no answer to "${statement}" within ${patienceMs} ms: ${answer}`)
    await pause(25)
  }
}

interface SqlLine {
  readonly rows?: unknown[][]
  readonly error?: { readonly code: string; readonly message: string }
  readonly stats?: object
}

/** The rows, or why there are none yet. */
async function askOnce(instance: Instance, statement: string): Promise<unknown[][] | string> {
  let text: string
  try {
    const response = await fetch(new URL('/sql', instance.endpoints.sql), {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ sql: statement }),
      signal: AbortSignal.timeout(patienceMs),
    })
    text = await response.text()
  } catch (error) {
    return String(error)
  }
  if (!text.includes('"stats"') && !text.includes('"error"')) return 'the answer was cut off'
  const lines = text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as SqlLine)
  const error = lines.find((line) => line.error !== undefined)?.error
  if (error === undefined) return lines.flatMap((line) => line.rows ?? [])
  if (['CATCHING_UP', 'SHUTTING_DOWN', 'NOT_RUNNING'].includes(error.code)) return error.code
  throw new Broken(`"${statement}" failed: ${error.code}: ${error.message}`)
}

async function rowsOf(
  instance: Instance,
  table: string,
  topic: string,
  from: number,
): Promise<FoundRow[]> {
  const rows = await ask(
    instance,
    `select n, _log_partition, _offset from ${table} where n >= ${from}`,
  )
  return rows.map(([n, partition, offset]) => ({
    n: Number(n),
    place: `${topic}/${String(partition)}/${String(offset)}`,
  }))
}

/** What was sent and what is known of it, for comparing with what is found. */
export class Account {
  readonly #load: Load
  /** Numbers below were compared by an earlier quick look. */
  #lookFrom = 0

  constructor(load: Load) {
    this.#load = load
  }

  /** While the load goes on: what was answered since the last look is there, once; nothing is there that was refused or not sent. */
  async look(instance: Instance): Promise<void> {
    const from = this.#lookFrom
    const settled = this.#load.settledBelow
    const due = [...this.#load.receipts.keys()].filter((n) => n >= from)
    for (const [table, topic] of [
      ['everything', 'arena'],
      ['trades', 'market'],
    ] as const)
      this.#compare(table, due, await rowsOf(instance, table, topic, from))
    this.#lookFrom = settled
  }

  /** Compares a table's rows with the events that must be in it. */
  #compare(table: string, due: readonly number[], rows: readonly FoundRow[]): void {
    const { sent, outcomes, receipts } = this.#load
    const places = new Map<number, string>()
    const wrong: string[] = []
    for (const { n, place } of rows) {
      const event = sent.get(n)
      if (places.has(n)) wrong.push(`${n} is there twice: ${places.get(n)} and ${place}`)
      places.set(n, place)
      if (event === undefined) wrong.push(`${n} at ${place} was never sent`)
      else if (fateIn(table, event) !== 'row') wrong.push(`${n} at ${place} does not belong there`)
      if (outcomes.get(n) === 'refused') wrong.push(`${n} at ${place} was refused`)
      const receipt = receipts.get(n)
      if (receipt !== undefined && receipt !== place)
        wrong.push(`${n} was answered as ${receipt}, but lies at ${place}`)
    }
    for (const n of due) {
      const event = sent.get(n)
      if (event !== undefined && fateIn(table, event) === 'row' && !places.has(n))
        wrong.push(`${n}, answered as ${receipts.get(n)}, is lost`)
    }
    fail(`table ${table}`, wrong)
  }

  /** With the load held: every table, row by row; the dead letters; the sums of `ps`; the offsets; `audit`. */
  async count(instance: Instance, addedTables: readonly string[]): Promise<void> {
    const due = [...this.#load.receipts.keys()]
    checkReceipts(this.#load.receipts)
    const everything = await rowsOf(instance, 'everything', 'arena', 0)
    this.#compare('everything', due, everything)
    const kept = new Set(everything.map(({ n }) => n))
    const isKept = (n: number) => kept.has(n) || this.#load.receipts.has(n)
    for (const table of [...arenaTables.slice(1), ...addedTables])
      this.#compare(table, [...kept], await rowsOf(instance, table, 'arena', 0))
    const trades = await rowsOf(instance, 'trades', 'market', 0)
    this.#compare('trades', due, trades)
    const aside = await this.#compareSetAside(instance, isKept)
    const status = await settledStatus(instance)
    checkArena(status, everything)
    await checkOffsets(instance, everything)
    this.#checkMarket(status, trades.length, aside)
    await checkAudit(instance)
  }

  /** Gives the number of records of `market` that were set aside. */
  async #compareSetAside(instance: Instance, isKept: (n: number) => boolean): Promise<number> {
    const rows = await ask(
      instance,
      `select topic, "partition", "offset", "table", cast(decode(raw) ->> 'n' as integer) from questlog.dead_letters`,
    )
    const wrong: string[] = []
    const found = new Set<string>()
    for (const [topic, partition, offset, table, number] of rows) {
      const n = Number(number)
      const event = this.#load.sent.get(n)
      const what = `${String(table)} ${n}`
      const place = `${String(topic)}/${String(partition)}/${String(offset)}`
      if (found.has(what)) wrong.push(`${what} at ${place} is there twice`)
      found.add(what)
      if (event === undefined || fateIn(String(table), event) !== 'set aside')
        wrong.push(`${what} at ${place} does not belong there`)
      if (this.#load.outcomes.get(n) === 'refused') wrong.push(`${what} was refused`)
      const receipt = this.#load.receipts.get(n)
      if (receipt !== undefined && receipt !== place)
        wrong.push(`${what} was answered as ${receipt}, but lies at ${place}`)
    }
    for (const event of this.#load.sent.values())
      for (const table of ['strikes', 'red_strikes', 'trades'])
        if (isKept(event.n) && isDeadLetter(table, event) && !found.has(`${table} ${event.n}`))
          wrong.push(`${table} ${event.n}, answered as ${this.#load.receipts.get(event.n)}`)
    fail('the dead letters', wrong)
    return rows.filter(([topic]) => topic === 'market').length
  }

  #checkMarket(status: Status, inTables: number, deadLetters: number): void {
    const topic = topicOf(status, 'market')
    const wrong: string[] = []
    if (topic.inTables !== inTables) wrong.push(`${inTables} are in tables`)
    if (topic.deadLetters !== deadLetters) wrong.push(`${deadLetters} were set aside`)
    const within = (name: string, count: number, isIt: (event: SentEvent) => boolean) => {
      const events = [...this.#load.sent.values()].filter(isIt)
      const least = events.filter(({ n }) => this.#load.outcomes.get(n) === 'answered').length
      const most = events.filter(({ n }) => this.#load.outcomes.get(n) !== 'refused').length
      if (count < least || count > most) wrong.push(`${least} to ${most} ${name}`)
    }
    within('were filtered', topic.filtered, (event) => {
      return event.type === 'trade' && fateIn('trades', event) === 'nothing'
    })
    within('are in no table', topic.unrouted, (event) => event.type === 'chat')
    const sum = topic.inTables + topic.filtered + topic.deadLetters + topic.unrouted
    if (sum !== topic.kept) wrong.push('the sum is another')
    fail(`the sums of ps ${JSON.stringify(topic)}`, wrong)
  }
}

const isDeadLetter = (table: string, event: SentEvent) => fateIn(table, event) === 'set aside'

function fail(where: string, wrong: readonly string[]): void {
  if (wrong.length === 0) return
  const more = wrong.length > shown ? `\n  and ${wrong.length - shown} more` : ''
  throw new Broken(`${where}:\n  ${wrong.slice(0, shown).join('\n  ')}${more}`)
}

function checkReceipts(receipts: ReadonlyMap<number, string>): void {
  const byPlace = new Map<string, number>()
  const wrong: string[] = []
  for (const [n, receipt] of receipts) {
    const other = byPlace.get(receipt)
    if (other !== undefined) wrong.push(`${receipt} was given to ${other} and to ${n}`)
    byPlace.set(receipt, n)
  }
  fail('the receipts', wrong)
}

/** The figures of `ps` once nothing is on the way any more. */
async function settledStatus(instance: Instance): Promise<Status> {
  const endMs = performance.now() + patienceMs
  for (;;) {
    const status = await instance.status()
    const running = status.components.every(({ state }) => state === 'running')
    const isSettled =
      status.topics.length > 0 && status.topics.every((topic) => topic.inFlight === 0)
    if (running && isSettled) return status
    if (status.topics.some((topic) => topic.inFlight < 0))
      throw new Broken(`ps counts more than was kept: ${JSON.stringify(status.topics)}`)
    if (performance.now() > endMs)
      throw new Broken(`still on the way after ${patienceMs} ms: ${JSON.stringify(status)}`)
    await pause(50)
  }
}

function topicOf(status: Status, name: string): Status['topics'][number] {
  const topic = status.topics.find((candidate) => candidate.name === name)
  if (topic === undefined) throw new Broken(`ps does not show topic ${name}`)
  return topic
}

/** Every event of `arena` is in table `everything`: its rows are all records. */
function checkArena(status: Status, rows: readonly FoundRow[]): void {
  const { kept, inTables, filtered, deadLetters, unrouted } = topicOf(status, 'arena')
  const found = JSON.stringify([kept, inTables, filtered, deadLetters, unrouted])
  const expected = JSON.stringify([rows.length, rows.length, 0, 0, 0])
  if (found !== expected)
    throw new Broken(`ps says ${found} of topic arena, but must say ${expected}`)
}

/** With fsync no end of a process makes a gap, and every offset below the end has its record. */
async function checkOffsets(instance: Instance, rows: readonly FoundRow[]): Promise<void> {
  const reader = new LogReader(realFiles, join(instance.data, 'log'))
  const topics = await reader.topics()
  const wrong: string[] = []
  for (const limit of reader.watermark()?.partitions ?? []) {
    const topic = topics.find(({ id }) => id === limit.topicId)?.name ?? limit.topicId
    const partition = `${topic}/${limit.partition}`
    if (limit.missingOffsets > 0) wrong.push(`${limit.missingOffsets} of ${partition} are missing`)
    if (topic !== 'arena') continue
    const there = new Set(rows.map(({ place }) => place))
    for (let offset = limit.startOffset; offset < limit.visibleOffset; offset++)
      if (!there.has(`${partition}/${offset}`)) wrong.push(`${partition}/${offset} is no row`)
  }
  await reader.close()
  fail('the offsets', wrong)
}

/** `audit` with exit code 0. */
export async function checkAudit(instance: Instance): Promise<void> {
  const { code, stdout, stderr } = await instance.audit()
  if (code !== 0 || !stdout.includes('everything adds up'))
    throw new Broken(`audit exits with ${code}:\n${stdout}${stderr}`)
}
