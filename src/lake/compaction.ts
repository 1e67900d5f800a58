import type { LiveFile } from './manifest.ts'

export interface CompactionPolicy {
  /** Files are merged up to this size. A day that holds more than 16 such files takes larger ones. */
  readonly bytesMax: number
  /** Most live files of the table, besides one for each closed day. */
  readonly liveFilesMax: number
}

/** Files of one day that are to become one. */
export interface CompactionPlan {
  readonly day: string | null
  readonly files: readonly LiveFile[]
}

/** So many files of about the same number of rows are merged; so a row is written again once for each power of this in the rows of its day. */
const fanIn = 8
/** Most files that are merged at once. */
const inputsMax = 100
/** A file above this part of the size limit stays as it is. */
const fullPart = 0.75
const fullFilesMax = 16

/**
 * What to merge next, or undefined when the files are in order. In an open day files of the same tier (power of 8 in rows) are merged as soon as there are 8 of
 * them, smaller ones along with them; a day that is closed (nothing is added to it any more) becomes one file. `isClosed` says which days are.
 * When there are still more files than the table may have, the day with most small files gives up its smallest, whatever their tiers.
 */
export function planCompaction(
  files: readonly LiveFile[],
  policy: CompactionPolicy,
  isClosed: (day: string | null, files: readonly LiveFile[]) => boolean,
): CompactionPlan | undefined {
  const days = byDay(files).map((day) => {
    const closed = isClosed(day.day, day.files)
    const bytesMax = Math.max(policy.bytesMax, sumBytes(day.files) / fullFilesMax)
    const small = day.files
      .filter((file) => file.sizeBytes < bytesMax * fullPart)
      .toSorted((a, b) => a.recordCount - b.recordCount || a.sizeBytes - b.sizeBytes)
    return { day: day.day, closed, bytesMax, small }
  })
  const plans = days.flatMap(({ day, closed, bytesMax, small }) => {
    const chosen = upTo(closed ? small : mergeableTiers(small), bytesMax)
    return chosen.length < 2 ? [] : [{ day, files: chosen }]
  })
  if (plans.length > 0) return mostFiles(plans)
  const allowed = policy.liveFilesMax + days.filter(({ closed }) => closed).length
  const excess = files.length - allowed
  if (excess <= 0) return undefined
  const forced = days.flatMap(({ day, bytesMax, small }) => {
    const chosen = upTo(small.slice(0, Math.max(fanIn, excess + 1)), bytesMax)
    return chosen.length < 2 ? [] : [{ day, files: chosen }]
  })
  return mostFiles(forced)
}

function byDay(files: readonly LiveFile[]): { day: string | null; files: LiveFile[] }[] {
  const days = new Map<string | null, LiveFile[]>()
  for (const file of files) {
    const list = days.get(file.day)
    if (list === undefined) days.set(file.day, [file])
    else list.push(file)
  }
  return [...days].map(([day, list]) => ({ day, files: list }))
}

/** The files up to the highest tier that has enough of them; none when no tier has. `small` is in the order of rows. */
function mergeableTiers(small: readonly LiveFile[]): readonly LiveFile[] {
  const counts = new Map<number, number>()
  for (const file of small) counts.set(tierOf(file), (counts.get(tierOf(file)) ?? 0) + 1)
  const full = [...counts].filter(([, count]) => count >= fanIn).map(([tier]) => tier)
  const highest = Math.max(...full)
  return small.filter((file) => tierOf(file) <= highest)
}

function tierOf(file: LiveFile): number {
  return file.recordCount < 1 ? 0 : Math.floor(Math.log2(file.recordCount) / Math.log2(fanIn))
}

/** The longest beginning that stays within the size, and within what is merged at once. */
function upTo(files: readonly LiveFile[], bytesMax: number): readonly LiveFile[] {
  let bytes = 0
  let count = 0
  for (const file of files.slice(0, inputsMax)) {
    bytes += file.sizeBytes
    if (bytes > bytesMax) break
    count++
  }
  return files.slice(0, count)
}

function mostFiles(plans: readonly CompactionPlan[]): CompactionPlan | undefined {
  return plans.toSorted((a, b) => b.files.length - a.files.length)[0]
}

function sumBytes(files: readonly LiveFile[]): number {
  return files.reduce((sum, file) => sum + file.sizeBytes, 0)
}
