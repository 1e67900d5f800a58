/**
 * Lower and upper bounds of a column in a data file, in Iceberg's single-value binary form (spec, Appendix D), from the text that DuckDB returns as
 * a statistic. No bound (undefined) is always correct; a bound that excludes a value never is.
 */

/** Code points of text, or bytes. DuckDB itself cuts at 256 bytes, so what it cut is cut and raised here too. */
const truncatedLength = 16

/** The smallest value, or for text and binary a prefix of it. `type` is Iceberg's name of a primitive type. */
export function lowerBound(type: string, text: string): Buffer | undefined {
  if (type === 'string') return Buffer.from(codePoints(text).slice(0, truncatedLength).join(''))
  if (type === 'binary') return Buffer.from(text, 'hex').subarray(0, truncatedLength)
  if (type === 'double' && Number(text) === 0) return doubleBytes(-0) // -0 sorts before 0 and may be among the values
  return singleValue(type, text)
}

/** The largest value, or for long text and binary the shortest prefix that is above it, its last place raised by one. */
export function upperBound(type: string, text: string): Buffer | undefined {
  if (type === 'string') return upperText(codePoints(text))
  if (type === 'binary') return upperBinary(Buffer.from(text, 'hex'))
  if (type === 'double' && Number(text) === 0) return doubleBytes(0)
  return singleValue(type, text)
}

function singleValue(type: string, text: string): Buffer | undefined {
  switch (type) {
    case 'boolean':
      return Buffer.from([text === '1' || text === 'true' ? 1 : 0])
    case 'int':
      return intBytes(Number(text))
    case 'long':
      return longBytes(BigInt(text))
    case 'double':
      return doubleBytes(Number(text.replace('inf', 'Infinity')))
    case 'date': {
      const micros = parseMicros(text)
      return micros === undefined ? undefined : intBytes(Number(micros / microsPerDay))
    }
    case 'timestamp':
    case 'timestamptz': {
      const micros = parseMicros(text)
      return micros === undefined ? undefined : longBytes(micros)
    }
    default:
      return type.startsWith('decimal') ? decimalBytes(BigInt(text.replace('.', ''))) : undefined
  }
}

const microsPerDay = 86_400_000_000n

/** Microseconds since 1970 of `2024-02-03[ 01:02:03[.456789][+00[:30]]]`. Undefined outside the years 1 to 9999, and for infinity. */
function parseMicros(text: string): bigint | undefined {
  const match =
    /^(\d{4}-\d\d-\d\d)(?: (\d\d:\d\d:\d\d)(?:\.(\d{1,6}))?(?:([+-])(\d\d)(?::?(\d\d))?)?)?$/.exec(
      text,
    )
  if (match === null) return undefined
  const [, day, time = '00:00:00', fraction = '', sign = '+', hours = '0', minutes = '0'] = match
  const offsetMinutes = (Number(hours) * 60 + Number(minutes)) * (sign === '-' ? -1 : 1)
  const milliseconds = Date.parse(`${day}T${time}Z`) - offsetMinutes * 60_000
  return BigInt(milliseconds) * 1000n + BigInt(fraction.padEnd(6, '0'))
}

function intBytes(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32LE(value)
  return bytes
}

function longBytes(value: bigint): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigInt64LE(value)
  return bytes
}

function doubleBytes(value: number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeDoubleLE(value)
  return bytes
}

/** Two's complement, big-endian, in as few bytes as hold it. */
function decimalBytes(unscaled: bigint): Buffer {
  let length = 1
  while (BigInt.asIntN(length * 8, unscaled) !== unscaled) length++
  const hex = BigInt.asUintN(length * 8, unscaled).toString(16)
  return Buffer.from(hex.padStart(length * 2, '0'), 'hex')
}

/** Code points, not UTF-16 units: their order is the order of the UTF-8 bytes. */
function codePoints(text: string): string[] {
  return Array.from(text)
}

function upperText(points: readonly string[]): Buffer | undefined {
  if (points.length <= truncatedLength) return Buffer.from(points.join(''))
  for (let length = truncatedLength; length > 0; length--) {
    const last = points[length - 1]?.codePointAt(0) ?? 0
    if (last === 0x10ffff) continue
    const raised = last === 0xd7ff ? 0xe000 : last + 1 // surrogates are no characters
    return Buffer.from(points.slice(0, length - 1).join('') + String.fromCodePoint(raised))
  }
  return undefined
}

function upperBinary(bytes: Buffer): Buffer | undefined {
  if (bytes.length <= truncatedLength) return bytes
  for (let length = truncatedLength; length > 0; length--) {
    const last = bytes[length - 1] ?? 0
    if (last === 0xff) continue
    return Buffer.concat([bytes.subarray(0, length - 1), Buffer.from([last + 1])])
  }
  return undefined
}
