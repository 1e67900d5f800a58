import type { LiveFile } from './manifest.ts'
import type { TableSchema } from './schema.ts'

/** What a statement wants of a table, as far as it is known before it runs: it may be given more. */
export interface Narrowing {
  /** Names in lower case of the columns that it may read; others are no columns of the table. */
  readonly columns: ReadonlySet<string>
  /** All of these hold for every row that it wants. */
  readonly ranges: readonly ColumnRange[]
}

/** A column, its name in lower case, whose values are wanted from `min` to `max`: whole numbers, or moments and days as microseconds since 1970 UTC. */
export interface ColumnRange {
  readonly column: string
  readonly min: number
  readonly max: number
  readonly microseconds?: true
}

/** Smallest and largest value by field id, of the columns that hold whole numbers, moments (in microseconds) or days. What is said of other columns means nothing. */
export type ValueRanges = ReadonlyMap<number, readonly [number, number]>

type Bounds = Iterable<{ readonly key: number; readonly value: Uint8Array }>

/** Ranges of a data file from its bounds, in the single-value form of the Iceberg spec (Appendix D: int and date in 4 bytes, long and timestamp in 8, little-endian). */
export function valueRanges(lower: Bounds, upper: Bounds): ValueRanges {
  const uppers = new Map([...upper].map(({ key, value }) => [key, wholeNumber(value)]))
  const ranges = new Map<number, readonly [number, number]>()
  for (const { key, value } of lower) {
    const [min, max] = [wholeNumber(value), uppers.get(key)]
    if (min !== undefined && max !== undefined) ranges.set(key, [min, max])
  }
  return ranges
}

/** Undefined when it has another width, or is larger than a number holds exactly. */
function wholeNumber(bytes: Uint8Array): number | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (bytes.byteLength === 4) return view.getInt32(0, true)
  if (bytes.byteLength !== 8) return undefined
  const value = Number(view.getBigInt64(0, true))
  return Number.isSafeInteger(value) ? value : undefined
}

/** The data files in which there may be rows with values in all of the ranges. */
export function filesInRanges(
  files: readonly LiveFile[],
  schema: TableSchema,
  ranges: readonly ColumnRange[],
): readonly LiveFile[] {
  const known = ranges.flatMap((range) => {
    const field = schema.fields.find(({ name }) => name.toLowerCase() === range.column)
    const limits = field === undefined ? undefined : limitsOf(field.type, range)
    return field === undefined || limits === undefined ? [] : [{ ...limits, id: field.id }]
  })
  return files.filter((file) =>
    known.every(({ id, min, max }) => {
      const has = file.ranges.get(id)
      return has === undefined || (has[0] <= max && has[1] >= min)
    }),
  )
}

const microsecondsPerDay = 86_400_000_000

/** The range in the unit of a column's bounds; undefined when it says nothing about a column of this type. */
function limitsOf(
  type: TableSchema['fields'][number]['type'],
  { min, max, microseconds }: ColumnRange,
): { readonly min: number; readonly max: number } | undefined {
  if (microseconds === undefined)
    return type === 'int' || type === 'long' ? { min, max } : undefined
  if (type === 'timestamp' || type === 'timestamptz') return { min, max }
  if (type !== 'date') return undefined
  return { min: Math.floor(min / microsecondsPerDay), max: Math.floor(max / microsecondsPerDay) }
}
