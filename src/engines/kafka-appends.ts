import { QuestlogError } from '../core/errors.ts'
import { soloBatchBytes } from '../log/record-batch.ts'
import type { NewRecord } from '../log/record.ts'

/** Where a sent batch ended up. */
export interface SentBatch {
  /** Offset of its first record. */
  readonly baseOffset: number
  readonly timestampMs: number
}

interface Waiting {
  readonly records: readonly NewRecord[]
  readonly bytes: number
  readonly resolve: (sent: SentBatch) => void
  readonly reject: (error: unknown) => void
}

export interface AppendQueueOptions {
  /** Sends records to the partition as one batch; resolves when they are acknowledged. */
  readonly send: (records: readonly NewRecord[]) => Promise<SentBatch>
  /** Appends are put together up to this size, bytes; a larger one goes alone. */
  readonly batchBytesMax: number
  /** More bytes that wait are refused. */
  readonly pendingBytesMax: number
}

/** Appends to one partition of a cluster: while a batch is on its way, what comes fills the next one. One at a time, so that order stays and an answer belongs to its batch. */
export class AppendQueue {
  readonly #options: AppendQueueOptions
  #waiting: Waiting[] = []
  #pendingBytes = 0
  #isRunning = false

  constructor(options: AppendQueueOptions) {
    this.#options = options
  }

  /** Resolves with the place of these records. OVERLOADED when too much waits; else what `send` rejects with. */
  append(records: readonly NewRecord[]): Promise<SentBatch> {
    const bytes = records.reduce((sum, record) => sum + soloBatchBytes(record), 0)
    if (this.#pendingBytes > 0 && this.#pendingBytes + bytes > this.#options.pendingBytesMax)
      throw new QuestlogError(
        'OVERLOADED',
        `${this.#pendingBytes} bytes wait for the cluster's answer already; nothing was kept`,
      )
    this.#pendingBytes += bytes
    return new Promise((resolve, reject) => {
      this.#waiting.push({ records, bytes, resolve, reject })
      if (!this.#isRunning) void this.#run()
    })
  }

  /** Never rejects: each append hears of its own failure. */
  async #run(): Promise<void> {
    this.#isRunning = true
    while (this.#waiting.length > 0) {
      // What is appended in the same turn of the event loop goes into one batch.
      await Promise.resolve()
      const batch = this.#takeBatch()
      await this.#send(batch)
      for (const { bytes } of batch) this.#pendingBytes -= bytes
    }
    this.#isRunning = false
  }

  #takeBatch(): Waiting[] {
    let bytes = 0
    const count = this.#waiting.findIndex((each) => {
      bytes += each.bytes
      return bytes > this.#options.batchBytesMax
    })
    return this.#waiting.splice(0, count === -1 ? this.#waiting.length : Math.max(1, count))
  }

  async #send(batch: readonly Waiting[]): Promise<void> {
    try {
      const sent = await this.#options.send(batch.flatMap(({ records }) => records))
      let { baseOffset } = sent
      for (const each of batch) {
        each.resolve({ ...sent, baseOffset })
        baseOffset += each.records.length
      }
    } catch (error) {
      // Together they may be too much for a topic that would take each.
      const isTooLarge = error instanceof QuestlogError && error.code === 'EVENT_TOO_LARGE'
      if (isTooLarge && batch.length > 1) for (const each of batch) await this.#send([each])
      else for (const { reject } of batch) reject(error)
    }
  }
}
