const openBrace = 0x7b
const openBracket = 0x5b
/** The bytes that begin a level of JSON. */
export const openers: readonly number[] = [openBrace, openBracket]

/** Whether JSON bytes nest deeper than `depthMax`. Counts the openers first, which is native and settles nearly every event. */
export function nestsDeeper(bytes: Uint8Array, depthMax: number): boolean {
  let count = 0
  for (const opener of openers) {
    for (let at = bytes.indexOf(opener); at !== -1; at = bytes.indexOf(opener, at + 1)) {
      count++
      if (count > depthMax) return measureDepth(bytes, depthMax) > depthMax
    }
  }
  return false
}

function measureDepth(bytes: Uint8Array, enough: number): number {
  let depth = 0
  let deepest = 0
  let inText = false
  for (let at = 0; at < bytes.length && deepest <= enough; at++) {
    const byte = bytes[at]
    if (inText) {
      if (byte === 0x5c) at++
      else if (byte === 0x22) inText = false
    } else if (byte === 0x22) inText = true
    else if (byte === openBrace || byte === openBracket) deepest = Math.max(deepest, ++depth)
    else if (byte === 0x7d || byte === 0x5d) depth--
  }
  return deepest
}
