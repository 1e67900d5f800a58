import { replaceFile, type AppendFile, type Files } from '../core/files.ts'
import {
  abortedBytes,
  abortedIn,
  encodeAborted,
  encodeAbortedHeader,
  type AbortedContents,
} from './aborted.ts'
import { isDiskFull } from './failures.ts'
import type { AbortedTransaction } from './record.ts'
import type { AbortedEntry } from './transactions.ts'

/**
 * The index of a partition's aborted transactions, open for its one writer. Readers in other processes look transactions up in its file, so an entry must be in the file before
 * the last stable offset passes it. Never synced: it is derived from the record batches.
 */
export class AbortedIndex {
  readonly #files: Files
  readonly #path: string
  #firstNumber: number
  #entries: AbortedEntry[]
  /** So many entries are in the file. */
  #stored: number
  #file: AppendFile | undefined
  /** One change of the file at a time. */
  #work: Promise<unknown> = Promise.resolve()

  private constructor(files: Files, path: string, contents: AbortedContents) {
    this.#files = files
    this.#path = path
    this.#firstNumber = contents.firstNumber
    this.#entries = [...contents.entries]
    this.#stored = this.#entries.length
  }

  /** Brings the file to these contents. At no time it lacks an entry that it had rightly. */
  static async open(files: Files, path: string, contents: AbortedContents): Promise<AbortedIndex> {
    const index = new AbortedIndex(files, path, contents)
    const size = await files.sizeOf(path)
    if (size === undefined && contents.entries.length === 0 && contents.firstNumber === 0)
      return index
    const wanted = encodeContents(contents)
    const isRight = size === wanted.length && (await files.readAll(path)).equals(wanted)
    if (!isRight) await replaceFile(files, path, wanted)
    return index
  }

  /** As many entries as there ever were, pruned ones included. */
  get count(): number {
    return this.#firstNumber + this.#entries.length
  }

  /** The entries that are not pruned, in the order of their markers. */
  get entries(): readonly AbortedEntry[] {
    return this.#entries
  }

  /** Whether every entry is in the file. */
  get isStored(): boolean {
    return this.#stored === this.#entries.length
  }

  add(entry: AbortedEntry): void {
    this.#entries.push(entry)
  }

  /** Writes what is not in the file. False when the disk is full: then it may work later; any other error is final. */
  store(): Promise<boolean> {
    const stored = this.#work.then(() => this.#store())
    this.#work = stored.catch(() => {})
    return stored
  }

  async #store(): Promise<boolean> {
    const fresh = this.#entries.slice(this.#stored)
    if (fresh.length === 0) return true
    try {
      this.#file ??= await this.#files.openAppend(this.#path)
      const header = this.#file.size === 0 ? encodeAbortedHeader(this.#firstNumber) : undefined
      const entries = encodeAborted(fresh)
      await this.#file.append(header === undefined ? entries : Buffer.concat([header, entries]))
    } catch (error) {
      if (!isDiskFull(error)) throw error
      await this.#file?.truncate(this.#stored === 0 ? 0 : abortedBytes(this.#stored))
      return false
    }
    this.#stored += fresh.length
    return true
  }

  /** Forgets transactions that ended below an offset, as soon as they are half of the entries. */
  prune(belowOffset: number): Promise<void> {
    const pruned = this.#work.then(() => this.#prune(belowOffset))
    this.#work = pruned.catch(() => {})
    return pruned
  }

  async #prune(belowOffset: number): Promise<void> {
    const kept = this.#entries.findIndex(({ lastOffset }) => lastOffset >= belowOffset)
    const count = Math.min(kept === -1 ? this.#stored : kept, this.#stored)
    if (count === 0 || count * 2 < this.#entries.length) return
    const contents = {
      firstNumber: this.#firstNumber + count,
      entries: this.#entries.slice(count, this.#stored),
    }
    await replaceFile(this.#files, this.#path, encodeContents(contents))
    await this.#file?.close()
    this.#file = undefined
    this.#firstNumber = contents.firstNumber
    this.#entries = this.#entries.slice(count)
    this.#stored -= count
  }

  /** See PartitionView.read. */
  abortedIn(fromOffset: number, toOffset: number): readonly AbortedTransaction[] {
    return abortedIn(this.#entries, fromOffset, toOffset)
  }

  async close(): Promise<void> {
    await this.#work
    await this.#file?.close()
    this.#file = undefined
  }
}

function encodeContents({ firstNumber, entries }: AbortedContents): Buffer {
  return Buffer.concat([encodeAbortedHeader(firstNumber), encodeAborted(entries)])
}
