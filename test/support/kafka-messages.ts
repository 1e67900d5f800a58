import type { AnyType, Fields } from '../../src/kafka/schema.ts'
import { fieldsOf, isField } from '../../src/kafka/schema.ts'
import { defaultOf } from '../../src/kafka/codec.ts'
import { readZipTexts } from './zip.ts'

/** A message description inside of the kafka-clients jar (common/message/*.json). */
export interface Description {
  readonly apiKey?: number
  readonly name: string
  readonly type: string
  readonly validVersions: string
  readonly flexibleVersions?: string
  readonly fields: readonly DescribedField[]
  readonly commonStructs?: readonly { name: string; fields: readonly DescribedField[] }[]
}

interface DescribedField {
  readonly name: string
  readonly type: string
  readonly versions: string
  readonly nullableVersions?: string
  readonly taggedVersions?: string
  readonly tag?: number
  readonly default?: string | number | boolean
  readonly fields?: readonly DescribedField[]
}

/** By name (`ProduceRequest`). */
export function readDescriptions(jar: Buffer): Map<string, Description> {
  const found = new Map<string, Description>()
  for (const text of readZipTexts(jar, /^common\/message\/\w+\.json$/).values()) {
    const json = text.replaceAll(/^\s*\/\/.*$/gm, '')
    const description = JSON.parse(json) as Description
    found.set(description.name, description)
  }
  return found
}

/** First and last version of `3+`, `0-8`, `2` or `none`. */
export function versionsOf(text: string | undefined): { first: number; last: number } {
  if (text === undefined || text === 'none') return { first: Number.POSITIVE_INFINITY, last: -1 }
  const match = /^(\d+)(?:(\+)|-(\d+))?$/.exec(text)
  if (match === null) throw new Error(`versions "${text}"`)
  const first = Number(match[1])
  const last = match[2] === '+' ? Number.POSITIVE_INFINITY : Number(match[3] ?? first)
  return { first, last }
}

const isIn = (version: number, text: string | undefined): boolean => {
  const { first, last } = versionsOf(text)
  return version >= first && version <= last
}

/** One line for each field of a message in a version, in the order of the wire: what two descriptions are compared by. */
export function describedLines(description: Description, version: number): string[] {
  const common = new Map(description.commonStructs?.map(({ name, fields }) => [name, fields]))
  const walk = (fields: readonly DescribedField[], path: string): string[] =>
    fields
      .filter(({ versions }) => isIn(version, versions))
      .flatMap((field) => {
        const element = field.type.replace(/^\[\]/, '')
        const inner = field.fields ?? common.get(element)
        const isArray = field.type.startsWith('[]')
        const kind = inner === undefined ? element : 'struct'
        const line = lineOf({
          path: `${path}${camelCase(field.name)}`,
          kind: isArray ? `[]${kind}` : kind,
          isNullable: isIn(version, field.nullableVersions),
          tag: isIn(version, field.taggedVersions) ? field.tag : undefined,
        })
        return [line, ...walk(inner ?? [], `${path}${camelCase(field.name)}.`)]
      })
  return walk(description.fields, '')
}

/** The same for a message of ours. */
export function ownLines(type: AnyType, version: number): string[] {
  const walk = (fields: Fields, path: string): string[] =>
    fieldsOf(fields)
      .filter(({ since, until }) => version >= since && version <= until)
      .flatMap(({ name, type: fieldType, tag }) => {
        const isArray = fieldType.shape.kind === 'array'
        const inner = elementOf(fieldType)
        const kind = inner.shape.kind
        const line = lineOf({
          path: `${path}${name}`,
          kind: isArray ? `[]${kind}` : kind,
          isNullable: version >= fieldType.nullableFrom || kind === 'records',
          tag,
        })
        return [
          line,
          ...(inner.shape.kind === 'struct' ? walk(inner.shape.fields, `${path}${name}.`) : []),
        ]
      })
  return type.shape.kind === 'struct' ? walk(type.shape.fields, '') : []
}

/** Default values by path, of fields that may be left out. */
export function ownDefaults(type: AnyType): Map<string, unknown> {
  const defaults = new Map<string, unknown>()
  const walk = (fields: Fields, path: string): void => {
    for (const [name, item] of Object.entries(fields)) {
      const fieldType = isField(item) ? item.type : item
      const inner = elementOf(fieldType).shape
      if (isField(item) && fieldType.shape.kind !== 'struct')
        defaults.set(path + name, defaultOf(item))
      if (inner.kind === 'struct') walk(inner.fields, `${path}${name}.`)
    }
  }
  if (type.shape.kind === 'struct') walk(type.shape.fields, '')
  return defaults
}

export function describedDefaults(description: Description): Map<string, unknown> {
  const common = new Map(description.commonStructs?.map(({ name, fields }) => [name, fields]))
  const defaults = new Map<string, unknown>()
  const walk = (fields: readonly DescribedField[], path: string): void => {
    for (const field of fields) {
      const name = camelCase(field.name)
      defaults.set(path + name, valueOf(field.type, field.default))
      walk(field.fields ?? common.get(field.type.replace(/^\[\]/, '')) ?? [], `${path}${name}.`)
    }
  }
  walk(description.fields, '')
  return defaults
}

function elementOf(type: AnyType): AnyType {
  return type.shape.kind === 'array' ? type.shape.element : type
}

function lineOf(parts: {
  path: string
  kind: string
  isNullable: boolean
  tag: number | undefined
}): string {
  const { path, kind, isNullable, tag } = parts
  return `${path}: ${kind}${isNullable ? ' or null' : ''}${tag === undefined ? '' : `, tag ${tag}`}`
}

function camelCase(name: string): string {
  return name.charAt(0).toLowerCase() + name.slice(1)
}

function valueOf(type: string, text: string | number | boolean | undefined): unknown {
  if (text === 'null') return null
  if (type.startsWith('[]')) return []
  if (type === 'string') return text ?? ''
  if (type === 'bool') return String(text) === 'true'
  if (type === 'uuid') return '00000000-0000-0000-0000-000000000000'
  if (type === 'bytes' || type === 'records') return null
  return Number(text ?? 0)
}
