import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { parse } from 'lossless-json'
import { runOrThrow } from '../support/commands.ts'
import { questlog } from '../support/instance.ts'
import { repositoryRoot } from '../support/tidy-source.ts'
import { jarsOf, scriptPath, venvPython } from './clients.ts'
import type { Field } from './readers-events.ts'

/** What is known of a table: its rows, each as canonical JSON, sorted; and what `summary.py` prints of each column. */
export interface Seen {
  readonly rows: readonly string[]
  readonly columns: Readonly<Record<string, Readonly<Record<string, unknown>>>>
}

export const readersFolder = join(repositoryRoot, 'examples/readers')

/** Runs scripts of examples/readers, each in a process of its own, and reads what they print. */
export class Readers {
  readonly folder = mkdtempSync(join(tmpdir(), 'questlog-readers-'))
  #count = 0

  async read(script: string, ...words: readonly string[]): Promise<Seen> {
    const rowsFile = this.nextRowsFile()
    const output = await runOrThrow(venvPython, [join(readersFolder, script), ...words], {
      cwd: this.folder,
      environment: { ...process.env, ROWS: rowsFile },
      timeoutMs: 600_000,
    })
    return parseSeen(output, rowsFile)
  }

  nextRowsFile(): string {
    this.#count++
    return join(this.folder, `rows-${this.#count}.ndjson`)
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true, force: true })
  }
}

/** One Spark for all that a file of tests asks of it: it takes longer to start than to answer. */
export class SparkWorker implements AsyncDisposable {
  readonly #child: ChildProcess
  readonly #lines: AsyncIterator<string>
  readonly #readers: Readers
  #errors = ''

  constructor(readers: Readers, catalogUri: string, lakeFolder: string) {
    this.#readers = readers
    const jar = jarsOf('spark-iceberg')[0] ?? ''
    this.#child = spawn(
      venvPython,
      [scriptPath('spark_readers.py'), readersFolder, jar, catalogUri, lakeFolder],
      { cwd: readers.folder, stdio: ['pipe', 'pipe', 'pipe'] },
    )
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#errors = (this.#errors + text).slice(-20_000)
    })
    const { stdout } = this.#child
    if (stdout === null) throw new Error('Spark has no output')
    this.#lines = createInterface({ input: stdout })[Symbol.asyncIterator]()
  }

  /** Runs a script in Spark's process; resolves to what it prints. */
  async run(script: string, words: readonly string[], rowsFile = ''): Promise<string> {
    const folder = script.startsWith('spark_check') ? scriptPath('') : readersFolder
    const request = { script: join(folder, script), words, rowsFile }
    this.#child.stdin?.write(`${JSON.stringify(request)}\n`)
    let output = ''
    for (;;) {
      const { value, done } = await this.#lines.next()
      if (done === true) throw new Error(`Spark has ended\n${output}\n${this.#errors}`)
      if (value === '=== done') return output
      if (value === '=== failed') throw new Error(`${script} failed in Spark\n${output}`)
      output += `${value}\n`
    }
  }

  async read(script: string, ...words: readonly string[]): Promise<Seen> {
    const rowsFile = this.#readers.nextRowsFile()
    return parseSeen(await this.run(script, words, rowsFile), rowsFile)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null) return
    const exited = once(this.#child, 'exit')
    this.#child.stdin?.end()
    await exited
  }
}

/** What differs, a few lines of it; nothing when both are the same. */
export function differences(seen: Seen | undefined, expected: Seen | undefined): string[] {
  if (seen === undefined || expected === undefined) return ['nothing was seen']
  const found: string[] = []
  for (const name of new Set([...Object.keys(expected.columns), ...Object.keys(seen.columns)])) {
    const [mine, its] = [expected.columns[name], seen.columns[name]].map((c) => JSON.stringify(c))
    if (mine !== its) found.push(`${name}: ${its ?? 'no column'}, expected ${mine ?? 'no column'}`)
  }
  const rows = byPlace(seen.rows)
  const wanted = byPlace(expected.rows)
  if (seen.rows.length !== expected.rows.length) found.push(`${seen.rows.length} rows`)
  for (const [place, row] of wanted)
    for (const [name, value] of Object.entries(row)) {
      const its = JSON.stringify(rows.get(place)?.[name])
      const mine = JSON.stringify(value)
      if (its !== mine) found.push(`${place} ${name}: ${its}, expected ${mine}`)
    }
  return found.slice(0, 20)
}

/** Rows by their place on the log. */
function byPlace(rows: readonly string[]): Map<string, Record<string, unknown>> {
  return new Map(
    rows.map((text) => {
      const row = JSON.parse(text) as Record<string, unknown> // made by canonicalRow
      return [JSON.stringify([row['_log_partition'], row['_offset']]), row]
    }),
  )
}

function parseSeen(output: string, rowsFile: string): Seen {
  const lines = output.trim().split('\n')
  const count = Number(/^count (\d+)$/.exec(lines.at(-2) ?? '')?.[1])
  const summary = JSON.parse(lines.at(-1) ?? '') as { rows: number; columns: Seen['columns'] } // what summary.py prints
  const rows = readFileSync(rowsFile, 'utf8').split('\n').slice(0, -1).map(canonicalRow)
  if (count !== summary.rows || count !== rows.length)
    throw new Error(
      `${count} rows by count, ${summary.rows} by summary, ${rows.length} in the file`,
    )
  return { rows: rows.toSorted(), columns: canonicalColumns(summary.columns) }
}

