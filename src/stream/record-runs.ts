import { isUtf8 } from 'node:buffer'
import { locateValues, type RecordBatch, type ValuePlaces } from '../log/record-batch.ts'
import { isTimeInRange, type Pack, type PlacedRecord } from '../log/record-chunks.ts'
import { nestsDeeper, openers } from './nesting.ts'

/**
 * Records of one batch that follow each other and share their record time, as one text: a large batch is staged without an object and a vector's
 * item for each record. Only what has nothing to be looked at is in a run: UTF-8 within the depth limit, no headers, a time that tables have room for.
 */
export interface RecordRun {
  readonly partition: number
  readonly firstOffset: number
  readonly timestampMs: number
  readonly count: number
  /** The values, with a `runSeparator` between each two; none of them holds one. */
  readonly values: Buffer
}

/** What is staged: records one by one, and runs of them. */
export type Staged = PlacedRecord | RecordRun

/** ASCII's record separator: JSON text has no control characters but white space. */
export const runSeparator = 0x1e
const space = 0x20

export const isRun = (staged: Staged): staged is RecordRun => 'values' in staged

/** Packs the records of a batch into runs; undefined when one of them has to be looked at. Errors as `decodeRecords`. */
export function packRuns(depthMax: number): Pack<RecordRun> {
  return (partition, batch, records) => {
    const places = locateValues(batch, records)
    const values = places === undefined ? undefined : join(places)
    if (places === undefined || values === undefined) return undefined
    const { starts, ends } = places
    if (places.timestampsMs.some((timeMs) => !isTimeInRange(timeMs))) return undefined
    if (deepens(values, starts, ends, depthMax)) return undefined
    for (const end of ends.subarray(0, -1)) values[end] = runSeparator
    return { packed: cut(partition, batch, places, values), bytes: values.length }
  }
}

/** The records of a run, without their keys. */
export function recordsOf({ partition, firstOffset, timestampMs, values }: RecordRun) {
  const records: PlacedRecord[] = []
  for (let start = 0, offset = firstOffset; start <= values.length; offset++) {
    const found = values.indexOf(runSeparator, start)
    const end = found === -1 ? values.length : found
    const value = values.subarray(start, end)
    records.push({ partition, record: { key: null, value, headers: [], offset, timestampMs } })
    start = end + 1
  }
  return records
}

/** How many records these are. */
export function countRecords(staged: readonly Staged[]): number {
  return staged.reduce((sum, each) => sum + (isRun(each) ? each.count : 1), 0)
}

/** The values behind each other with a byte between each two, as `places` says from now on; undefined when they are not all UTF-8, or one holds the separator. */
function join({ bytes, starts, ends }: ValuePlaces): Buffer | undefined {
  const values = Buffer.from(bytes)
  let at = 0
  for (let index = 0; index < starts.length; index++) {
    const [start, end] = [starts[index] ?? 0, ends[index] ?? 0]
    values.copyWithin(at, start, end)
    starts[index] = at
    at += end - start
    ends[index] = at
    values[at++] = space
  }
  const joined = values.subarray(0, at - 1)
  // An ASCII byte after each value: all are UTF-8 exactly when the whole is.
  return isUtf8(joined) && !joined.includes(runSeparator) ? joined : undefined
}

/** Whether a value nests deeper than the limit. The openers of all are found first, which settles nearly every value. */
function deepens(
  values: Buffer,
  starts: Uint32Array,
  ends: Uint32Array,
  depthMax: number,
): boolean {
  const counts = new Uint32Array(starts.length)
  for (const opener of openers) {
    let index = 0
    for (let at = values.indexOf(opener); at !== -1; at = values.indexOf(opener, at + 1)) {
      while ((ends[index] ?? 0) <= at) index++
      counts[index] = (counts[index] ?? 0) + 1
    }
  }
  return counts.some(
    (count, index) =>
      count > depthMax && nestsDeeper(values.subarray(starts[index], ends[index]), depthMax),
  )
}

/** A run for each record time. */
function cut(
  partition: number,
  { baseOffset, recordCount }: RecordBatch,
  { starts, ends, timestampsMs }: ValuePlaces,
  values: Buffer,
): RecordRun[] {
  const runs: RecordRun[] = []
  for (let first = 0; first < recordCount;) {
    const timestampMs = timestampsMs[first] ?? 0
    let next = first + 1
    while (next < recordCount && timestampsMs[next] === timestampMs) next++
    runs.push({
      partition,
      firstOffset: baseOffset + first,
      timestampMs,
      count: next - first,
      values: values.subarray(starts[first], ends[next - 1]),
    })
    first = next
  }
  return runs
}
