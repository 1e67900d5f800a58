import type { Token } from './lexer.ts'
import { placeAt, type Place } from './sql-error.ts'

/** A text made for DuckDB out of a piece of the user's text, which still knows where each position came from. */
export interface Excerpt {
  readonly sql: string
  /** The place in the user's text of a byte position in `sql`; undefined when it has none there. */
  place(bytePosition: number | undefined): Place | undefined
}

/**
 * Takes `whole` from `start` to `end`, behind `prefix`. The word `default` before a dot gets quotes on the way: it is
 * the usual name of a namespace, and the only one that DuckDB takes for a keyword.
 */
export function excerpt(
  whole: string,
  range: { start: number; end: number; tokens: readonly Token[]; prefix?: string },
): Excerpt {
  const { start, end, tokens, prefix = '' } = range
  const pieces: { readonly text: string; readonly from: number }[] = []
  let position = start
  for (const [index, token] of tokens.entries()) {
    const isNamespace = token.kind === 'word' && token.value === 'default'
    const next = tokens[index + 1]
    if (token.start < position || token.end > end) continue
    if (!isNamespace || next?.value !== '.' || next.kind !== 'other') continue
    pieces.push(
      { text: whole.slice(position, token.start), from: position },
      { text: '"default"', from: token.start },
    )
    position = token.end
  }
  pieces.push({ text: whole.slice(position, end), from: position })
  const sql = prefix + pieces.map((piece) => piece.text).join('')
  return {
    sql,
    place(bytePosition) {
      if (bytePosition === undefined) return undefined
      const text = Buffer.from(sql).subarray(0, bytePosition).toString()
      let rest = text.length - prefix.length
      if (rest < 0 || text.length > sql.length) return undefined
      for (const piece of pieces) {
        if (rest <= piece.text.length) return placeAt(whole, Math.min(piece.from + rest, end))
        rest -= piece.text.length
      }
      return undefined
    },
  }
}
