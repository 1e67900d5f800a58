import { tokenize } from './lexer.ts'
import { asNode } from './syntax-tree.ts'

/** A tree takes some fifty times the room of its text. */
const textLengthMax = 2_000
const treesMax = 200

/**
 * Syntax trees of the last statements: those of dashboards and of look-ups come again and again, with other numbers. Texts that differ only in digits of numbers have the same
 * tree but for the values of its constants, with the same places. So nothing may depend on those values that DuckDB does not check when it runs the statement.
 * A wrong tree would let through what `requireReading` refuses: where a digit could mean more than itself, only the very same text has the tree.
 */
export class TreeCache {
  readonly #trees = new Map<string, unknown>()

  async tree(sql: string, serialize: (sql: string) => Promise<unknown>): Promise<unknown> {
    if (sql.length > textLengthMax) return serialize(sql)
    const key = withoutDigits(sql)
    const known = this.#trees.get(key)
    const tree = known ?? (await serialize(sql))
    if (asNode(tree)?.['error'] !== false) return tree
    this.#trees.delete(key)
    this.#trees.set(key, tree)
    const [oldest] = this.#trees.keys()
    if (this.#trees.size > treesMax && oldest !== undefined) this.#trees.delete(oldest)
    return tree
  }
}

/**
 * Characters with which our lexer sees texts, names and comments where DuckDB's does, and of whose digits none but 0 means anything else than the others. Not so: `$` and `\` (a digit may
 * be what ends a text, or not), and what is not ASCII (a letter of names for DuckDB, whatever it is).
 */
const plainText = /^[\t\n\r -#%-[\]-~]*$/

/** Every digit of a number but 0 is 9: `0x1` is a number to some parsers, and `1x1` is one with a name. */
function withoutDigits(sql: string): string {
  if (!plainText.test(sql)) return sql
  let text = ''
  let position = 0
  for (const { kind, value, start, end } of tokenize(sql)) {
    if (kind !== 'other' || value < '1' || value > '9') continue
    text += `${sql.slice(position, start)}9`
    position = end
  }
  return text + sql.slice(position)
}
