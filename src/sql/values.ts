import {
  DuckDBArrayValue,
  DuckDBBlobValue,
  DuckDBDateValue,
  DuckDBListValue,
  DuckDBMapValue,
  DuckDBStructValue,
  DuckDBTimestampMillisecondsValue,
  DuckDBTimestampNanosecondsValue,
  DuckDBTimestampSecondsValue,
  DuckDBTimestampTZValue,
  DuckDBTimestampValue,
  DuckDBTypeId,
  DuckDBUnionValue,
  DuckDBVariantValue,
  type DuckDBDataChunk,
  type DuckDBType,
  type DuckDBValue,
} from '@duckdb/node-api'
import { isUtf8 } from 'node:buffer'

/**
 * The rows of a chunk as JSON text, `[[…],[…]]`: numbers keep all their digits (a reader that needs integers beyond
 * 2^53 must not read them as doubles), decimals, times and what JSON has no form for are texts.
 * @param columns The chunk's column of each result column, and its type.
 */
export function encodeRows(
  chunk: DuckDBDataChunk,
  columns: readonly { readonly index: number; readonly duckdbType: DuckDBType }[],
): string {
  const encoded = columns.map(({ index, duckdbType }) => {
    const encode = duckdbType.typeId === DuckDBTypeId.FLOAT ? encodeFloat : encodeValue
    return chunk.getColumnValues(index).map((value) => encode(value))
  })
  const rows: string[] = []
  for (let row = 0; row < chunk.rowCount; row++)
    rows.push(`[${encoded.map((column) => column[row] ?? 'null').join(',')}]`)
  return `[${rows.join(',')}]`
}

/** One value as JSON text. */
export function encodeValue(value: DuckDBValue): string {
  switch (typeof value) {
    case 'string':
      return JSON.stringify(value)
    case 'number':
      return encodeDouble(value)
    case 'bigint':
    case 'boolean':
      return value.toString()
    default:
      return value === null || value === undefined ? 'null' : encodeObject(value)
  }
}

function encodeObject(value: DuckDBValue & object): string {
  if (value instanceof DuckDBListValue || value instanceof DuckDBArrayValue)
    return `[${value.items.map(encodeValue).join(',')}]`
  if (value instanceof DuckDBStructValue) return encodeEntries(Object.entries(value.entries))
  if (value instanceof DuckDBMapValue)
    return encodeEntries(value.entries.map((entry) => [textOf(entry.key), entry.value] as const))
  if (value instanceof DuckDBUnionValue) return encodeEntries([[value.tag, value.value]])
  if (value instanceof DuckDBVariantValue) return encodeValue(value.value)
  if (value instanceof DuckDBBlobValue) return JSON.stringify(blobText(value.bytes))
  return JSON.stringify(timeText(value) ?? value.toString())
}

function encodeEntries(entries: readonly (readonly [string, DuckDBValue])[]): string {
  return `{${entries.map(([name, value]) => `${JSON.stringify(name)}:${encodeValue(value)}`).join(',')}}`
}

/** A map's key as the name of a JSON object's field. */
function textOf(key: DuckDBValue): string {
  if (typeof key === 'string') return key
  const json = encodeValue(key)
  return json.startsWith('"') ? String(JSON.parse(json)) : json
}

function encodeDouble(value: number): string {
  if (Number.isNaN(value)) return '"NaN"'
  if (!Number.isFinite(value)) return value > 0 ? '"Infinity"' : '"-Infinity"'
  return Object.is(value, -0) ? '-0' : String(value)
}

/** The shortest digits that make the same 32-bit value: 0.1, not the double beside it. */
function encodeFloat(value: DuckDBValue): string {
  if (typeof value !== 'number' || !Number.isFinite(value)) return encodeValue(value)
  for (let digits = 6; digits < 9; digits++) {
    const short = Number(value.toPrecision(digits))
    if (Math.fround(short) === value) return encodeDouble(short)
  }
  return encodeDouble(Number(value.toPrecision(9)))
}

/** Bytes as text: as they are when they are UTF-8, else each byte that is not printable ASCII as `\xHH`. */
function blobText(bytes: Uint8Array): string {
  if (isUtf8(bytes)) return Buffer.from(bytes).toString('utf8')
  return Array.from(bytes, (byte) =>
    byte >= 0x20 && byte < 0x7f
      ? String.fromCharCode(byte)
      : `\\x${byte.toString(16).toUpperCase().padStart(2, '0')}`,
  ).join('')
}

/** Dates and timestamps as `2026-11-21` and `2026-11-21 17:53:16.123`, always in UTC; undefined for anything else. */
function timeText(value: DuckDBValue & object): string | undefined {
  if (value instanceof DuckDBDateValue) return dateText(value)
  if (value instanceof DuckDBTimestampTZValue)
    return timestampText(value.micros * 1000n, value, ' UTC')
  if (value instanceof DuckDBTimestampValue) return timestampText(value.micros * 1000n, value)
  if (value instanceof DuckDBTimestampSecondsValue)
    return timestampText(value.seconds * 1_000_000_000n, value)
  if (value instanceof DuckDBTimestampMillisecondsValue)
    return timestampText(value.millis * 1_000_000n, value)
  if (value instanceof DuckDBTimestampNanosecondsValue) return timestampText(value.nanos, value)
  return undefined
}

function dateText(value: DuckDBDateValue): string {
  // The binding has no name of its own for infinite dates.
  if (value.days === DuckDBDateValue.PosInf.days) return 'infinity'
  if (value.days === DuckDBDateValue.NegInf.days) return '-infinity'
  return value.toString()
}

const secondNanos = 1_000_000_000n
const millisecondsMax = 8.64e15

/** Three decimals, or six or nine when the value has more. */
function timestampText(
  nanos: bigint,
  value: { readonly isFinite: boolean; toString(): string },
  zone = '',
): string {
  if (!value.isFinite) return value.toString()
  const fraction = ((nanos % secondNanos) + secondNanos) % secondNanos
  const milliseconds = Number((nanos - fraction) / 1_000_000n)
  const isOrdinary = Math.abs(milliseconds) < millisecondsMax
  const date = isOrdinary ? new Date(milliseconds).toISOString() : ''
  // Years outside 0001–9999 keep DuckDB's own form.
  if (date.length !== 24 || date.startsWith('0000')) return value.toString()
  const digits = fraction.toString().padStart(9, '0')
  const length = digits.endsWith('000000') ? 3 : digits.endsWith('000') ? 6 : 9
  return `${date.slice(0, 10)} ${date.slice(11, 19)}.${digits.slice(0, length)}${zone}`
}
