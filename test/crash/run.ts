import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { Instance } from '../support/instance.ts'
import type { Random } from '../support/random.ts'
import { Account, Broken } from './checks.ts'
import { DefinitionFile } from './definition-file.ts'
import { Load } from './load.ts'

/** Everything is counted after this many kills. */
const killsBetweenCounts = 20
/** A process that was killed must be back, and answering, within this time. */
const patienceMs = 120_000

const victims = {
  ingest: ['ingest'],
  lake: ['lake'],
  both: ['ingest', 'lake'],
  supervisor: ['supervisor'],
  everything: ['supervisor', 'ingest', 'lake'],
} as const
type Victim = keyof typeof victims

/** One life of a data folder under load, with kills. */
export class CrashRun {
  readonly folder: string
  readonly instance: Instance
  readonly load: Load
  kills = 0
  readonly #definition: DefinitionFile
  readonly #account: Account
  readonly #random: Random
  readonly #say: (line: string) => void

  private constructor(
    parts: { folder: string; instance: Instance; definition: DefinitionFile },
    random: Random,
    say: (line: string) => void,
  ) {
    this.folder = parts.folder
    this.instance = parts.instance
    this.#definition = parts.definition
    this.#random = random
    this.#say = say
    this.load = new Load(parts.instance, random, () => parts.definition.types)
    this.#account = new Account(this.load)
  }

  static async start(random: Random, say: (line: string) => void): Promise<CrashRun> {
    const folder = await mkdtemp(join(tmpdir(), 'questlog-crash-'))
    const definition = new DefinitionFile(join(folder, 'questlog.config.ts'))
    await definition.save()
    const instance = await Instance.start(definition.path)
    return new CrashRun({ folder, instance, definition }, random, say)
  }

  /** Kills this many times; looks after each round, counts now and then and at the end. Throws Broken. */
  async play(kills: number): Promise<void> {
    let counted = 0
    while (this.kills < kills) {
      await this.#round()
      if (this.kills - counted < killsBetweenCounts && this.kills < kills) continue
      counted = this.kills
      await this.count()
    }
  }

  /** Holds the load and counts everything. */
  async count(): Promise<void> {
    const startMs = performance.now()
    await this.load.hold()
    await this.#account.count(this.instance, this.#definition.tables)
    this.load.resume()
    this.#say(
      `  counted: ${this.load.answered} answered of ${this.load.sent.size}, tables ${4 + this.#definition.tables.length}, audit 0 (${elapsed(startMs)})`,
    )
  }

  /** Ends the load and the instance, and removes the folders. */
  async end(): Promise<void> {
    await this.load.stop()
    await this.instance[Symbol.asyncDispose]()
    await rm(this.folder, { recursive: true, force: true })
  }

  async #round(): Promise<void> {
    const random = this.#random
    const startMs = performance.now()
    const victim = random.pick<Victim>([
      ...(['ingest', 'ingest', 'ingest', 'lake', 'lake', 'lake', 'lake'] as const),
      ...(['both', 'both', 'supervisor', 'everything'] as const),
    ])
    const pids = await this.#pids(victim)
    const change = random.chance(0.4) ? await this.#definition.change(random) : undefined
    await pause(random.below(change === undefined ? 400 : 900))
    this.#kill(pids)
    let what: string = victim
    if (victim === 'supervisor' || victim === 'everything') await this.#up()
    else if (random.chance(0.25)) what += await this.#again(victim, pids)
    await this.#isBack(5 + random.below(200))
    await this.#account.look(this.instance)
    const saved = change === undefined ? '' : `, saved: ${change}`
    this.#say(
      `kill ${this.kills}: ${what}${saved}; answered ${this.load.answered} (${elapsed(startMs)})`,
    )
  }

  /** Kills those that start again while they start. */
  async #again(victim: Victim, before: readonly number[]): Promise<string> {
    await pause(this.#random.below(300))
    const pids = (await this.#pids(victim)).filter((pid) => !before.includes(pid))
    await pause(this.#random.below(200))
    this.#kill(pids)
    return pids.length === 0 ? '' : ', and again while it starts'
  }

  /** Pids of the victims that run now; at least one. */
  async #pids(victim: Victim): Promise<number[]> {
    const endMs = performance.now() + patienceMs
    for (;;) {
      const { components } = await this.instance.status()
      const names: readonly string[] = victims[victim]
      const pids = components.flatMap(({ name, pid }) =>
        pid !== null && names.includes(name) ? [pid] : [],
      )
      if (pids.length > 0) return pids
      if (performance.now() > endMs) throw new Broken(`${victim} does not start again`)
    }
  }

  #kill(pids: readonly number[]): void {
    for (const pid of pids) {
      try {
        process.kill(pid, 'SIGKILL')
        this.kills++
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error // it has just ended by itself
      }
    }
  }

  async #up(): Promise<void> {
    await pause(this.#random.below(300))
    await this.instance.up()
  }

  /** Resolves when this many more events were answered. */
  async #isBack(count: number): Promise<void> {
    const endMs = performance.now() + patienceMs
    for (const target = this.load.answered + count; this.load.answered < target; await pause(10))
      if (performance.now() > endMs)
        throw new Broken(
          `no answers within ${patienceMs} ms: ${JSON.stringify(await this.instance.status())}`,
        )
  }
}

export function elapsed(startMs: number): string {
  return `${((performance.now() - startMs) / 1000).toFixed(1)} s`
}
