import type { SnapshotWanted } from '../lake/time-travel.ts'
import type { Token } from './lexer.ts'
import { tokenize } from './lexer.ts'
import { placeAt, SqlError, type Place } from './sql-error.ts'

/** A table that a statement names as it was. */
export interface PastTable {
  /** The name that stands for it in the text now. */
  readonly view: string
  readonly namespace: string | null
  readonly name: string
  readonly wanted: SnapshotWanted
  readonly place: Place
}

/**
 * Takes `t FOR VERSION AS OF 123` and `t FOR TIMESTAMP AS OF '2026-11-21 10:00:00'` (UTC unless it says otherwise; TIMESTAMP or DATE may stand before it), which DuckDB does not know, out of a
 * text: in their place stands a view of a name of its own, called `t` unless an alias follows. Every other character keeps its line and column. What the text means is decided by
 * DuckDB's parser afterwards.
 */
export function takeOutPastTables(sql: string): { sql: string; past: readonly PastTable[] } {
  if (!/for/i.test(sql)) return { sql, past: [] }
  const tokens = tokenize(sql)
  const past: PastTable[] = []
  let text = sql
  for (let at = 0; at < tokens.length; at++) {
    const kind = clauseAt(tokens, at)
    const table = kind === undefined ? undefined : tableBefore(tokens, at)
    if (kind === undefined || table === undefined) continue
    const place = placeAt(sql, tokens[at]?.start ?? 0)
    const value = kind === 'version' ? readVersion(tokens, at + 4) : readTime(tokens, at + 4)
    if (value === undefined)
      throw new SqlError(
        'SQL_INVALID',
        kind === 'version'
          ? 'FOR VERSION AS OF needs the id of a snapshot, a whole number'
          : "FOR TIMESTAMP AS OF needs a time such as '2026-11-21 10:00:00'",
        { place },
      )
    const view = `~${past.length + 1}`
    past.push({ view, ...table.names, wanted: value.wanted, place })
    const end = tokens[value.next - 1]?.end ?? sql.length
    const alias = hasAlias(tokens[value.next]) ? '' : ` AS ${table.text}`
    text = replaceKeepingPlaces(text, table.start, end, `"${view}"${alias}`)
    at = value.next - 1
  }
  return { sql: text, past }
}

/** Whether a name is one that `takeOutPastTables` has put in. */
export function isPastTable(name: string): boolean {
  return /^~\d+$/.test(name)
}

function clauseAt(tokens: readonly Token[], at: number): 'version' | 'timestamp' | undefined {
  const words = tokens.slice(at, at + 4)
  const [first, second, third, fourth] = words.map((token) =>
    token.kind === 'word' ? token.value : '',
  )
  if (first !== 'for' || third !== 'as' || fourth !== 'of') return undefined
  return second === 'version' || second === 'timestamp' ? second : undefined
}

interface NamedTable {
  readonly names: { readonly namespace: string | null; readonly name: string }
  readonly start: number
  /** The table's own name as it can be written again. */
  readonly text: string
}

function tableBefore(tokens: readonly Token[], at: number): NamedTable | undefined {
  const name = tokens[at - 1]
  if (name === undefined || !isName(name)) return undefined
  const text = name.kind === 'word' ? name.value : `"${name.value.replaceAll('"', '""')}"`
  const dot = tokens[at - 2]
  const namespace = tokens[at - 3]
  if (dot?.kind !== 'other' || dot.value !== '.' || namespace === undefined || !isName(namespace))
    return { names: { namespace: null, name: name.value }, start: name.start, text }
  return {
    names: { namespace: namespace.value, name: name.value },
    start: namespace.start,
    text,
  }
}

function isName(token: Token): boolean {
  return token.kind === 'word' || token.kind === 'name'
}

interface ReadValue {
  readonly wanted: SnapshotWanted
  /** The first token behind it. */
  readonly next: number
}

/** Digits are tokens of one character each. */
function readVersion(tokens: readonly Token[], from: number): ReadValue | undefined {
  let next = from
  let id = ''
  for (let token = tokens[next]; token !== undefined; token = tokens[++next]) {
    const follows = id === '' || tokens[next - 1]?.end === token.start
    if (token.kind !== 'other' || !/^\d$/.test(token.value) || !follows) break
    id += token.value
  }
  return id === '' ? undefined : { wanted: { id }, next }
}

function readTime(tokens: readonly Token[], from: number): ReadValue | undefined {
  const first = tokens[from]
  const isTyped =
    first?.kind === 'word' && ['timestamp', 'timestamptz', 'date'].includes(first.value)
  const at = isTyped ? from + 1 : from
  const token = tokens[at]
  if (token?.kind !== 'text') return undefined
  const timestampMs = parseTime(token.value.slice(1, -1))
  return timestampMs === undefined ? undefined : { wanted: { timestampMs }, next: at + 1 }
}

const time =
  /^(\d{4}-\d\d-\d\d)(?:[ T](\d\d:\d\d)(:\d\d(?:\.\d{1,9})?)?)?\s*(UTC|Z|[+-]\d\d(?::?\d\d)?)?$/i

/** Wall-clock milliseconds of a text; undefined when it is no time. */
function parseTime(text: string): number | undefined {
  const match = time.exec(text.trim())
  if (match === null) return undefined
  const [, day, minutes = '00:00', seconds = ':00', zone = 'Z'] = match
  const offset = /^[+-]\d\d$/.test(zone)
    ? `${zone}:00`
    : zone.replace(/^([+-]\d\d)(\d\d)$/, '$1:$2')
  const suffix = /^(?:utc|z)$/i.test(zone) ? 'Z' : offset
  const timestampMs = Date.parse(`${day}T${minutes}${seconds}${suffix}`)
  return Number.isNaN(timestampMs) ? undefined : timestampMs
}

/** Words that can stand behind a table in FROM and are no alias. */
const noAlias = new Set(
  'where group having qualify window order limit offset fetch union intersect except join inner left right full cross natural asof positional semi anti on using tablesample for pivot unpivot'.split(
    ' ',
  ),
)

function hasAlias(token: Token | undefined): boolean {
  if (token === undefined) return false
  return token.kind === 'name' || (token.kind === 'word' && !noAlias.has(token.value))
}

/** Puts a text in the place of a longer one, and spaces for the rest, so that lines and columns behind it stay. */
function replaceKeepingPlaces(text: string, start: number, end: number, by: string): string {
  const lines = text.slice(start, end).replaceAll(/[^\n]/g, '')
  const spaces = ' '.repeat(Math.max(0, end - start - by.length - lines.length))
  const lastLine = text.slice(start, end).lastIndexOf('\n')
  // What follows on the same line keeps its column when the line began before the table.
  const rest = lastLine === -1 ? spaces : lines + ' '.repeat(end - start - lastLine - 1)
  return text.slice(0, start) + by + rest + text.slice(end)
}
