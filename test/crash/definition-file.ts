import { rename, writeFile } from 'node:fs/promises'
import type { Random } from '../support/random.ts'

/** Small segments and short triggers, so that a kill often hits a roll, a commit, a merge or a removal; a dead process starts again at once. */
const settings = {
  segmentBytesMax: 48 * 1024,
  restartDelayMs: 0,
  commitRetryDelayMs: 100,
  maintenanceIntervalMs: 100,
  snapshotAgeMsMin: 500,
  snapshotCountMin: 1,
  orphanAgeMsMin: 60_000,
}

const typesMax = 12
const tablesMax = 4

/** The definition file of a run, which changes while everything runs: routes and tables come, tables go and come back. */
export class DefinitionFile {
  readonly path: string
  /** Event types that saves have added; they stay. */
  readonly types: string[] = []
  /** Tables that saves have added and that are there now. */
  tables: readonly string[] = []
  #nextTable = 0
  #removed: string[] = []

  constructor(path: string) {
    this.path = path
  }

  /** Saves the file as it is now, in one step. */
  async save(): Promise<void> {
    await writeFile(`${this.path}.new`, this.#text())
    await rename(`${this.path}.new`, this.path)
  }

  /** Changes something and saves. Says what. */
  async change(random: Random): Promise<string> {
    const text = this.#alter(random)
    await this.save()
    return text
  }

  #alter(random: Random): string {
    if (this.types.length < typesMax && random.chance(0.4)) {
      const type = `added_${this.types.length}`
      this.types.push(type)
      return `route ${type}`
    }
    const [first] = this.tables
    if (first !== undefined && (this.tables.length === tablesMax || random.chance(0.3))) {
      this.tables = this.tables.slice(1)
      this.#removed.push(first)
      return `without table ${first}`
    }
    const back = random.chance(0.5) ? this.#removed.shift() : undefined
    const table = back ?? `copy_${this.#nextTable++}`
    this.tables = [...this.tables, table]
    return back === undefined ? `table ${table}` : `table ${table} again`
  }

  #text(): string {
    const number = { type: 'integer' }
    const params = (more: object) => ({ type: 'object', properties: { n: number, ...more } })
    const event = (type: string, topic: string, more: object, other: object = {}) => [
      type,
      { topic, route: `GET /${type}`, params: params(more), headers: false, ...other },
    ]
    const events = Object.fromEntries([
      event('strike', 'arena', { damage: number, color: { type: 'string' } }),
      event('join', 'arena', { guild: { type: 'string' } }, { key: 'guild' }),
      event('trade', 'market', { price: number }),
      event('chat', 'market', {}),
      ...this.types.map((type) => event(type, 'arena', {})),
    ])
    const copy = { from: '*', topic: 'arena', columns: ['n'] }
    const tables = {
      everything: { ...copy, trigger: '150ms' },
      strikes: { from: 'strike', trigger: '100ms' },
      red_strikes: { from: 'strike', where: "color = 'red'", trigger: '300ms' },
      trades: { from: 'trade', where: 'price > 10', trigger: '200ms' },
      ...Object.fromEntries(this.tables.map((name) => [name, { ...copy, trigger: '200ms' }])),
    }
    const topics = { arena: { partitions: 2 }, market: { partitions: 1 } }
    return `export default ${JSON.stringify({ topics, events, tables, settings }, null, 2)}\n`
  }
}
