import { cellJson, plainText, TableOutput } from './table-output.ts'
import type { Cell, OutputColumn, Write } from './table-output.ts'

export const sqlOutputs = ['table', 'json', 'ndjson', 'csv'] as const
export type SqlOutput = (typeof sqlOutputs)[number]

/** Prints one result in some form. */
export interface ResultOutput {
  add(rows: readonly (readonly Cell[])[]): Promise<void>
  end(): Promise<void>
}

/** Starts the output of a result with these columns. */
export async function startOutput(
  form: SqlOutput,
  columns: readonly OutputColumn[],
  write: Write,
): Promise<ResultOutput> {
  switch (form) {
    case 'table':
      return new TableOutput(columns, write)
    case 'csv':
      return startCsv(columns, write)
    case 'ndjson':
      return {
        add: async (rows) =>
          write(
            objects(columns, rows)
              .map((text) => `${text}\n`)
              .join(''),
          ),
        end: async () => {},
      }
    case 'json':
      return startJson(columns, write)
  }
}

/** RFC 4180 with a header and bare line feeds. NULL is an empty field, an empty text is `""`. */
async function startCsv(columns: readonly OutputColumn[], write: Write): Promise<ResultOutput> {
  const line = (fields: readonly string[]) => `${fields.join(',')}\n`
  await write(line(columns.map((column) => csvField(column.name))))
  const fieldOf = (cell: Cell, column: OutputColumn) =>
    cell === null ? '' : csvField(plainText(cell, column))
  return {
    async add(rows) {
      const lines = rows.map((row) =>
        line(columns.map((column, index) => fieldOf(row[index] ?? null, column))),
      )
      await write(lines.join(''))
    },
    async end() {},
  }
}

function csvField(text: string): string {
  return text === '' || /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}

function startJson(columns: readonly OutputColumn[], write: Write): ResultOutput {
  let rowCount = 0
  return {
    async add(rows) {
      for (const text of objects(columns, rows))
        await write(`${rowCount++ === 0 ? '[\n' : ',\n'}${text}`)
    },
    end: async () => write(rowCount === 0 ? '[]\n' : '\n]\n'),
  }
}

/** Rows as JSON objects. Of several columns with one name, all but the first get a number: `a`, `a_2`. */
function objects(columns: readonly OutputColumn[], rows: readonly (readonly Cell[])[]): string[] {
  const taken = new Set<string>()
  const keys = columns.map(({ name }) => {
    let unique = name
    for (let number = 2; taken.has(unique); number++) unique = `${name}_${number}`
    taken.add(unique)
    return JSON.stringify(unique)
  })
  return rows.map(
    (row) => `{${keys.map((key, index) => `${key}:${cellJson(row[index] ?? null)}`).join(',')}}`,
  )
}
