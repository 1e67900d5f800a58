import { describeValue, isObject, type KeyPath, type Problems } from './problems.ts'

/** What zod needs to be told: types without a JSON Schema form become `{}` (the mapping then names their key), dates and big integers have one here. */
const zodOptions = {
  unrepresentable: 'any',
  override: (context: { zodSchema: unknown; jsonSchema: Record<string, unknown> }) => {
    const type = zodTypeName(context.zodSchema)
    if (type === 'bigint') context.jsonSchema.type = 'integer'
    if (type === 'date') Object.assign(context.jsonSchema, { type: 'string', format: 'date-time' })
  },
} as const

/**
 * The JSON Schema (2020-12) of what an author wrote for `params`: of a validator by Standard JSON Schema
 * (`~standard.jsonSchema.input`, https://standardschema.dev) or by its `toJSONSchema()`, of plain data the data itself.
 */
export function jsonSchemaOf(
  params: unknown,
  path: KeyPath,
  problems: Problems,
): Record<string, unknown> | undefined {
  try {
    const schema = convert(params)
    if (isObject(schema)) return asPlainData(schema)
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    problems.add(
      path,
      `has no JSON Schema form: ${message}`,
      'declare the parameters with types that JSON has',
    )
    return undefined
  }
  problems.add(
    path,
    `is ${describeValue(params)} without a JSON Schema form`,
    'write z.object({ … }) of zod 4.2 or newer, another Standard JSON Schema validator, or a JSON Schema',
  )
  return undefined
}

function convert(params: unknown): unknown {
  if (!isObject(params) && typeof params !== 'function') return undefined
  const standard = property(params, '~standard')
  const input = property(property(standard, 'jsonSchema'), 'input')
  if (typeof input === 'function') {
    const isZod = property(standard, 'vendor') === 'zod'
    return call(input, property(standard, 'jsonSchema'), {
      target: 'draft-2020-12',
      ...(isZod ? { libraryOptions: zodOptions } : {}),
    })
  }
  const own = property(params, 'toJSONSchema')
  if (typeof own === 'function')
    return call(own, params, { target: 'draft-2020-12', io: 'input', ...zodOptions })
  // A validator of an older kind is an object too, but not a schema.
  return standard === undefined && isObject(params) ? params : undefined
}

function property(value: unknown, name: string): unknown {
  if ((typeof value !== 'object' && typeof value !== 'function') || value === null) return undefined
  return Reflect.get(value, name)
}

function call(method: unknown, self: unknown, options: unknown): unknown {
  return typeof method === 'function' ? Reflect.apply(method, self, [options]) : undefined
}

function zodTypeName(schema: unknown): unknown {
  return property(property(property(schema, '_zod'), 'def'), 'type')
}

/** The schema as JSON, without the marks of the validator that made it. */
function asPlainData(schema: Record<string, unknown>): Record<string, unknown> {
  const text = JSON.stringify(schema)
  const data: unknown = JSON.parse(text)
  if (!isObject(data)) throw new TypeError('the schema is not an object')
  delete data.$schema
  delete data['~standard']
  return data
}
