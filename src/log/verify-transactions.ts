import type { Files } from '../core/files.ts'
import { readAborted } from './aborted.ts'
import { abortedPath, listSnapshots, snapshotPath } from './layout.ts'
import { emptyProducerState, replayBatch } from './producer-state.ts'
import { readSnapshot } from './producer-snapshot.ts'
import type { RecordBatch } from './record-batch.ts'
import type { AbortedEntry } from './transactions.ts'

/** What is wrong with a file, or only worth a word. */
export interface Finding {
  readonly file: string
  readonly reason: string
  readonly isDamage: boolean
}

/** Follows the transactions of a partition batch by batch, and compares what becomes of them with the files that say it. */
export class TransactionCheck {
  readonly #state = emptyProducerState({ countMax: 0, idleMaxMs: 0 })
  readonly #aborted: AbortedEntry[] = []

  /** The next batch of the log. */
  note(batch: RecordBatch): void {
    const place = { offset: batch.baseOffset, segmentBaseOffset: 0, position: 0 }
    const entry = replayBatch(this.#state, batch, place, 0)
    if (entry !== undefined) this.#aborted.push(entry)
  }

  /** Compares with the index of aborted transactions and the snapshots in a folder. While ingest runs the index must be right; else the next start makes it so. */
  async compare(
    files: Files,
    folder: string,
    log: { readonly startOffset: number; readonly endOffset: number; readonly running: boolean },
  ): Promise<Finding[]> {
    return [
      ...(await this.#compareAborted(files, abortedPath(folder), log)),
      ...(await this.#compareSnapshots(files, folder, log.endOffset)),
    ]
  }

  async #compareAborted(
    files: Files,
    file: string,
    {
      startOffset,
      endOffset,
      running,
    }: { readonly startOffset: number; readonly endOffset: number; readonly running: boolean },
  ): Promise<Finding[]> {
    const kept = (await readAborted(files, file))?.entries ?? []
    const known = new Map(kept.map((entry) => [entry.lastOffset, entry]))
    const rest = running ? '' : '; the next start makes it anew'
    const isLacking = this.#aborted.some(({ producerId, firstOffset, lastOffset }) => {
      const entry = known.get(lastOffset)
      // What retention has removed of a transaction was not seen.
      return entry?.producerId !== producerId || entry.firstOffset > firstOffset
    })
    const found = new Set(this.#aborted.map(({ lastOffset }) => lastOffset))
    const isWrong = kept.some(
      ({ firstOffset, lastOffset }) =>
        firstOffset >= startOffset && lastOffset < endOffset && !found.has(lastOffset),
    )
    const findings: Finding[] = []
    if (isLacking)
      findings.push({ file, reason: `it lacks aborted transactions${rest}`, isDamage: running })
    if (isWrong)
      findings.push({
        file,
        reason: `it names transactions that were not aborted${rest}`,
        isDamage: running,
      })
    return findings
  }

  async #compareSnapshots(files: Files, folder: string, endOffset: number): Promise<Finding[]> {
    const findings: Finding[] = []
    for (const offset of await listSnapshots(files, folder)) {
      if (offset > endOffset || (await readSnapshot(files, folder, offset)) !== undefined) continue
      const reason = 'it is torn; the next start reads more of the log instead'
      findings.push({ file: snapshotPath(folder, offset), reason, isDamage: false })
    }
    return findings
  }
}
