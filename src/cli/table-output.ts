/** A value of a result as the output functions take it: JSON, with numbers that a double can't hold as their digits. */
export type Cell =
  | null
  | boolean
  | number
  | string
  | NumberCell
  | readonly Cell[]
  | { readonly [name: string]: Cell }

/** A number as it was sent: no digit of a large integer is lost. */
export class NumberCell {
  readonly digits: string

  constructor(digits: string) {
    this.digits = digits
  }
}

export interface OutputColumn {
  readonly name: string
  /** Trino's name of the type. */
  readonly type: string
}

/** Takes the text on; a promise holds the caller up until there is room. */
export type Write = (text: string) => void | Promise<void>

const numericTypes = /^(?:tinyint|smallint|integer|bigint|real|double|decimal\b)/
/** Widths are taken from this many rows at a time, so that a long result is printed while it comes. */
const rowsPerPage = 1000

/** Prints a result in the aligned form of the Presto and Trino command lines: header centred, numbers to the right, texts to the left, `(2 rows)` and a blank line at the end. */
export class TableOutput {
  readonly #columns: readonly OutputColumn[]
  readonly #write: Write
  readonly #widths: number[]
  #page: string[][] = []
  #rowCount = 0
  #hasHeader = false

  constructor(columns: readonly OutputColumn[], write: Write) {
    this.#columns = columns
    this.#write = write
    this.#widths = columns.map((column) => displayWidth(column.name))
  }

  async add(rows: readonly (readonly Cell[])[]): Promise<void> {
    for (const row of rows) {
      this.#page.push(this.#columns.map((column, index) => tableText(row[index] ?? null, column)))
      if (this.#page.length >= rowsPerPage) await this.#printPage()
    }
  }

  async end(): Promise<void> {
    await this.#printPage()
    await this.#write(`(${this.#rowCount} ${this.#rowCount === 1 ? 'row' : 'rows'})\n\n`)
  }

  async #printPage(): Promise<void> {
    const rows = this.#page.map((row) => row.map((cell) => cell.split('\n')))
    this.#page = []
    this.#rowCount += rows.length
    for (const row of rows) {
      for (const [index, lines] of row.entries())
        this.#widths[index] = Math.max(this.#widths[index] ?? 0, ...lines.map(displayWidth))
    }
    const lines = this.#hasHeader ? [] : this.#header()
    this.#hasHeader = true
    for (const row of rows) lines.push(...this.#rowLines(row))
    if (lines.length > 0) await this.#write(`${lines.join('\n')}\n`)
  }

  #header(): string[] {
    const names = this.#columns.map(({ name }, index) => {
      const room = (this.#widths[index] ?? 0) - displayWidth(name)
      const left = Math.floor(room / 2)
      return ` ${' '.repeat(left)}${name}${' '.repeat(room - left)} `
    })
    return [names.join('|'), this.#widths.map((width) => '-'.repeat(width + 2)).join('+')]
  }

  /** A cell of several lines makes a row of several lines; `+` marks that it goes on, unless it stands alone. */
  #rowLines(row: readonly (readonly string[])[]): string[] {
    const height = Math.max(...row.map((lines) => lines.length))
    return Array.from({ length: height }, (_, line) =>
      row
        .map((lines, index) => {
          const text = lines[line] ?? ''
          const padding = ' '.repeat((this.#widths[index] ?? 0) - displayWidth(text))
          const goesOn = line < lines.length - 1 && row.length > 1
          const isNumeric = numericTypes.test(this.#columns[index]?.type ?? '')
          return ` ${isNumeric ? padding + text : text + padding}${goesOn ? '+' : ' '}`
        })
        .join('|'),
    )
  }
}

/** A cell as people read it: NULL in capitals, a double always with a point, nested values as JSON; control characters are escaped, for a terminal would obey them. */
function tableText(cell: Cell, column: OutputColumn): string {
  const text = cell === null ? 'NULL' : plainText(cell, column)
  // Only line breaks keep their meaning.
  return text.replaceAll(/[^\P{Cc}\n]|\p{Bidi_Control}/gu, escapeCharacter)
}

function escapeCharacter(character: string): string {
  if (character === '\t') return '\\t'
  if (character === '\r') return '\\r'
  const code = character.charCodeAt(0).toString(16)
  return code.length > 2 ? `\\u${code.padStart(4, '0')}` : `\\x${code.padStart(2, '0')}`
}

/** A cell that is not null as bare text, for table and CSV. */
export function plainText(cell: Exclude<Cell, null>, column: OutputColumn): string {
  if (typeof cell === 'string') return cell
  const json = cellJson(cell)
  const isFloating = column.type === 'double' || column.type === 'real'
  return isFloating && /^-?\d+$/.test(json) ? `${json}.0` : json
}

/** A cell as JSON text, numbers with the digits they came with. */
export function cellJson(cell: Cell): string {
  if (cell instanceof NumberCell) return cell.digits
  if (isList(cell)) return `[${cell.map(cellJson).join(',')}]`
  if (typeof cell !== 'object' || cell === null) return JSON.stringify(cell)
  const fields = Object.entries(cell).map(
    ([name, value]) => `${JSON.stringify(name)}:${cellJson(value)}`,
  )
  return `{${fields.join(',')}}`
}

function isList(cell: Cell): cell is readonly Cell[] {
  return Array.isArray(cell)
}

const graphemes = new Intl.Segmenter(undefined, { granularity: 'grapheme' })
const invisible = /^[\p{Mn}\p{Me}\p{Cf}\p{Cc}]+$/u
// East Asian wide and fullwidth blocks, and what is shown as a picture.
const wide =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\ua960-\ua97f\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff01-\uff60\uffe0-\uffe6\u{20000}-\u{3fffd}\p{Emoji_Presentation}\ufe0f]/u

/** How many columns of a terminal a text takes. */
export function displayWidth(text: string): number {
  if (/^[ -~]*$/.test(text)) return text.length
  let width = 0
  for (const { segment } of graphemes.segment(text)) {
    if (!invisible.test(segment)) width += wide.test(segment) ? 2 : 1
  }
  return width
}
