import { compactBytes, isJsonSpace, JsonScanner } from '../collect/json-scan.ts'
import { QuestlogError } from '../core/errors.ts'
import type { Files } from '../core/files.ts'

/** A record as it was given. */
export interface InputRecord {
  readonly key: Buffer | null
  readonly value: Buffer
}

/** Which elements of a JSON array: one of them, or those from `from` up to but without `to`. */
export type Slice =
  | { readonly kind: 'one'; readonly index: number }
  | { readonly kind: 'range'; readonly from: number; readonly to: number }

export interface InputOptions {
  readonly files: Files
  readonly standardInput: AsyncIterable<Buffer>
  /** A file; null = standard input. */
  readonly file: string | null
  /** Each element of a JSON array becomes a record of its own. */
  readonly splitArray: boolean
  readonly slice: Slice | null
  /** What stands between key and value in a line. */
  readonly keySeparator: string | null
  /** Whether a `.json` file is one record; it is lines otherwise. */
  readonly wholeDocument: boolean
}

/** The records of an input, and how they were made of it, in words: `one record a line`. */
export interface ProduceInput {
  readonly records: AsyncIterable<InputRecord> | Iterable<InputRecord>
  readonly shape: string
  /** Bytes of the input, when known, and how many were read so far. */
  readonly size: number | null
  readonly position: () => number
}

const lineFeed = 0x0a
const chunkBytes = 256 * 1024
const documentBytesMax = 1024 * 1024 * 1024
/** JSON.parse bounds the nesting itself. */
const depthUnbounded = Number.MAX_SAFE_INTEGER

/**
 * Opens an input. A line is a record; a `.json` file is one record as a whole; with `splitArray` or `slice` the input is a JSON array, whose elements are the records, or are put
 * together to one. Texts of JSON stay as they were written, without white space between. EVENT_MALFORMED when it is no JSON array; USAGE for a slice beyond its end.
 */
export async function openInput(options: InputOptions): Promise<ProduceInput> {
  const { files, file, splitArray, slice } = options
  const size = file === null ? null : await files.sizeOf(file)
  if (size === undefined)
    throw new QuestlogError('USAGE', `there is no file ${file}`, { file: file ?? '' })
  if (splitArray || slice !== null) return openArray(options)
  if (options.wholeDocument && file?.endsWith('.json') === true) return openDocument(options, file)
  return openLines(options, size)
}

function openLines(options: InputOptions, size: number | null): ProduceInput {
  const { file, keySeparator } = options
  const source = file === null ? options.standardInput : readChunks(options.files, file)
  let position = 0
  const records = async function* () {
    for await (const { line, end } of splitLines(source)) {
      position = end
      if (line.length > 0) yield parseLine(line, keySeparator)
    }
  }
  return {
    records: records(),
    shape: 'one record a line',
    size,
    position: () => position,
  }
}

async function openDocument(options: InputOptions, file: string): Promise<ProduceInput> {
  const bytes = await readWhole(options)
  const text = parseJson(bytes, file)
  const shape = Array.isArray(text)
    ? `one record, a JSON array of ${text.length} elements`
    : 'one record'
  return whole([{ key: null, value: compactBytes(bytes) }], shape, bytes.length)
}

async function openArray(options: InputOptions): Promise<ProduceInput> {
  const { file, slice, splitArray } = options
  const bytes = await readWhole(options)
  const name = file ?? 'standard input'
  if (!Array.isArray(parseJson(bytes, name)))
    throw new QuestlogError('EVENT_MALFORMED', `${name} is no JSON array`)
  const elements = splitElements(bytes)
  const chosen = choose(elements, slice, name)
  if (slice?.kind === 'one')
    return whole(chosen, `one record, element ${slice.index}`, bytes.length)
  if (splitArray) return whole(chosen, 'one record an element', bytes.length)
  const parts = chosen.flatMap(({ value }, index) =>
    index === 0 ? [value] : [Buffer.from(','), value],
  )
  const value = Buffer.concat([Buffer.from('['), ...parts, Buffer.from(']')])
  const shape = `one record, a JSON array of ${chosen.length} elements`
  return whole([{ key: null, value }], shape, bytes.length)
}

function whole(records: readonly InputRecord[], shape: string, size: number): ProduceInput {
  return { records, shape, size, position: () => size }
}

function choose(
  elements: readonly Buffer[],
  slice: Slice | null,
  name: string,
): readonly InputRecord[] {
  const first = slice === null ? 0 : slice.kind === 'one' ? slice.index : slice.from
  const end = slice === null ? elements.length : slice.kind === 'one' ? first + 1 : slice.to
  if (first >= elements.length && slice !== null)
    throw new QuestlogError(
      'USAGE',
      `${name} has ${elements.length} elements, from 0 on: there is no element ${first}`,
    )
  return elements.slice(first, end).map((value) => ({ key: null, value }))
}

/** The elements of a JSON array that JSON.parse accepts, each without white space. */
export function splitElements(bytes: Buffer): Buffer[] {
  const scanner = new JsonScanner(depthUnbounded)
  const elements: Buffer[] = []
  let position = skipSpace(bytes, bytes.indexOf('[') + 1)
  while (position < bytes.length && bytes[position] !== 0x5d) {
    const end = scanner.scan(bytes, position, bytes.length)
    elements.push(compactBytes(bytes.subarray(position, end)))
    position = skipSpace(bytes, end)
    if (bytes[position] === 0x2c) position = skipSpace(bytes, position + 1)
  }
  return elements
}

function skipSpace(bytes: Buffer, from: number): number {
  let position = from
  while (position < bytes.length && isJsonSpace(bytes[position])) position++
  return position
}

function parseLine(line: Buffer, keySeparator: string | null): InputRecord {
  const at = keySeparator === null ? -1 : line.indexOf(keySeparator)
  if (keySeparator === null || at < 0) return { key: null, value: line }
  return { key: line.subarray(0, at), value: line.subarray(at + Buffer.byteLength(keySeparator)) }
}

async function* splitLines(
  source: AsyncIterable<Buffer>,
): AsyncGenerator<{ line: Buffer; end: number }> {
  let parts: Buffer[] = []
  let end = 0
  for await (const chunk of source) {
    let start = 0
    for (let at = chunk.indexOf(lineFeed); at >= 0; at = chunk.indexOf(lineFeed, start)) {
      const line = Buffer.concat([...parts, chunk.subarray(start, at)])
      parts = []
      start = at + 1
      yield { line, end: end + start }
    }
    if (start < chunk.length) parts.push(chunk.subarray(start))
    end += chunk.length
  }
  if (parts.length > 0) yield { line: Buffer.concat(parts), end }
}

async function* readChunks(files: Files, path: string): AsyncGenerator<Buffer> {
  const file = await files.openRead(path)
  try {
    for (let at = 0; ;) {
      const chunk = await file.read(at, chunkBytes)
      if (chunk.length === 0) return
      at += chunk.length
      yield chunk
    }
  } finally {
    await file.close()
  }
}

async function readWhole({ files, file, standardInput }: InputOptions): Promise<Buffer> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of file === null ? standardInput : readChunks(files, file)) {
    size += chunk.length
    if (size > documentBytesMax)
      throw new QuestlogError(
        'REQUEST_TOO_LARGE',
        `a JSON document of more than ${documentBytesMax} bytes can't be read at once`,
        {},
        { hint: 'send it line by line' },
      )
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

function parseJson(bytes: Buffer, name: string): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'))
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    throw new QuestlogError('EVENT_MALFORMED', `${name} is not JSON: ${reason}`)
  }
}
