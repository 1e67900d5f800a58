import * as fc from 'fast-check'
import { defaultOf } from '../../src/kafka/codec.ts'
import type { AnyType, ScalarKind } from '../../src/kafka/schema.ts'
import { fieldsOf } from '../../src/kafka/schema.ts'

const whole = (bits: number, signed: boolean) =>
  signed
    ? fc.integer({ min: -(2 ** (bits - 1)), max: 2 ** (bits - 1) - 1 })
    : fc.integer({ min: 0, max: 2 ** bits - 1 })

const buffer = fc.uint8Array({ maxLength: 30 }).map((array) => Buffer.from(array))

const scalars: Readonly<Record<ScalarKind, fc.Arbitrary<unknown>>> = {
  int8: whole(8, true),
  int16: whole(16, true),
  int32: whole(32, true),
  int64: fc.maxSafeInteger(),
  bool: fc.boolean(),
  string: fc.string({ unit: 'grapheme', maxLength: 12 }),
  uuid: fc.uuid(),
  bytes: buffer,
  records: fc.option(buffer),
}

/** Values of a type in a version, as reading gives them: what the version does not have has its default. */
export function valuesOf(type: AnyType, version: number): fc.Arbitrary<unknown> {
  const { shape } = type
  if (shape.kind === 'struct') {
    const fields = fieldsOf(shape.fields).map((field) => {
      const isServed = version >= field.since && version <= field.until
      return [
        field.name,
        isServed ? valuesOf(field.type, version) : fc.constant(defaultOf(field)),
      ] as const
    })
    return fc.record(Object.fromEntries(fields), { noNullPrototype: true })
  }
  const values =
    shape.kind === 'array'
      ? fc.array(valuesOf(shape.element, version), { maxLength: 3 })
      : scalars[shape.kind]
  return version >= type.nullableFrom ? fc.option(values, { freq: 4 }) : values
}
