import { randomBytes } from 'node:crypto'
import { deflateRawSync, inflateRawSync } from 'node:zlib'
import { crc32 } from '@node-rs/crc32'
import avro, { type Type } from 'avsc'
import { unsnappy, unzstd } from '../core/decompress.ts'

/**
 * Avro object container files (Avro specification 1.11, "Object Container Files") for Iceberg: the schema in the header keeps its `field-id` and
 * `element-id`, the header carries further keys, and fields are read by id, as Iceberg asks (spec, "Avro", "Reader Requirements").
 */
export interface AvroFormat {
  /** The schema as it stands in the header. */
  readonly text: string
  readonly type: Type
  /** Our name of each field, by field id. */
  readonly names: ReadonlyMap<number, string>
}

/** 64-bit integers come out as bigint; numbers are taken too. */
const longType = avro.types.LongType.__with({
  fromBuffer: (bytes: Buffer) => bytes.readBigInt64LE(),
  toBuffer: (value: bigint | number) => {
    const bytes = Buffer.allocUnsafe(8)
    bytes.writeBigInt64LE(BigInt(value))
    return bytes
  },
  fromJSON: BigInt,
  toJSON: Number,
  isValid: (value: unknown) => typeof value === 'bigint' || Number.isSafeInteger(value),
  compare: (a: bigint, b: bigint) => (a === b ? 0 : a < b ? -1 : 1),
})

const magic = Buffer.from('Obj\u0001', 'latin1')
const syncBytes = 16
const headerType = avro.Type.forSchema({ type: 'map', values: 'bytes' })
const countType = avro.Type.forSchema('long')

/** Prepares a record schema (plain Avro JSON with Iceberg's attributes) for encoding and decoding. */
export function avroFormat(schema: object): AvroFormat {
  const names = new Map<number, string>()
  collectNames(schema, names)
  return { text: JSON.stringify(schema), type: typeOf(schema), names }
}

/** One container with all records in one deflated block. `header` is added to the keys that Avro itself needs. */
export function encodeContainer(
  format: AvroFormat,
  records: readonly object[],
  header: Readonly<Record<string, string>>,
): Buffer {
  const keys = { 'avro.schema': format.text, 'avro.codec': 'deflate', ...header }
  const head = Object.entries(keys).map(([key, text]) => [key, Buffer.from(text)])
  return encodeBlocks(Object.fromEntries(head), format.type, records)
}

/**
 * The records of a container, whoever wrote it: fields that `format` knows have its names, others keep the writer's.
 * Throws a plain Error that says what is wrong; the caller knows the file.
 */
export function decodeContainer(format: AvroFormat, bytes: Buffer): Record<string, unknown>[] {
  const head = decodeHead(bytes)
  return decodeBlocks(head, writerType(format, head.schema), bytes)
}

/**
 * The container again with other records, whoever wrote it: header, schema and every field that `change` leaves alone stay as they are. `nameOf` gives the writer's name of
 * a field by its id. Throws as `decodeContainer` does.
 */
export function rewriteContainer(
  bytes: Buffer,
  change: (
    record: Record<string, unknown>,
    nameOf: (fieldId: number) => string,
  ) => Record<string, unknown>,
): Buffer {
  const head = decodeHead(bytes)
  const { type, names } = avroFormat(JSON.parse(head.schema))
  const nameOf = (fieldId: number) => {
    const name = names.get(fieldId)
    if (name === undefined) throw new Error(`it has no field with the id ${fieldId}`)
    return name
  }
  const records = decodeBlocks(head, type, bytes).map((record) => change(record, nameOf))
  return encodeBlocks({ ...head.keys, 'avro.codec': Buffer.from('deflate') }, type, records)
}

function encodeBlocks(
  keys: Readonly<Record<string, Buffer>>,
  type: Type,
  records: readonly object[],
): Buffer {
  const sync = randomBytes(syncBytes)
  const head = headerType.toBuffer(keys)
  if (records.length === 0) return Buffer.concat([magic, head, sync])
  const block = deflateRawSync(Buffer.concat(records.map((record) => type.toBuffer(record))))
  return Buffer.concat([
    magic,
    head,
    sync,
    countType.toBuffer(records.length),
    countType.toBuffer(block.length),
    block,
    sync,
  ])
}

interface ContainerHead {
  readonly keys: Readonly<Record<string, Buffer>>
  /** The writer's schema. */
  readonly schema: string
  /** Where the first block begins, and what each one ends with. */
  readonly end: number
  readonly sync: Buffer
}

