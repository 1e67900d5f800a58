import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import type { ColumnType } from '../../src/plan/columns.ts'
import { typeText } from '../../src/plan/column-types.ts'
import { fieldsOfSchema } from '../../src/plan/json-schema.ts'
import { jsonSchemaOf } from '../../src/plan/params-schema.ts'
import { formatKeyPath, Problems } from '../../src/plan/problems.ts'

function fieldsOf(params: unknown) {
  const problems = new Problems()
  const schema = jsonSchemaOf(params, ['params'], problems)
  const fields = schema && fieldsOfSchema(schema, ['params'], problems)
  const lines = problems.list.map(({ path, message }) => `${formatKeyPath(path)}: ${message}`)
  return { columns: fields?.columns ?? [], required: fields?.required ?? [], lines }
}

function typeOf(property: unknown): string {
  const { columns, lines } = fieldsOf({ type: 'object', properties: { x: property } })
  return columns[0] === undefined ? lines.join('; ') : typeText(columns[0].type)
}

function typeOfZod(schema: z.ZodType): string {
  const { columns, lines } = fieldsOf(z.object({ x: schema }))
  return columns[0] === undefined ? lines.join('; ') : typeText(columns[0].type)
}

describe('every zod type that JSON has becomes a column type', () => {
  test.each<[string, z.ZodType, string]>([
    ['string', z.string(), 'string'],
    ['string with checks', z.string().regex(/a/).regex(/b/).max(5), 'string'],
    ['email', z.email(), 'string'],
    ['optional', z.string().optional(), 'string'],
    ['nullable', z.string().nullable(), 'string'],
    ['nullish', z.number().nullish(), 'double'],
    ['default', z.string().default('x'), 'string'],
    ['brand and readonly', z.string().brand().readonly(), 'string'],
    ['boolean', z.boolean(), 'boolean'],
    ['coerced boolean', z.coerce.boolean(), 'boolean'],
    ['number', z.number(), 'double'],
    ['coerced number', z.coerce.number(), 'double'],
    ['integer: its bounds are 2^53, so 64 bits', z.number().int(), 'long'],
    ['coerced integer', z.coerce.number().int().optional(), 'long'],
    ['int()', z.int(), 'long'],
    ['int32', z.int32(), 'int'],
    ['uint32 needs 64 bits', z.uint32(), 'long'],
    ['small integer', z.number().int().min(0).max(100), 'int'],
    ['small integer, exclusive', z.number().int().gt(0).lt(100), 'int'],
    ['integer with one bound', z.number().int().min(0), 'long'],
    ['bigint', z.bigint(), 'long'],
    ['date', z.iso.date(), 'date'],
    ['datetime', z.iso.datetime(), 'timestamptz'],
    ['Date', z.coerce.date(), 'timestamptz'],
    ['time of day', z.iso.time(), 'string'],
    ['uuid', z.uuid(), 'uuid'],
    ['base64', z.base64(), 'binary'],
    ['enum', z.enum(['a', 'b']), 'string'],
    ['literal text', z.literal('a'), 'string'],
    ['literal text or null', z.literal(['a', null]), 'string'],
    ['literal integers', z.literal([1, 2]), 'int'],
    ['literal boolean', z.literal(true), 'boolean'],
    ['union of one kind', z.union([z.literal('a'), z.email()]), 'string'],
    ['union of integers', z.union([z.int32(), z.int()]), 'long'],
    ['array', z.array(z.int32()), 'list of int'],
    ['record', z.record(z.string(), z.number()), 'map of double'],
    [
      'object',
      z.object({ id: z.string(), at: z.iso.datetime().optional() }),
      'struct(id string, at timestamptz)',
    ],
    ['loose object', z.object({ id: z.string() }).loose(), 'struct(id string)'],
    ['nullable object', z.object({ id: z.uuid() }).nullable(), 'struct(id uuid)'],
    [
      'nested three deep',
      z.array(z.object({ options: z.array(z.object({ at: z.string() })) })),
      'list of struct(options list of struct(at string))',
    ],
    ['transform: the input counts', z.string().transform(Number), 'string'],
    ['named', z.object({ id: z.string() }).meta({ id: 'Item' }), 'struct(id string)'],
  ])('%s', (_name, schema, expected) => {
    expect(typeOfZod(schema)).toBe(expected)
  })
})

