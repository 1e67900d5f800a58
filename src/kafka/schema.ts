import { zeroUuid } from './wire.ts'

/**
 * Messages of the Kafka protocol as values: what a message holds in which version is written once, in `apis-*.ts`; the
 * TypeScript types are inferred from it, and `codec.ts` compiles a reader and a writer for each version.
 */

export type ScalarKind =
  | 'int8'
  | 'int16'
  | 'int32'
  | 'int64'
  | 'bool'
  | 'string'
  | 'uuid'
  | 'bytes'
  | 'records'

export type Shape =
  | { readonly kind: ScalarKind }
  | { readonly kind: 'array'; readonly element: AnyType }
  | { readonly kind: 'struct'; readonly fields: Fields }

/** A type of the protocol. `Decoded` is what reading gives; `Encoded` is what writing takes (fields with a default may be missing). */
export interface Type<Decoded, Encoded = Decoded> {
  readonly shape: Shape
  /** First version in which null is allowed; Infinity if in none. */
  readonly nullableFrom: number
  readonly default: unknown
  /** Only for inference, never set. */
  readonly decoded?: Decoded
  readonly encoded?: Encoded
}

/** A field that is not in every version, or that has a default of its own: it may be left out when a message is written. */
export interface Field<Decoded, Encoded = Decoded> {
  readonly type: Type<Decoded, Encoded>
  /** First and last version that has the field. */
  readonly since: number
  readonly until: number
  /** Number of a tagged field (KIP-482). */
  readonly tag: number | undefined
  /** Value in versions without the field, and when it is left out. */
  readonly default: unknown
}

export type AnyType = Type<unknown>
export type AnyField = Field<unknown>
export type Fields = Readonly<Record<string, AnyType | AnyField>>

type Simplify<T> = { [K in keyof T]: T[K] } & {}

export type DecodedOf<T> =
  T extends Field<infer Decoded, unknown>
    ? Decoded
    : T extends Type<infer Decoded, unknown>
      ? Decoded
      : never
export type EncodedOf<T> =
  T extends Field<unknown, infer Encoded>
    ? Encoded
    : T extends Type<unknown, infer Encoded>
      ? Encoded
      : never

type OptionalKeys<F extends Fields> = {
  [K in keyof F]: F[K] extends AnyField ? K : never
}[keyof F]

type DecodedStruct<F extends Fields> = Simplify<{ readonly [K in keyof F]: DecodedOf<F[K]> }>
type EncodedStruct<F extends Fields> = Simplify<
  { readonly [K in Exclude<keyof F, OptionalKeys<F>>]: EncodedOf<F[K]> } & {
    readonly [K in OptionalKeys<F>]?: EncodedOf<F[K]> | undefined
  }
>

export type StructType<F extends Fields> = Type<DecodedStruct<F>, EncodedStruct<F>>

const scalar = <T>(kind: ScalarKind, standard: T): Type<T> => ({
  shape: { kind },
  nullableFrom: Number.POSITIVE_INFINITY,
  default: standard,
})

export const int8 = scalar<number>('int8', 0)
export const int16 = scalar<number>('int16', 0)
export const int32 = scalar<number>('int32', 0)
/** A number, exact up to 2^53. */
export const int64 = scalar<number>('int64', 0)
export const bool = scalar<boolean>('bool', false)
export const string = scalar<string>('string', '')
/** 36 lower-case characters. */
export const uuid = scalar<string>('uuid', zeroUuid)
/** Read as a copy: it may outlive the frame. */
export const bytes = scalar<Buffer>('bytes', Buffer.alloc(0))
/** Record batches. Read as a view of the frame, written without a copy. */
export const records = scalar<Buffer | null>('records', null)

export function array<D, E>(element: Type<D, E>): Type<readonly D[], readonly E[]> {
  return {
    shape: { kind: 'array', element },
    nullableFrom: Number.POSITIVE_INFINITY,
    default: [],
  }
}

export function struct<const F extends Fields>(fields: F): StructType<F> {
  return {
    shape: { kind: 'struct', fields },
    nullableFrom: Number.POSITIVE_INFINITY,
    default: undefined,
  }
}

/** An array of structs, the protocol's most frequent type. */
export function list<const F extends Fields>(
  fields: F,
): Type<readonly DecodedStruct<F>[], readonly EncodedStruct<F>[]> {
  return array(struct(fields))
}

/** The type with null from a version on. Its default is null. */
export function nullable<D, E>(type: Type<D, E>, from = 0): Type<D | null, E | null> {
  return { shape: type.shape, nullableFrom: from, default: null }
}

/** A field of every version with a default of its own. */
export function optional<D, E>(type: Type<D, E>, standard: D): Field<D, E> {
  return { type, since: 0, until: Number.POSITIVE_INFINITY, tag: undefined, default: standard }
}

/** A field from a version on. */
export function since<D, E>(version: number, type: Type<D, E>, standard?: D): Field<D, E> {
  return between(version, Number.POSITIVE_INFINITY, type, standard)
}

/** A field from a first to a last version. */
export function between<D, E>(
  first: number,
  last: number,
  type: Type<D, E>,
  standard?: D,
): Field<D, E> {
  const value = standard === undefined ? type.default : standard
  return { type, since: first, until: last, tag: undefined, default: value }
}

/** A tagged field (KIP-482), from a flexible version on. It is only written when it differs from its default. */
export function tagged<D, E>(
  tag: number,
  version: number,
  type: Type<D, E>,
  standard?: D,
): Field<D, E> {
  return { ...since(version, type, standard), tag }
}

export function isField(item: AnyType | AnyField): item is AnyField {
  return 'type' in item
}

/** Each field of a struct as a full `Field`, in the order of the wire. */
export function fieldsOf(fields: Fields): (AnyField & { readonly name: string })[] {
  return Object.entries(fields).map(([name, item]) => ({
    name,
    ...(isField(item) ? item : optional(item, item.default)),
  }))
}
