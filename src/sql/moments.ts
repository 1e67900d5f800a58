import { asNode, listField, nodeField, textField, type SyntaxNode } from './syntax-tree.ts'

/** Microseconds since 1970 UTC between which a moment lies; the same twice when it is known exactly. */
export interface Moment {
  readonly min: number
  readonly max: number
}

/**
 * The moment that an expression stands for, read as DuckDB reads it where the time zone is UTC: a text or a literal in the forms of ISO 8601, `now()`, or `now()` less an interval.
 * Undefined for everything else. `wholeNumberOf` reads a constant of the statement. What hangs on `now()` is told to a day, for the clock that DuckDB will read may be another one.
 */
export function momentOf(
  node: SyntaxNode,
  nowMs: number,
  wholeNumberOf: (node: SyntaxNode) => number | undefined,
): Moment | undefined {
  if (node['class'] === 'FUNCTION') {
    const agoUs = agoOf(node, wholeNumberOf)
    if (agoUs === undefined) return undefined
    const momentUs = nowMs * 1000
    return { min: momentUs - agoUs.max - dayUs, max: momentUs - agoUs.min + dayUs }
  }
  const isCast = node['class'] === 'CAST'
  const text = textOf(isCast ? nodeField(node, 'child') : node)
  const form = isCast ? formOfType[textField(nodeField(node, 'cast_type'), 'id')] : momentForm
  const match = text === undefined ? undefined : form?.exec(text)
  if (!match) return undefined
  const [, day, minutes = '00:00', seconds = '00', fraction = ''] = match
  const moment =
    Date.parse(`${day}T${minutes}:${seconds}Z`) * 1000 + Number(fraction.padEnd(6, '0'))
  return Number.isSafeInteger(moment) ? { min: moment, max: moment } : undefined
}

const dayForm = /^(\d{4}-\d\d-\d\d)$/

/** No more digits of a second than DuckDB keeps, and no other zone. */
const momentForm =
  /^(\d{4}-\d\d-\d\d)(?:[ T](\d\d:\d\d)(?::(\d\d)(?:\.(\d{1,6}))?)?(?:Z|\+00(?::00)?)?)?$/

/** A text with a time becomes a date without it. */
const formOfType: Readonly<Record<string, RegExp>> = {
  DATE: dayForm,
  TIMESTAMP: momentForm,
  'TIMESTAMP WITH TIME ZONE': momentForm,
}

function textOf(node: SyntaxNode | undefined): string | undefined {
  const value = nodeField(node, 'value')
  const text = value?.['value']
  return node?.['class'] === 'CONSTANT' && typeof text === 'string' ? text : undefined
}

/** How long before now an expression is, in microseconds. */
function agoOf(
  node: SyntaxNode,
  wholeNumberOf: (node: SyntaxNode) => number | undefined,
): Moment | undefined {
  if (isNow(node)) return { min: 0, max: 0 }
  const [from, interval, ...more] = listField(node, 'children').map(asNode)
  if (node['function_name'] !== '-' || !isNow(from) || more.length > 0) return undefined
  return interval === undefined ? undefined : intervalOf(interval, wholeNumberOf)
}

function isNow(node: SyntaxNode | undefined): boolean {
  return (
    node?.['class'] === 'FUNCTION' &&
    node['function_name'] === 'now' &&
    node['schema'] === '' &&
    listField(node, 'children').length === 0
  )
}

const dayUs = 86_400_000_000

/** Shortest and longest, in microseconds. */
const units: Readonly<Record<string, readonly [number, number]>> = {
  second: [1_000_000, 1_000_000],
  minute: [60_000_000, 60_000_000],
  hour: [3_600_000_000, 3_600_000_000],
  day: [dayUs, dayUs],
  week: [7 * dayUs, 7 * dayUs],
  month: [28 * dayUs, 31 * dayUs],
  year: [365 * dayUs, 366 * dayUs],
}

/** `INTERVAL '3 hours'`, or `INTERVAL 3 HOUR` and `INTERVAL '3' HOUR`, which DuckDB's parser makes a call of `to_hours` with casts around the number. */
function intervalOf(
  node: SyntaxNode,
  wholeNumberOf: (node: SyntaxNode) => number | undefined,
): Moment | undefined {
  const name = textField(node, 'function_name')
  const [argument] = listField(node, 'children')
  const whole = node['class'] === 'CAST' ? textOf(nodeField(node, 'child')) : undefined
  const called = asNode(argument)
  const [, count, unit] =
    whole !== undefined && nodeField(node, 'cast_type')?.['id'] === 'INTERVAL'
      ? (/^(\d{1,6}) ([a-z]+?)s?$/i.exec(whole) ?? [])
      : called !== undefined && name.startsWith('to_')
        ? ['', countOf(called, wholeNumberOf), name.slice('to_'.length, -1)]
        : []
  const [shortest, longest] = units[unit?.toLowerCase() ?? ''] ?? []
  if (count === undefined || shortest === undefined || longest === undefined) return undefined
  return { min: Number(count) * shortest, max: Number(count) * longest }
}

/** The types to which the parser casts a number of an interval: it stays what it is, as long as it is whole and small. */
const numberTypes = new Set(['DOUBLE', 'INTEGER', 'BIGINT'])

/** A number as the parser wraps it. */
function countOf(
  node: SyntaxNode,
  wholeNumberOf: (node: SyntaxNode) => number | undefined,
): string | undefined {
  if (node['class'] === 'CONSTANT') {
    const text = textOf(node) ?? String(wholeNumberOf(node))
    return /^\d{1,6}$/.test(text) ? text : undefined
  }
  const [argument, ...more] = listField(node, 'children').map(asNode)
  const isTrunc =
    node['class'] === 'FUNCTION' && node['function_name'] === 'trunc' && more.length === 0
  const isCast =
    node['class'] === 'CAST' && numberTypes.has(textField(nodeField(node, 'cast_type'), 'id'))
  const inner = isTrunc ? argument : isCast ? nodeField(node, 'child') : undefined
  return inner === undefined ? undefined : countOf(inner, wholeNumberOf)
}
