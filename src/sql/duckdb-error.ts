import type { ErrorCode } from '../core/errors.ts'
import { nearestName } from '../plan/nearest.ts'
import type { Excerpt } from './excerpt.ts'
import { SqlError } from './sql-error.ts'
import { fieldName } from './type-names.ts'

/** An error as DuckDB tells it under `errors_as_json`. */
export interface DuckdbFailure {
  /** `Binder`, `Catalog`, `Parser`, `Conversion`, `INTERRUPT`, … */
  readonly type: string
  readonly message: string
  /** Byte position in the statement. */
  readonly position: number | undefined
  readonly candidates: readonly string[]
  /** The name that was not found, and what kind of thing it was meant to be (`column`, `table`, `scalar function`). */
  readonly missing: { readonly name: string; readonly kind: string } | undefined
}

/** Reads an error thrown by the binding; undefined when DuckDB did not write it. */
export function readFailure(error: unknown): DuckdbFailure | undefined {
  if (!(error instanceof Error)) return undefined
  // The parser puts its own name before the JSON.
  const json = /^(?:[A-Za-z ]+Error: )?(\{[\s\S]*\})\s*$/.exec(error.message)?.[1]
  const fields = json === undefined ? undefined : parseObject(json)
  if (typeof fields?.['exception_type'] !== 'string') return undefined
  const text = (name: string) => {
    const value = fields[name]
    return typeof value === 'string' ? value : ''
  }
  const message = text('exception_message')
  const position = text('position')
  const candidates = text('candidates') === '' ? [] : text('candidates').split(',')
  return {
    type: text('exception_type'),
    message,
    position: /^\d+$/.test(position) ? Number(position) : undefined,
    candidates: candidates.length > 0 ? candidates : structFields(message),
    missing: missingName(text('error_subtype'), text('type'), text('name'), message),
  }
}

function parseObject(json: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(json)
    return typeof value === 'object' && value !== null
      ? (value as Readonly<Record<string, unknown>>) // an object of parsed JSON
      : undefined
  } catch {
    return undefined
  }
}

function missingName(
  subtype: string,
  type: string,
  name: string,
  message: string,
): DuckdbFailure['missing'] {
  if (subtype === 'COLUMN_NOT_FOUND') return { name, kind: 'column' }
  if (subtype === 'MISSING_ENTRY') return { name, kind: type.toLowerCase() }
  // A column behind an alias comes without the fields above.
  const column = /does not have a column named "([^"]+)"/.exec(message)?.[1]
  return column === undefined ? undefined : { name: column, kind: 'column' }
}

function structFields(message: string): string[] {
  const entries = /Candidate Entries: (.*)$/.exec(message)?.[1]
  return Array.from(entries?.matchAll(/"([^"]+)"/g) ?? [], (match) => match[1] ?? '')
}

/** The names that a user may be shown. */
export interface VisibleNames {
  readonly tables: readonly string[]
  /** Columns of the tables that the statement names. */
  readonly columns: readonly string[]
}

/** What the user is told: the same fact in plain words, the place in their own text, and what they may have meant among their own names. */
export function explainFailure(
  failure: DuckdbFailure,
  source: Excerpt,
  names: VisibleNames,
  cause: unknown,
): SqlError {
  const code = codeOf(failure)
  const hint = code === 'OVERLOADED' ? 'narrow the statement, or raise duckdbMemoryMiB' : undefined
  return new SqlError(code, plainMessage(failure), {
    place: source.place(failure.position),
    suggestions: suggestionsFor(failure, names),
    hint,
    cause,
  })
}

function codeOf(failure: DuckdbFailure): ErrorCode {
  switch (failure.type) {
    case 'INTERRUPT':
      return 'SQL_CANCELLED'
    case 'Out of Memory':
      return 'OVERLOADED'
    case 'Permission':
    case 'TransactionContext':
      return 'SQL_REFUSED'
    case 'IO':
      return 'TABLE_DAMAGED'
    case 'INTERNAL':
    case 'FATAL':
      return 'INTERNAL'
    default:
      return 'SQL_INVALID'
  }
}

function plainMessage({ missing, message }: DuckdbFailure): string {
  if (missing !== undefined) return `${missing.kind} "${missing.name}" does not exist`
  // What follows these words is for suggestions, or pictures the statement again.
  const said =
    message.split(/\n\s*(?:Did you mean|Candidate|Possible solutions|LINE \d+:)/)[0] ?? message
  const sentence = said.trim().replace(/[!.]$/, '')
  return /^[A-Z][a-z]/.test(sentence)
    ? sentence.charAt(0).toLowerCase() + sentence.slice(1)
    : sentence
}

const suggestionsMax = 3

function suggestionsFor(failure: DuckdbFailure, names: VisibleNames): string[] {
  const { missing, candidates } = failure
  if (missing === undefined) return candidates.filter(isPlainName).slice(0, suggestionsMax)
  if (missing.kind.endsWith('function')) return candidates.filter(isPlainName).slice(0, 1)
  const visible = missing.kind === 'column' ? names.columns : names.tables
  const bare = missing.name.split('.').at(-1) ?? missing.name
  const nearest = nearestName(bare, visible)
  const known = new Map(visible.map((name) => [name.toLowerCase(), name]))
  const offered = candidates.flatMap((candidate) => known.get(candidate.toLowerCase()) ?? [])
  const all = [...(nearest === undefined ? [] : [nearest]), ...offered].map(fieldName)
  // questlog's own columns are rarely what was meant by a name without the underscore.
  const meant = all.filter((name) => bare.startsWith('_') || !name.startsWith('_'))
  return [...new Set(meant)].slice(0, nearest === undefined ? suggestionsMax : 1)
}

/** A function or field, not an overload (`sum(DECIMAL) -> DECIMAL`) nor something inside another schema. */
function isPlainName(name: string): boolean {
  return /^[A-Za-z][\w -]*$/.test(name)
}
