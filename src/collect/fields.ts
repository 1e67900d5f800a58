import { isUtf8 } from 'node:buffer'

const onlyAscii = /^[ -~]*$/

/**
 * Splits a query or a form body into name, value, name, value, …
 * (WHATWG URL standard, "application/x-www-form-urlencoded parsing"): `+` is a space, a bad percent-escape stays as it is,
 * bytes that are not UTF-8 become U+FFFD. `source` holds one byte a character (latin1), as node:http gives it.
 */
export function splitFields(source: string): string[] {
  const fields: string[] = []
  if (source === '') return fields
  for (const part of source.split('&')) {
    if (part === '') continue
    const equals = part.indexOf('=')
    if (equals < 0) fields.push(decodeComponent(part), '')
    else
      fields.push(decodeComponent(part.slice(0, equals)), decodeComponent(part.slice(equals + 1)))
  }
  return fields
}

function decodeComponent(text: string): string {
  const spaced = text.includes('+') ? text.replaceAll('+', ' ') : text
  if (!spaced.includes('%') && onlyAscii.test(spaced)) return spaced
  return unescapeBytes(spaced).toString('utf8')
}

/** One byte a character, percent-escapes decoded; a `%` without two hex digits after it stays. */
function unescapeBytes(text: string): Buffer {
  const bytes = Buffer.allocUnsafe(text.length)
  let length = 0
  for (let position = 0; position < text.length; position += 1) {
    let byte = text.charCodeAt(position)
    if (byte === percent) {
      const high = hexValue(text.charCodeAt(position + 1))
      const low = hexValue(text.charCodeAt(position + 2))
      if (high >= 0 && low >= 0) {
        byte = high * 16 + low
        position += 2
      }
    }
    bytes[length] = byte
    length += 1
  }
  return bytes.subarray(0, length)
}

const percent = 0x25

/** The value of a hex digit, or -1 (also for NaN, which charCodeAt gives beyond the end). */
function hexValue(code: number): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30
  const lower = code | 0x20
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1
}

/** A header value as text: its bytes as UTF-8 if they are valid UTF-8, else one character a byte as node:http gives it. */
export function decodeHeaderValue(value: string): string {
  if (onlyAscii.test(value)) return value
  const bytes = Buffer.from(value, 'latin1')
  return isUtf8(bytes) ? bytes.toString('utf8') : value
}

/** A path with its percent-escapes decoded, for the second look at the routes. */
export function decodePath(path: string): string {
  return unescapeBytes(path).toString('utf8')
}

/** The path and the query (without `?`) of a request target. An absolute target (as proxies send it) loses its origin. */
export function splitTarget(target: string): { path: string; query: string } {
  const origin = target.startsWith('/') ? null : /^https?:\/\/[^/?]*/i.exec(target)
  const local = origin === null ? target : target.slice(origin[0].length)
  const mark = local.indexOf('?')
  const path = mark < 0 ? local : local.slice(0, mark)
  return { path: path === '' ? '/' : path, query: mark < 0 ? '' : local.slice(mark + 1) }
}
