import { Reader, Writer } from './wire.ts'
import { fieldsOf } from './schema.ts'
import type { AnyField, AnyType, Fields, ScalarKind } from './schema.ts'

/** Reads and writes one type in one version. */
export interface Codec {
  read(reader: Reader): unknown
  write(writer: Writer, value: unknown): void
  /** The fewest bytes that a value takes: what an array's length is checked against. */
  readonly bytesMin: number
}

/** Compiles the reader and writer of a type for one version, so that nothing asks for versions while messages pass. */
export function compile(type: AnyType, version: number, flexible: boolean): Codec {
  const { shape } = type
  const mayBeNull = version >= type.nullableFrom
  if (shape.kind === 'struct') return structCodec(shape.fields, version, flexible)
  if (shape.kind === 'array') {
    return arrayCodec(compile(shape.element, version, flexible), mayBeNull, flexible)
  }
  return scalarCodec(shape.kind, mayBeNull, flexible)
}

/** The value of a field that is not there. */
export function defaultOf({ type, default: standard }: AnyField): unknown {
  if (type.shape.kind !== 'struct' || standard !== undefined) return standard
  return Object.fromEntries(
    fieldsOf(type.shape.fields).map((field) => [field.name, defaultOf(field)]),
  )
}

const fixedCodecs: Readonly<Record<Exclude<ScalarKind, 'string' | 'bytes' | 'records'>, Codec>> = {
  int8: fixed(
    1,
    (reader) => reader.int8(),
    (writer, value: number) => writer.int8(value),
  ),
  int16: fixed(
    2,
    (reader) => reader.int16(),
    (writer, value: number) => writer.int16(value),
  ),
  int32: fixed(
    4,
    (reader) => reader.int32(),
    (writer, value: number) => writer.int32(value),
  ),
  int64: fixed(
    8,
    (reader) => reader.int64(),
    (writer, value: number) => writer.int64(value),
  ),
  bool: fixed(
    1,
    (reader) => reader.bool(),
    (writer, value: boolean) => writer.bool(value),
  ),
  uuid: fixed(
    16,
    (reader) => reader.uuid(),
    (writer, value: string) => writer.uuid(value),
  ),
}

function fixed<T>(
  bytesMin: number,
  read: (reader: Reader) => T,
  write: (writer: Writer, value: T) => void,
): Codec {
  // The value's type follows from the schema, which the callers' types are inferred from.
  return { bytesMin, read, write: (writer, value) => write(writer, value as T) }
}

function scalarCodec(kind: ScalarKind, mayBeNull: boolean, flexible: boolean): Codec {
  if (kind === 'string') return stringCodec(mayBeNull, flexible)
  // In every message that has records they may be null.
  if (kind === 'records') return bytesCodec(true, flexible, false)
  if (kind === 'bytes') return bytesCodec(mayBeNull, flexible, true)
  return fixedCodecs[kind]
}

function stringCodec(mayBeNull: boolean, flexible: boolean): Codec {
  return {
    bytesMin: flexible ? 1 : 2,
    read: (reader) => {
      const length = reader.stringLength(flexible)
      if (length >= 0) return reader.text(length)
      if (!mayBeNull) throw nullRefused(reader, 'string')
      return null
    },
    write: (writer, value) => {
      if (typeof value === 'string') writer.string(value, flexible)
      // A version that has no null takes the empty value for it, as clients of that version expect.
      else writer.stringLength(mayBeNull ? -1 : 0, flexible)
    },
  }
}

function bytesCodec(mayBeNull: boolean, flexible: boolean, copied: boolean): Codec {
  return {
    bytesMin: flexible ? 1 : 4,
    read: (reader) => {
      const length = reader.bytesLength(flexible)
      if (length >= 0) return copied ? Buffer.from(reader.view(length)) : reader.view(length)
      if (!mayBeNull) throw nullRefused(reader, 'byte string')
      return null
    },
    write: (writer, value) => {
      if (Buffer.isBuffer(value)) {
        writer.length32(value.length, flexible)
        writer.raw(value)
      } else {
        writer.length32(mayBeNull ? -1 : 0, flexible)
      }
    },
  }
}