function decodeHead(bytes: Buffer): ContainerHead {
  if (!bytes.subarray(0, magic.length).equals(magic)) throw new Error('not an Avro file')
  const head = decode(headerType, bytes, magic.length)
  const keys = head.value as Record<string, Buffer> // by its schema
  const sync = bytes.subarray(head.offset, head.offset + syncBytes)
  if (sync.length < syncBytes) throw new Error('the header runs past the end of the file')
  const schema = keys['avro.schema']?.toString() ?? ''
  return { keys, schema, end: head.offset + syncBytes, sync }
}

function decodeBlocks(head: ContainerHead, type: Type, bytes: Buffer): Record<string, unknown>[] {
  const codec = head.keys['avro.codec']?.toString() ?? 'null'
  const records: Record<string, unknown>[] = []
  for (let position = head.end; position < bytes.length;) {
    const count = decode(countType, bytes, position)
    const size = decode(countType, bytes, count.offset)
    const end = size.offset + Number(size.value)
    if (end + syncBytes > bytes.length || Number(size.value) < 0)
      throw new Error('a block runs past the end of the file')
    if (!bytes.subarray(end, end + syncBytes).equals(head.sync))
      throw new Error('a block does not end with the sync marker')
    const block = decompress(codec, bytes.subarray(size.offset, end))
    for (let read = 0, offset = 0; read < Number(count.value); read++) {
      const record = decode(type, block, offset)
      records.push(record.value as Record<string, unknown>) // Iceberg's files hold records
      offset = record.offset
    }
    position = end + syncBytes
  }
  return records
}

function decode(type: Type, bytes: Buffer, position: number): { value: unknown; offset: number } {
  const decoded = type.decode(bytes, position)
  if (decoded.offset < 0) throw new Error('a value runs past the end of the file')
  return decoded
}

/** A block of a manifest has some megabytes at most: what says more was made to harm. */
const blockBytesMax = 256 * 1024 * 1024

/** Avro specification 1.11, "Required Codecs" and "Optional Codecs", without those that Iceberg's writers do not offer. */
const decoders: Readonly<Record<string, (block: Buffer) => Buffer>> = {
  null: (block) => block,
  deflate: (block) => inflateRawSync(block, { maxOutputLength: blockBytesMax }),
  zstandard: (block) => unzstd(block, blockBytesMax),
  snappy: decompressSnappy,
}

function decompress(codec: string, block: Buffer): Buffer {
  const decoder = Object.hasOwn(decoders, codec) ? decoders[codec] : undefined
  if (decoder === undefined) throw new Error(`the codec ${codec} is not supported`)
  return decoder(block)
}

/** The CRC-32 of what a block holds lies behind it, big-endian. */
function decompressSnappy(block: Buffer): Buffer {
  if (block.length < 4) throw new Error('a block is cut off')
  const bytes = unsnappy(block.subarray(0, -4), blockBytesMax)
  if (crc32(bytes) !== block.readUInt32BE(block.length - 4))
    throw new Error('a block has another checksum than it says')
  return bytes
}

function writerType(format: AvroFormat, text: string): Type {
  return text === format.text ? format.type : typeOf(rename(JSON.parse(text), format.names))
}

function typeOf(schema: unknown): Type {
  return avro.Type.forSchema(schema as Parameters<typeof avro.Type.forSchema>[0], {
    registry: { long: longType },
    // DuckDB writes `{"type": "long"}` where others write `"long"`.
    typeHook: (part: unknown) =>
      typeof part === 'object' && part !== null && 'type' in part && part.type === 'long'
        ? longType
        : undefined,
    wrapUnions: 'never',
  })
}

function collectNames(schema: unknown, names: Map<number, string>): void {
  if (typeof schema !== 'object' || schema === null) return
  if ('field-id' in schema && 'name' in schema)
    names.set(Number(schema['field-id']), String(schema.name))
  for (const part of Object.values(schema)) collectNames(part, names)
}

function rename(schema: unknown, names: ReadonlyMap<number, string>): unknown {
  if (Array.isArray(schema)) return schema.map((part) => rename(part, names))
  if (typeof schema !== 'object' || schema === null) return schema
  const copy = Object.fromEntries(
    Object.entries(schema).map(([key, part]) => [key, rename(part, names)]),
  )
  const name = names.get(Number(copy['field-id']))
  return name === undefined ? copy : { ...copy, name }
}
