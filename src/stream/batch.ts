import type { TopicConversion } from './conversion.ts'
import type { FreshRows } from './fresh-rows.ts'
import type { SharedRows } from './shared-rows.ts'
import type { OffsetRange, TopicLedger } from './ledger.ts'
import type { Staged } from './record-runs.ts'
import type { SetAsideOffsets } from './set-aside-offsets.ts'
import type { StreamTable } from './stream-table.ts'

/** Records of one topic that are converted together. */
export interface MicroBatch {
  readonly topic: string
  readonly conversion: TopicConversion
  /** All tables of the topic: the ledger asks each of them. */
  readonly tables: readonly StreamTable[]
  /** The ones that take rows of this batch. */
  readonly filling: ReadonlySet<StreamTable>
  /** Whether the batch is of the past: what other tables hold of it is looked up in them, because their rules may have changed since. */
  readonly past: boolean
  readonly ledger: TopicLedger
  /** Where the rows go; undefined for a topic without tables. */
  readonly shared: SharedRows | undefined
  readonly deadLetters: FreshRows
  /** Records below were set aside already. */
  readonly setAside: SetAsideOffsets
  readonly records: readonly Staged[]
  /** The offsets that the batch covers, by partition, gaps included. */
  readonly ranges: ReadonlyMap<number, OffsetRange>
  /** Size of the records, decompressed. */
  readonly bytes: number
  readonly jsonDepthMax: number
}
