import { join } from 'node:path'
import { expect, test } from 'vitest'
import { QuestlogError } from '../../src/core/errors.ts'
import { Cleaner } from '../../src/lake/cleaner.ts'
import { metadataFolder, pathOf } from '../../src/lake/location.ts'
import { isLive, readManifest, type DataFile } from '../../src/lake/manifest.ts'
import { readManifestList } from '../../src/lake/manifest-list.ts'
import { syncDataFiles } from '../../src/lake/parquet.ts'
import { decodeMetadata, ownSpec } from '../../src/lake/metadata.ts'
import { createTable, openDurableTable, openTable, type LakeTable } from '../../src/lake/table.ts'
import { findVersion, highestVersion, versionPath } from '../../src/lake/versions.ts'
import type { Column } from '../../src/plan/columns.ts'
import { seededRandom, type Random } from '../support/random.ts'
import { SimulatedClock } from '../support/simulated-clock.ts'
import { SimulatedFiles } from '../support/simulated-files.ts'
import { plainColumns } from './support.ts'

const snapshotPolicy = { ageMsMin: 4, countMin: 4, countMax: 10 }
const orphanAgeMs = 24
const lakeFolder = '/data/lake'
const triesMax = 4

interface Batch {
  readonly id: string
  /** Undefined until its data file is written; none for a commit of properties only. The sync goes on while the commit writes its metadata. */
  written: { readonly files: readonly DataFile[]; readonly synced: Promise<void> } | undefined
  readonly hasRows: boolean
}

/**
 * One seeded life of a table: writers that know nothing of each other commit, evolve, compact and clean up on a disk that fails; the machine stops at any operation
 * of it. What DuckDB would write is a few bytes here, synced by the same code.
 */
class History {
  readonly files: SimulatedFiles
  readonly random: Random
  readonly faulty: boolean
  readonly clock = new SimulatedClock()
  /** Batches in the order in which they were begun. */
  readonly batches: Batch[] = []
  readonly acknowledged = new Set<string>()
  readonly bytesOf = new Map<string, Buffer>()
  /** The batches whose rows a data file holds. */
  readonly #batchesOf = new Map<string, readonly string[]>()
  readonly #cleaners = new Map<LakeTable, Cleaner>()
  compactions = 0
  /** Batches that were not acknowledged at the end of the last life. */
  unknown = 0
  removedFiles = 0
  /** Columns that an acknowledged evolution has added. */
  readonly columnsDone = new Set<string>()
  isCreated = false
  /** What the table held at the last look: no later state may be without it. */
  #held: readonly string[] = []
  /** Whether the last end was a power failure. */
  #isDurable = false
  #columns: readonly Column[] = plainColumns

  constructor(seed: number, faulty: boolean) {
    this.files = new SimulatedFiles({ seed, nowMs: () => this.clock.nowMs() })
    this.random = seededRandom(seed + 1)
    this.faulty = faulty
  }

  at() {
    const { files, clock } = this
    return { files, clock, lakeFolder, namespace: 'default', name: 'swords' }
  }

