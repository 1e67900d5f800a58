import { isLosslessNumber, parse } from 'lossless-json'
import type { Column, ColumnType } from './columns.ts'
import type { EventDefinition } from './definition.ts'

/** Why an event does not fit its declaration: the path of the value (`sequences.questions[0].id`) and both sides in words. */
export interface Misfit {
  readonly path: string
  readonly expected: string
  readonly got: string
}

/**
 * The first declared parameter that is missing though required, or whose value does not fit its type; undefined when all fit.
 * Types are compatible with text, because everything that comes by query or form is text: '5' fits an int as 5 and 5.0 do.
 * An absent or null value fits everything that is not required. docs/reference/collector.md lists the rules.
 */
export function findMisfit(
  event: Pick<EventDefinition, 'params' | 'required'>,
  fields: Readonly<Record<string, unknown>>,
): Misfit | undefined {
  for (const name of event.required) {
    const value = ownValue(fields, name)
    if (value === undefined || value === null)
      return { path: name, expected: 'a value', got: value === null ? 'null' : 'nothing' }
  }
  return findFieldMisfit(event.params, fields, '')
}

/** The first place at which `value` does not fit `type`; undefined when it fits. */
export function findTypeMisfit(type: ColumnType, value: unknown, path: string): Misfit | undefined {
  if (value === undefined || value === null) return undefined
  const misfit = { path, expected: typeName(type), got: describe(value) }
  if (type.kind === 'list') {
    if (!Array.isArray(value)) return misfit
    return firstDefined(value, (item, index) =>
      findTypeMisfit(type.element, item, `${path}[${index}]`),
    )
  }
  if (type.kind === 'map' || type.kind === 'struct') {
    if (!isPlainObject(value)) return misfit
    if (type.kind === 'struct') return findFieldMisfit(type.fields, value, `${path}.`)
    return firstDefined(Object.entries(value), ([name, item]) =>
      findTypeMisfit(type.value, item, `${path}.${name}`),
    )
  }
  const text = scalarText(value)
  return text !== undefined && scalarFits(type, text, typeof value === 'boolean')
    ? undefined
    : misfit
}

/** JSON text to a value in which every number keeps its own text, for the types whose range ends beyond what a double tells apart. */
export function parseExact(text: string): unknown {
  return parse(text, undefined, { onDuplicateKey: ({ newValue }) => newValue })
}

function findFieldMisfit(
  columns: readonly Column[],
  fields: Readonly<Record<string, unknown>>,
  prefix: string,
): Misfit | undefined {
  return firstDefined(columns, (column) =>
    findTypeMisfit(column.type, ownValue(fields, column.name), prefix + column.name),
  )
}

function scalarFits(type: ColumnType, text: string, isBoolean: boolean): boolean {
  switch (type.kind) {
    case 'string':
      return true
    case 'boolean':
      return text === 'true' || text === 'false' || text === '1' || text === '0'
    case 'int':
      return !isBoolean && integerFits(text, -(2n ** 31n), 2n ** 31n - 1n)
    case 'long':
      return !isBoolean && integerFits(text, -(2n ** 63n), 2n ** 63n - 1n)
    case 'double':
      return numberPattern.test(text) && Number.isFinite(Number(text))
    case 'decimal':
      return decimalFits(text, type.precision, type.scale)
    case 'date':
      return dateFits(text)
    case 'timestamp':
    case 'timestamptz':
      return timestampFits(text)
    case 'uuid':
      return uuidPattern.test(text)
    case 'binary':
      return text.length % 4 === 0 && base64Pattern.test(text)
    default:
      return false
  }
}

const numberPattern = /^-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?$/
const uuidPattern = /^[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}$/i
const base64Pattern = /^[A-Za-z\d+/]*={0,2}$/
const datePattern = /^(\d{4})-(\d{2})-(\d{2})$/
const timestampPattern =
  /^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}):(\d{2})(?::(\d{2})(?:\.\d{1,9})?)?(?:Z|([+-])(\d{2})(?::?(\d{2}))?)?)?$/

/** A decimal number without its notation: ±digits × 10^exponent, no zeros at either end of the digits; zero has none. */
interface Digits {
  readonly negative: boolean
  readonly digits: string
  readonly exponent: number
}

function readDigits(text: string): Digits | undefined {
  if (!numberPattern.test(text)) return undefined
  const [mantissa = '', exponentText = '0'] = text.toLowerCase().split('e')
  const [whole = '', fraction = ''] = mantissa.replace('-', '').split('.')
  const all = (whole + fraction).replace(/^0+/, '')
  const digits = all.replace(/0+$/, '')
  return {
    negative: mantissa.startsWith('-'),
    digits,
    exponent: Number(exponentText) - fraction.length + (all.length - digits.length),
  }
}

function integerFits(text: string, min: bigint, max: bigint): boolean {
  const number = readDigits(text)
  if (number === undefined) return false
  if (number.digits === '') return true
  // 20 digits are beyond every range; the check also keeps 1e999999999 from becoming a long text.
  if (number.exponent < 0 || number.digits.length + number.exponent > 20) return false
  const magnitude = BigInt(number.digits + '0'.repeat(number.exponent))
  const value = number.negative ? -magnitude : magnitude
  return value >= min && value <= max
}

function decimalFits(text: string, precision: number, scale: number): boolean {
  const number = readDigits(text)
  if (number === undefined) return false
  if (number.digits === '') return true
  return number.exponent >= -scale && number.digits.length + number.exponent <= precision - scale
}

function dateFits(text: string): boolean {
  const match = datePattern.exec(text)
  if (match === null) return false
  const [year, month, day] = [Number(match[1]), Number(match[2]), Number(match[3])]
  if (month < 1 || month > 12 || day < 1) return false
  const leap = (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0
  const days = [31, leap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
  return day <= (days[month - 1] ?? 0)
}

function timestampFits(text: string): boolean {
  const match = timestampPattern.exec(text)
  if (match === null) return false
  const [, date = '', hour = '0', minute = '0', second = '0', , zoneHour = '0', zoneMinute = '0'] =
    match
  return (
    dateFits(date) &&
    Number(hour) <= 23 &&
    Number(minute) <= 59 &&
    Number(second) <= 59 &&
    Number(zoneHour) <= 15 &&
    Number(zoneMinute) <= 59
  )
}

/** A scalar as text; undefined for lists and objects. */
function scalarText(value: unknown): string | undefined {
  if (typeof value === 'string') return value
  if (typeof value === 'number' || typeof value === 'boolean') return String(value)
  return isLosslessNumber(value) ? value.value : undefined
}

function isPlainObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return (
    typeof value === 'object' && value !== null && !Array.isArray(value) && !isLosslessNumber(value)
  )
}

function ownValue(fields: Readonly<Record<string, unknown>>, name: string): unknown {
  return Object.hasOwn(fields, name) ? fields[name] : undefined
}

function firstDefined<T, R>(
  items: readonly T[],
  find: (item: T, index: number) => R | undefined,
): R | undefined {
  for (const [index, item] of items.entries()) {
    const found = find(item, index)
    if (found !== undefined) return found
  }
  return undefined
}

function typeName(type: ColumnType): string {
  return type.kind === 'decimal' ? `decimal(${type.precision},${type.scale})` : type.kind
}

/** A value in an error message: short, whatever a client sent. */
function describe(value: unknown): string {
  if (Array.isArray(value)) return 'a list'
  const text = scalarText(value)
  if (text === undefined) return 'an object'
  const short = text.length > 60 ? `${text.slice(0, 60)}…` : text
  return typeof value === 'string' ? JSON.stringify(short) : short
}