describe('a plain JSON Schema is read by the same rules', () => {
  test.each<[unknown, string]>([
    [{ type: 'string' }, 'string'],
    [{ type: ['string', 'null'] }, 'string'],
    [{ type: ['integer', 'null'], minimum: 0, maximum: 9 }, 'int'],
    [{ type: 'integer' }, 'long'],
    [{ type: 'integer', minimum: 0, maximum: 2_147_483_648 }, 'long'],
    [{ type: 'number' }, 'double'],
    [{ type: 'string', format: 'date' }, 'date'],
    [{ type: 'string', format: 'date-time' }, 'timestamptz'],
    [{ type: 'string', contentEncoding: 'base64' }, 'binary'],
    [{ type: 'string', contentEncoding: 'base64url' }, 'string'],
    [{ const: 'a' }, 'string'],
    [{ enum: ['a', 'b', null] }, 'string'],
    [{ enum: [1.5, 2] }, 'double'],
    [{ enum: [2 ** 40] }, 'long'],
    [{ oneOf: [{ type: 'boolean' }, { type: 'null' }] }, 'boolean'],
    [{ allOf: [{ type: 'boolean' }] }, 'boolean'],
    [{ type: 'object', additionalProperties: { type: 'boolean' } }, 'map of boolean'],
    [
      { type: 'array', items: { type: 'array', items: { type: 'string' } } },
      'list of list of string',
    ],
  ])('%j', (schema, expected) => {
    expect(typeOf(schema)).toBe(expected)
  })

  test('a reference into $defs is followed, with its escapes', () => {
    const { columns, lines } = fieldsOf({
      type: 'object',
      properties: { x: { $ref: '#/$defs/a~1b' } },
      $defs: { 'a/b': { type: 'boolean' } },
    })
    expect(lines).toEqual([])
    expect(columns).toEqual([{ name: 'x', type: { kind: 'boolean' } satisfies ColumnType }])
  })
})

describe('what has no column type is refused at its key', () => {
  const Tree: z.ZodType = z.object({
    get kids() {
      return z.array(Tree)
    },
  })
  test.each<[string, z.ZodType, string]>([
    ['any', z.any(), 'params.x: has no type: a column needs one'],
    ['null', z.null(), 'params.x: is always null: it has no column type'],
    ['symbol', z.symbol(), 'params.x: has no type: a column needs one'],
    [
      'two kinds',
      z.union([z.string(), z.number()]),
      'params.x: is string or double: a column has one type',
    ],
    [
      'mixed literals',
      z.literal(['a', 1]),
      'params.x: its values "a", 1 are not of one plain type',
    ],
    ['tuple', z.tuple([z.string()]), 'params.x: is a tuple: a list has elements of one type'],
    [
      'empty object',
      z.object({}),
      'params.x: is an object without declared properties: it has no column type',
    ],
    ['array of any', z.array(z.any()), 'params.x.items: has no type: a column needs one'],
    [
      'deep inside',
      z.object({ a: z.object({ b: z.any() }) }),
      'params.x.a.b: has no type: a column needs one',
    ],
    ['recursive', Tree, 'params.x.kids.items: contains itself: a column has a fixed depth'],
    [
      'names that differ in case',
      z.object({ id: z.string(), ID: z.string() }),
      'params.x.ID: ID and id are one column: names are compared without regard to case',
    ],
  ])('%s', (_name, schema, expected) => {
    expect(typeOfZod(schema)).toBe(expected)
  })

  test('parameters that are no object are refused', () => {
    expect(fieldsOf(z.string()).lines).toEqual([
      'params: the parameters are string, but an event is an object',
    ])
    expect(fieldsOf({ type: 'array', items: {} }).lines).toHaveLength(1)
  })

  test('a value without a JSON Schema form is refused', () => {
    for (const value of [5, 'x', null, [], () => {}, { '~standard': { vendor: 'valibot' } }])
      expect(fieldsOf(value).lines).toHaveLength(1)
  })

  test('a reference that leads nowhere is refused', () => {
    expect(typeOf({ $ref: '#/$defs/none' })).toContain('#/$defs/none, which is not in this schema')
    expect(typeOf({ $ref: 'https://example.com/a.json' })).toContain('not in this schema')
  })
})

test('required names are those that must have a value: optional, default and nullable ones need none', () => {
  const { required } = fieldsOf(
    z.object({
      a: z.string(),
      b: z.string().optional(),
      c: z.string().default('x'),
      d: z.string().nullable(),
      e: z.object({ id: z.string() }).nullable(),
      f: z.coerce.number(),
    }),
  )
  expect(required).toEqual(['a', 'f'])
})

test('a description becomes the doc of its column', () => {
  const { columns } = fieldsOf(z.object({ damage: z.int32().describe('hit points') }))
  expect(columns).toEqual([{ name: 'damage', type: { kind: 'int' }, doc: 'hit points' }])
})

test('any Standard JSON Schema validator will do, also one that is a function', () => {
  const validator = Object.assign(() => {}, {
    '~standard': {
      version: 1,
      vendor: 'other',
      jsonSchema: {
        input: (options: { target: string }) => ({
          type: 'object',
          properties: { [options.target]: { type: 'string' } },
        }),
      },
    },
  })
  expect(fieldsOf(validator).columns.map(({ name }) => name)).toEqual(['draft-2020-12'])
})