  /** One life of the machine, up to a stop at any operation or after the last. A writer of an earlier process may still be there: a zombie. */
  async run(zombies: readonly LakeTable[]): Promise<LakeTable[]> {
    const { files, random } = this
    files.stopAt = files.operations + random.below(random.pick([15, 60, 150, 500]))
    if (this.faulty) {
      const probability = random.pick([0, 0.01, 0.05])
      files.fault = (operation) =>
        operation !== 'read' && random.chance(probability) ? 'EIO' : undefined
    }
    this.#cleaners.clear()
    const own = await this.#open()
    const writers = own === undefined ? [...zombies] : [own, ...zombies]
    const rounds = 1 + random.below(random.pick([4, 20]))
    for (let round = 0; round < rounds && !files.stopped; round++) {
      await Promise.all(writers.map((table) => this.#step(table)))
      this.clock.advance(random.below(5))
    }
    files.fault = () => undefined
    this.#isDurable = random.chance(0.5)
    if (!this.#isDurable) {
      files.kill()
      return random.chance(0.3) ? writers : []
    }
    files.crash()
    return []
  }

  async #open(): Promise<LakeTable | undefined> {
    return this.#attempt(async () => {
      const table =
        (await openDurableTable(this.at())) ?? (await createTable(this.at(), plainColumns, {}))
      this.isCreated = true
      this.#held = await this.#batches(table) // whoever builds on it may rely on it
      return table
    })
  }

  async #step(table: LakeTable): Promise<void> {
    const { random } = this
    const choice = random.below(14)
    if (choice === 0) await this.#attempt(() => table.reload())
    else if (choice === 1) await this.#evolve(table)
    else if (choice <= 4) await this.#compact(table)
    else if (choice <= 7) await this.#clean(table)
    else await this.#commit(table, this.#batch())
  }

  /** A new batch, or one whose outcome is not known: it is tried again under its id, also by another writer. */
  #batch(): Batch {
    const [first, ...rest] = this.#openBatches()
    if (first !== undefined && this.random.chance(0.3)) return this.random.pick([first, ...rest])
    const id = `batch${this.batches.length}`
    const hasRows = this.random.chance(0.85)
    const batch: Batch = { id, written: undefined, hasRows }
    this.batches.push(batch)
    return batch
  }

  /** Batches that may still be tried again. */
  #openBatches(): Batch[] {
    return this.batches.filter(({ id, hasRows }) => hasRows && !this.acknowledged.has(id))
  }

  async #commit(table: LakeTable, batch: Batch): Promise<void> {
    for (let tries = 0; tries < triesMax && !this.files.stopped; tries++) {
      const done = await this.#attempt(async () => {
        const written = (batch.written ??= await this.#write(table, batch))
        const properties = { [`done-${batch.id}`]: '1' }
        await table
          .commit({ batchId: batch.id, ...written, properties })
          .catch(async (error: unknown) => {
            await written.synced.catch(() => (batch.written = undefined))
            throw error
          })
        return true
      })
      if (done === true) return void this.acknowledged.add(batch.id)
    }
  }

  async #write(table: LakeTable, { id, hasRows }: Batch) {
    const files = hasRows ? [await this.#writeData(table, id)] : []
    return { files, synced: syncDataFiles(this.files, files) }
  }

  async #evolve(table: LakeTable): Promise<void> {
    const name = `column${this.random.below(4)}`
    const known = table.columns.some((column) => column.name === name)
    const columns = known
      ? table.columns
      : [...table.columns, { name, type: { kind: 'string' } } as const]
    const done = await this.#attempt(async () => {
      await table.evolve(columns)
      return true
    })
    if (done === true) this.columnsDone.add(name)
  }

  /** Any of the table's files become one, as if somebody had merged their rows. */
  async #compact(table: LakeTable): Promise<void> {
    await this.#attempt(async () => {
      const live = await table.liveFiles()
      if (live.length < 2) return
      const some = live.filter(() => this.random.chance(0.7))
      const chosen = some.length < 2 ? live : some
      const held = chosen.flatMap((file) => this.#batchesOf.get(file.path) ?? [])
      const added = [await this.#writeData(table, 'merged', held)]
      await syncDataFiles(this.files, added)
      await table.replaceFiles({ replaced: chosen.map(({ path }) => path), added })
      this.compactions++
    })
  }

  /** Old snapshots go, and what nothing names, as long as no batch that may still be committed needs it. */
  async #clean(table: LakeTable): Promise<void> {
    const { files, clock } = this
    const isInUse = (path: string) =>
      this.#openBatches().some(
        ({ written }) => written?.files.some((file) => file.path === path) === true,
      )
    const cleaner =
      this.#cleaners.get(table) ??
      new Cleaner({
        files,
        clock,
        table,
        snapshots: snapshotPolicy,
        orphanAgeMsMin: orphanAgeMs,
        readersNow: () => () => true,
        isInUse,
      })
    this.#cleaners.set(table, cleaner)
    // A batch of another writer that is tried again must find the snapshot that has it.
    if (this.#openBatches().length === 0) await this.#attempt(() => cleaner.expire())
    this.removedFiles += (await this.#attempt(() => cleaner.removeExpired())) ?? 0
    this.removedFiles += (await this.#attempt(() => cleaner.removeOrphans())) ?? 0
  }

  /** After a quiet time, and with all batches done, there is nothing in the table's folder that it does not name. */
  async cleanUp(): Promise<void> {
    const table = await this.#open()
    if (table === undefined) return
    this.unknown = this.#openBatches().length
    for (const batch of this.#openBatches()) await this.#commit(table, batch)
    for (let round = 0; round < 4; round++) {
      this.clock.advance(2 * orphanAgeMs)
      await this.#clean(table)
    }
    const named = new Set(await this.#namedFiles(table))
    const left = this.files.paths().filter((path) => /\.(?:parquet|avro|tmp)$/.test(path))
    for (const path of left) must(named.has(path), `${path} was left behind`)
  }

  /** As COPY does. */
  async #writeData(
    table: LakeTable,
    name: string,
    held: readonly string[] = [name],
  ): Promise<DataFile> {
    const folder = join(table.folder, 'data')
    const path = join(folder, `${name}-${this.bytesOf.size}.parquet`)
    const bytes = Buffer.from(`${name} ${'x'.repeat(this.random.below(200))}`)
    this.bytesOf.set(path, bytes)
    this.#batchesOf.set(path, held)
    const file = await this.files.openAppend(path)
    await file.append(bytes)
    await file.close()
    const none = new Map<number, never>()
    const [columnSizes, valueCounts, nullCounts, nanCounts] = [none, none, none, none]
    const counts = { columnSizes, valueCounts, nullCounts, nanCounts }
    const metrics = { ...counts, lowerBounds: none, upperBounds: none }
    const recordCount = held.length
    return { path, recordCount, sizeBytes: bytes.length, day: '2026-11-21', metrics }
  }

  /** Undefined after an error that a caller lives with: a conflict, an unknown outcome, a failed operation, the end of the machine. */
  async #attempt<T>(work: () => Promise<T>): Promise<T | undefined> {
    try {
      return await work()
    } catch (error) {
      if (this.files.stopped) return undefined
      const code = error instanceof QuestlogError ? error.code : String(error)
      if (['COMMIT_CONFLICT', 'OUTCOME_UNKNOWN'].includes(code)) return undefined
      if (this.faulty && code.includes('EIO')) return undefined
      throw error
    }
  }

  /** As another process finds it: whole, with everything acknowledged, each batch once. */
  async check(): Promise<void> {
    const { files } = this
    const table = await openTable(this.at())
    if (table === undefined) {
      must(!this.isCreated, 'the table was created, but is not there')
      return
    }
    const found = await this.#checkFiles(table)
    must(new Set(found).size === found.length, `a batch is there twice: ${found.join(' ')}`)
    const holdsAll = this.#held.every((id) => found.includes(id))
    must(holdsAll, `it held ${this.#held.join(' ')}, now ${found.join(' ')}`)
    // What a reader sees after a kill may not be on the disk yet; after a power failure it is.
    if (this.#isDurable) this.#held = found
    for (const batch of this.batches) {
      const isDone = table.properties[`done-${batch.id}`] === '1'
      if (this.acknowledged.has(batch.id)) must(isDone, `${batch.id} was acknowledged, but is lost`)
      if (batch.hasRows)
        must(found.includes(batch.id) === isDone, `${batch.id}: rows and properties disagree`)
    }
    must(table.recordCount === found.length, `it says ${table.recordCount} rows`)
    const names = table.columns.map(({ name }) => name)
    for (const name of [...this.columnsDone, ...this.#columns.map((column) => column.name)])
      must(names.includes(name), `column ${name} is lost`)
    if (this.#isDurable) this.#columns = table.columns
    const folder = metadataFolder(table.folder)
    const version = await highestVersion(files, folder)
    must((await findVersion(files, folder)) === version, `the hint hides version ${version}`)
  }

  /** Everything that the metadata names, of every snapshot, exists with its bytes. Gives the batches of the current one. */
  async #checkFiles(table: LakeTable): Promise<string[]> {
    const { files } = this
    const path = versionPath(metadataFolder(table.folder), table.version)
    const metadata = decodeMetadata(await files.readAll(path), path)
    for (const { 'metadata-file': previous } of metadata['metadata-log'] ?? [])
      must(((await files.sizeOf(pathOf(previous))) ?? 0) > 0, `${previous} is gone`)
    for (const named of await this.#namedFiles(table)) {
      if (!named.endsWith('.parquet')) continue
      const bytes = await files.readAll(named)
      must(this.bytesOf.get(named)?.equals(bytes) === true, `${named} has other bytes`)
    }
    return this.#batches(table)
  }

  /** Manifest lists, manifests and live data files of all snapshots, read without the code that decides what may go. */
  async #namedFiles({ metadata }: LakeTable): Promise<string[]> {
    const named: string[] = []
    const spec = ownSpec(metadata)
    for (const snapshot of metadata.snapshots ?? []) {
      named.push(pathOf(snapshot['manifest-list']))
      let rows = 0
      for (const manifest of await readManifestList(this.files, snapshot['manifest-list'])) {
        named.push(pathOf(manifest.manifest_path))
        for (const entry of await readManifest(this.files, manifest, spec)) {
          if (!isLive(entry)) continue
          named.push(pathOf(entry.data_file.file_path))
          rows += Number(entry.data_file.record_count)
        }
      }
      must(snapshot.summary['total-records'] === String(rows), `a snapshot has ${rows} rows`)
    }
    return named
  }

  async #batches(table: LakeTable): Promise<string[]> {
    const live = await table.liveFiles()
    return live.flatMap((file) => this.#batchesOf.get(file.path) ?? [file.path])
  }
}

/** As expect, at the price of a comparison: a history makes thousands of them. */
function must(holds: boolean, message: string): void {
  if (!holds) throw new Error(message)
}

async function play(seed: number, faulty: boolean): Promise<History> {
  const history = new History(seed, faulty)
  try {
    const lives = 1 + history.random.below(4)
    let zombies: readonly LakeTable[] = []
    for (let life = 0; life < lives; life++) {
      zombies = await history.run(zombies)
      await history.check()
    }
    await history.cleanUp()
    await history.check()
  } catch (error) {
    throw new Error(`history ${seed}${faulty ? ' on a failing disk' : ''} breaks a promise`, {
      cause: error,
    })
  }
  return history
}

// More of them for a long run: QUESTLOG_TEST_HISTORIES=100000.
const histories = Number(process.env['QUESTLOG_TEST_HISTORIES'] ?? 250)
const patience = 120_000

test(
  'what a table has committed survives every stop, each batch once, and no file that a snapshot names is gone',
  async () => {
    for (let seed = 0; seed < histories; seed++) await play(seed, false)
  },
  patience,
)

test(
  'and also when operations fail, and when a link fails after it was made',
  async () => {
    let acknowledged = 0
    let unknown = 0
    let compactions = 0
    let removedFiles = 0
    for (let seed = 0; seed < histories; seed++) {
      const history = await play(seed, true)
      acknowledged += history.acknowledged.size
      compactions += history.compactions
      removedFiles += history.removedFiles
      unknown += history.unknown
    }
    // They do what they are for: they stop in the middle, and batches are acknowledged. About half of what so many histories bring, so that it holds for any seeds.
    expect(acknowledged).toBeGreaterThan(1.5 * histories)
    expect(compactions).toBeGreaterThan(0.15 * histories)
    expect(removedFiles).toBeGreaterThan(2 * histories)
    expect(unknown).toBeGreaterThan(0.2 * histories)
  },
  patience,
)