function arrayCodec(element: Codec, mayBeNull: boolean, flexible: boolean): Codec {
  return {
    bytesMin: flexible ? 1 : 4,
    read: (reader) => {
      const length = reader.arrayLength(flexible, element.bytesMin)
      if (length < 0) {
        if (!mayBeNull) throw nullRefused(reader, 'array')
        return null
      }
      const values: unknown[] = []
      for (let index = 0; index < length; index++) values.push(element.read(reader))
      return values
    },
    write: (writer, value) => {
      if (!Array.isArray(value)) {
        writer.length32(mayBeNull ? -1 : 0, flexible)
        return
      }
      writer.length32(value.length, flexible)
      for (const item of value) element.write(writer, item)
    },
  }
}

interface CompiledField {
  readonly name: string
  readonly codec: Codec
  readonly default: unknown
}

interface CompiledTag extends CompiledField {
  readonly tag: number
  readonly type: AnyType
}

type Values = Record<string, unknown>

function structCodec(fields: Fields, version: number, flexible: boolean): Codec {
  const all = fieldsOf(fields)
  const served = all
    .filter(({ since, until }) => version >= since && version <= until)
    .map((field) => ({
      ...field,
      default: defaultOf(field),
      codec: compile(field.type, version, flexible),
    }))
  const plain: CompiledField[] = served.filter(({ tag }) => tag === undefined)
  const tags = flexible ? tagCodec(served) : undefined
  // Every value of a struct has all fields of all versions, in one order: one hidden class.
  const template: Values = Object.fromEntries(all.map((field) => [field.name, defaultOf(field)]))
  return {
    bytesMin: plain.reduce((sum, { codec }) => sum + codec.bytesMin, flexible ? 1 : 0),
    read: (reader) => {
      const values = { ...template }
      for (const { name, codec } of plain) values[name] = codec.read(reader)
      tags?.read(reader, values)
      return values
    },
    write: (writer, value) => {
      const values = value as Values
      for (const { name, codec, default: standard } of plain) {
        const given = values[name]
        codec.write(writer, given === undefined ? standard : given)
      }
      tags?.write(writer, values)
    },
  }
}

function tagCodec(served: readonly (AnyField & CompiledField)[]): {
  read(reader: Reader, values: Values): void
  write(writer: Writer, values: Values): void
} {
  const tags: CompiledTag[] = served
    .flatMap((field) => (field.tag === undefined ? [] : [{ ...field, tag: field.tag }]))
    .toSorted((left, right) => left.tag - right.tag)
  return {
    read: (reader, values) => readTags(reader, tags, values),
    write: (writer, values) => {
      const set = tags.filter(({ name, type, default: standard }) => {
        return !isDefault(type, values[name], standard)
      })
      writer.unsignedVarint(set.length)
      for (const { tag, name, codec } of set) {
        const inner = new Writer()
        codec.write(inner, values[name])
        writer.unsignedVarint(tag)
        writer.unsignedVarint(inner.length)
        for (const chunk of inner.chunks()) writer.raw(chunk)
      }
    },
  }
}

/** Tagged fields that are not known are skipped (KIP-482). */
function readTags(reader: Reader, tags: readonly CompiledTag[], values: Values): void {
  const count = reader.unsignedVarint()
  for (let index = 0; index < count; index++) {
    const tag = reader.unsignedVarint()
    const size = reader.unsignedVarint()
    const known = tags.find((field) => field.tag === tag)
    if (known === undefined) {
      reader.skip(size)
      continue
    }
    const end = reader.at + size
    values[known.name] = known.codec.read(reader)
    if (reader.at !== end) throw reader.malformed(`tagged field ${tag} is not ${size} bytes long`)
  }
}

function isDefault(type: AnyType, value: unknown, standard: unknown): boolean {
  if (value === undefined || value === standard) return true
  if (type.shape.kind === 'array') return Array.isArray(value) && value.length === 0
  if (type.shape.kind !== 'struct') return false
  const values = value as Values
  return fieldsOf(type.shape.fields).every((field) =>
    isDefault(field.type, values[field.name], defaultOf(field)),
  )
}

function nullRefused(reader: Reader, what: string): Error {
  return reader.malformed(`a ${what} is null, which this version of the message does not allow`)
}