/** The same of questlog's own SQL. */
export async function seenBySql(
  data: string,
  table: string,
  fields: readonly Field[],
): Promise<Seen> {
  const quoted = fields.map(({ name, type }) => ({ name, type, sql: `"${name}"` }))
  const text = ({ type, sql }: { type: string; sql: string }, aggregate: string) => {
    const value = `${aggregate}(${sql})`
    if (type === 'binary') return `lower(hex(${value}))`
    if (type === 'timestamptz')
      return `strftime(${value} at time zone 'UTC', '%Y-%m-%d %H:%M:%S.%f')`
    return `cast(${value} as varchar)`
  }
  const parts = quoted.flatMap((field, index) => {
    const { type, sql } = field
    const list = [`count(${sql}) as values_${index}`]
    if (type === 'nested') return list
    list.push(`${text(field, 'min')} as min_${index}`, `${text(field, 'max')} as max_${index}`)
    if (['int', 'long', 'double'].includes(type))
      list.push(`cast(sum(${sql}) as varchar) as sum_${index}`)
    return list
  })
  const [totals = {}] = await query(data, `select ${parts.join(', ')} from ${table}`)
  const columns: Record<string, Record<string, unknown>> = {}
  for (const [index, { name }] of fields.entries()) {
    const column: Record<string, unknown> = {}
    for (const key of ['values', 'min', 'max', 'sum'])
      if (`${key}_${index}` in totals) column[key] = totals[`${key}_${index}`]
    columns[name] = column
  }
  const selected = quoted.map(({ type, sql }) =>
    type === 'binary' ? `lower(hex(${sql})) as ${sql}` : sql,
  )
  const rows = await queryLines(data, `select ${selected.join(', ')} from ${table}`)
  return { rows: rows.map(canonicalRow).toSorted(), columns: canonicalColumns(columns) }
}

async function queryLines(data: string, sql: string): Promise<string[]> {
  const result = await questlog('sql', '-o', 'ndjson', '--data', data, sql)
  if (result.code !== 0) throw new Error(`${sql}\n${result.stderr}`)
  return result.stdout.split('\n').slice(0, -1)
}

/** Rows of a statement by `questlog sql -o json`. */
export async function query(data: string, sql: string): Promise<Record<string, unknown>[]> {
  const result = await questlog('sql', '-o', 'json', '--data', data, sql)
  if (result.code !== 0) throw new Error(`${sql}\n${result.stderr}`)
  return JSON.parse(result.stdout) as Record<string, unknown>[] // one statement, an array of objects
}

/** Columns in the order of their names, numbers that are written in several ways in one. */
function canonicalColumns(columns: Seen['columns']): Seen['columns'] {
  const canonical: Record<string, Record<string, unknown>> = {}
  for (const [name, column] of Object.entries(columns).toSorted(byName)) {
    const entries = Object.entries(column).map(([key, value]) => [key, shortNumber(value)])
    canonical[name] = Object.fromEntries(entries) as Record<string, unknown> // of entries with texts as keys
  }
  return canonical
}

/** `1.0`, `1` and `1e0` are one number; what needs more digits than a double has stays as it is. */
function shortNumber(value: unknown): unknown {
  if (typeof value !== 'string' || !/^-?\d+(?:\.\d+)?(?:e[+-]?\d+)?$/.test(value)) return value
  return /^-?\d+$/.test(value) ? value : String(Number(value))
}

const byName = ([a]: readonly [string, unknown], [b]: readonly [string, unknown]) =>
  a < b ? -1 : a > b ? 1 : 0

/** Every program has its own JSON for numbers, times and maps: here they have one, with fields in the order of their names. */
function canonicalRow(line: string): string {
  const numbers = (text: string) => `#${String(shortNumber(text))}`
  const row = Object.entries(parse(line, null, numbers) as object) // a row is an object
  // SQL calls columns by lower case names.
  const lower = row.map(([name, value]) => [name.toLowerCase(), value] as const)
  return JSON.stringify(canonical(Object.fromEntries(lower)))
}

function canonical(value: unknown): unknown {
  if (typeof value === 'string') return canonicalText(value)
  if (Array.isArray(value)) {
    const items: unknown[] = value
    // A map in Polars is a list of structs.
    const pairs = items.filter(isPair)
    if (items.length === 0 || pairs.length < items.length) return items.map(canonical)
    return canonical(Object.fromEntries(pairs.map((pair) => [pair.key, pair.value])))
  }
  if (typeof value !== 'object' || value === null) return value
  const fields = Object.entries(value).toSorted(byName)
  // In Python an empty map is a list without pairs.
  if (fields.length === 0) return []
  return Object.fromEntries(fields.map(([name, field]) => [name, canonical(field)]))
}

function isPair(value: unknown): value is { key: string; value: unknown } {
  return typeof value === 'object' && value !== null && Object.keys(value).join() === 'key,value'
}

/** Six decimals and no zone for a time in UTC. */
function canonicalText(text: string): string {
  const found = /^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)\.(\d{3,6})(?: UTC)?$/.exec(text)
  return found === null ? text : `${found[1]}.${(found[2] ?? '').padEnd(6, '0')}`
}
