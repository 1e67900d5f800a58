import { quoteText } from '../plan/columns.ts'

/**
 * What becomes of a record in each table of its topic, for all tables at once: a bit for each table, in the order of the definition, in words of
 * INTEGER. Columns of `parsed`: `m0`, `m1`, … the tables that take its event type; `a0`, … those of them that it does not fit; `t0`, … those that
 * take it: it fits, and their `where` is true.
 */
export interface Verdict {
  readonly words: number
  /** Items of the last two SELECTs of `parsed`: the second drops the columns `inner` of the first. */
  readonly levels: readonly [readonly string[], readonly string[]]
  readonly inner: readonly string[]
  /** `t0`, `t1`, … over the first of the two alone: `otherwise` for a record that no table takes, or that does not fit one. */
  readonly whole: (otherwise: string) => readonly string[]
}

/** SQL conditions over a record, for one table. */
export interface TableRules {
  readonly types: readonly string[]
  /** Each makes it a misfit when it is true. */
  readonly misfits: readonly string[]
  /** Whether its `where` is true; 'true' without one. */
  readonly keeps: string
}

/** One bit for each table, by word. */
export type Mask = readonly number[]

const wordBits = 30

export const wordsFor = (tables: number): number => Math.max(1, Math.ceil(tables / wordBits))

/** The mask with the bits of these tables. */
export function maskOf(indexes: readonly number[], words: number): Mask {
  const mask: number[] = Array.from({ length: words }, () => 0)
  for (const index of indexes) {
    const word = Math.floor(index / wordBits)
    mask[word] = (mask[word] ?? 0) | (1 << (index % wordBits))
  }
  return mask
}

/** The tables whose bits are set. */
export function indexesOf(mask: Mask): number[] {
  return mask.flatMap((bits, word) => {
    const indexes: number[] = []
    for (let bit = 0; bit < wordBits; bit++)
      if ((bits & (1 << bit)) !== 0) indexes.push(word * wordBits + bit)
    return indexes
  })
}

/** SQL condition: the bit of a table is set in columns `<prefix>0`, `<prefix>1`, … */
export function hasBit(prefix: string, index: number): string {
  return `(${prefix}${Math.floor(index / wordBits)} & ${1 << (index % wordBits)}) <> 0`
}

/** SQL condition: any bit is set. */
export function hasAny(prefix: string, words: number): string {
  return `(${names(prefix, words).join(' | ')}) <> 0`
}

export const names = (prefix: string, words: number): string[] =>
  Array.from({ length: words }, (_, word) => `${prefix}${word}`)

/** SQL of one word: the masks of all conditions that are true, together. */
export function anyOf(masks: ReadonlyMap<string, Mask>, word: number): string {
  const parts = [...masks]
    .filter(([condition, mask]) => mask[word] !== 0 && condition !== 'false')
    .map(([condition, mask]) =>
      condition === 'true'
        ? String(mask[word])
        : `CASE WHEN ${condition} THEN ${mask[word]} ELSE 0 END`,
    )
  return parts.length === 0 ? '0' : `(${parts.join(' | ')})`
}

/** Tables by what they have in common, as masks. */
export function groupMasks<T>(
  items: readonly T[],
  keysOf: (item: T) => readonly string[],
  words: number,
): ReadonlyMap<string, Mask> {
  const indexes = new Map<string, number[]>()
  for (const [index, item] of items.entries())
    for (const key of keysOf(item)) indexes.set(key, [...(indexes.get(key) ?? []), index])
  return new Map([...indexes].map(([key, found]) => [key, maskOf(found, words)]))
}

export function buildVerdict(tables: readonly TableRules[]): Verdict {
  const words = wordsFor(tables.length)
  const byType = groupMasks(tables, ({ types }) => types, words)
  const byMisfit = groupMasks(tables, ({ misfits }) => misfits, words)
  const byFilter = groupMasks(
    tables,
    ({ keeps }) => (keeps === 'true' ? [] : [`NOT ${keeps}`]),
    words,
  )
  const matched = (word: number) => {
    const cases = [...byType]
      .filter(([, mask]) => mask[word] !== 0)
      .map(([type, mask]) => `WHEN ${quoteText(type)} THEN ${mask[word]}`)
    return cases.length === 0 ? '0' : `CASE parsed.f0."event_type" ${cases.join(' ')} ELSE 0 END`
  }
  const each = Array.from({ length: words }, (_, word) => word)
  const misfit = each.map((word) => `(m${word} & x${word})`)
  const taken = each.map((word) => `(m${word} & ~(x${word} | d${word}))`)
  return {
    words,
    levels: [
      each.flatMap((word) => [
        `${matched(word)} AS m${word}`,
        `${anyOf(byMisfit, word)} AS x${word}`,
        `${anyOf(byFilter, word)} AS d${word}`,
      ]),
      each.flatMap((word) => [`${misfit[word]} AS a${word}`, `${taken[word]} AS t${word}`]),
    ],
    inner: [...names('x', words), ...names('d', words)],
    whole: (otherwise) => {
      const isWhole = `(${taken.join(' | ')}) <> 0 AND (${misfit.join(' | ')}) = 0`
      return taken.map((bits) => `CASE WHEN ${isWhole} THEN ${bits} ELSE ${otherwise} END`)
    },
  }
}
