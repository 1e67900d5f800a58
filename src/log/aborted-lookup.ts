import type { Files } from '../core/files.ts'
import { isAborted, readAbortedSince } from './aborted.ts'
import { isControl, isTransactional } from './control-batch.ts'
import { abortedPath } from './layout.ts'
import type { RecordBatch } from './record-batch.ts'
import type { AbortedEntry } from './transactions.ts'

type ByProducer = ReadonlyMap<number, AbortedEntry[]>

interface Known {
  readonly incarnation: string | undefined
  /** Transactions with records below this offset are known. */
  readonly upTo: number
  readonly firstNumber: number
  readonly count: number
  readonly byProducer: ByProducer
}

/** What another process looks aborted transactions up in: their index files, each read again when there may be more. */
export class AbortedLookup {
  readonly #files: Files
  readonly #known = new Map<string, Known>()

  constructor(files: Files) {
    this.#files = files
  }

  /**
   * Tells of batches of a partition which hold no event: control batches, and those of aborted transactions. All of them lie below `upTo`, a last stable offset that
   * ingest has published in this incarnation, which is asked for only when it matters.
   */
  async exclusion(
    folder: string,
    incarnation: () => string | undefined,
    upTo: number,
    batches: readonly RecordBatch[],
  ): Promise<(batch: RecordBatch) => boolean> {
    if (!batches.some(isTransactional)) return isControl
    const byProducer = await this.#byProducer(folder, incarnation(), upTo)
    return (batch) =>
      isControl(batch) ||
      (isTransactional(batch) && isAborted(byProducer.get(batch.producerId), batch.baseOffset))
  }

  /** Forgets what it knows of a partition: its folder may be another topic's by now. */
  forget(folder: string): void {
    this.#known.delete(folder)
  }

  async #byProducer(
    folder: string,
    incarnation: string | undefined,
    upTo: number,
  ): Promise<ByProducer> {
    const last = this.#known.get(folder)
    // Another start of ingest may have made the index anew.
    const known = last?.incarnation === incarnation ? last : undefined
    if (known !== undefined && known.upTo >= upTo) return known.byProducer
    const read = await readAbortedSince(this.#files, abortedPath(folder), known)
    const isMore = read?.isMore === true && known !== undefined
    const byProducer = new Map<number, AbortedEntry[]>(isMore ? known.byProducer : [])
    const entries = read?.entries ?? []
    for (const entry of entries) {
      const own = byProducer.get(entry.producerId)
      if (own === undefined) byProducer.set(entry.producerId, [entry])
      else own.push(entry)
    }
    const count = (isMore ? known.count : 0) + entries.length
    const firstNumber = read?.firstNumber ?? 0
    this.#known.set(folder, { incarnation, upTo, firstNumber, count, byProducer })
    return byProducer
  }
}
