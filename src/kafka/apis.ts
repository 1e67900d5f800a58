import { QuestlogError } from '../core/errors.ts'
import { clusterApis } from './apis-cluster.ts'
import { groupApis } from './apis-groups.ts'
import { recordApis } from './apis-records.ts'
import { topicApis } from './apis-topics.ts'
import { transactionApis } from './apis-transactions.ts'
import { compile } from './codec.ts'
import type { Api } from './api.ts'
import type { Codec } from './codec.ts'
import type { DecodedOf, EncodedOf } from './schema.ts'
import { Reader, Writer } from './wire.ts'

/** Every request that is served, by its name in the protocol guide. */
export const apis = {
  ...recordApis,
  ...clusterApis,
  ...groupApis,
  ...topicApis,
  ...transactionApis,
} as const satisfies Record<string, Api>

type Apis = typeof apis
export type ApiName = keyof Apis

/** A request as a handler gets it: every field of every version, those that the version lacks with their defaults. */
export type RequestOf<N extends ApiName> = DecodedOf<Apis[N]['request']>
/** A response as a handler gives it: fields with a default, and fields that not every version has, may be missing. */
export type ResponseOf<N extends ApiName> = EncodedOf<Apis[N]['response']>
/** A request as a client gives it. */
export type ClientRequestOf<N extends ApiName> = EncodedOf<Apis[N]['request']>
/** A response as a client gets it. */
export type ClientResponseOf<N extends ApiName> = DecodedOf<Apis[N]['response']>

export const apiNames = Object.keys(apis).filter((name): name is ApiName => name in apis)

const namesByKey = new Map(apiNames.map((name) => [apis[name].key, name]))

/** The name of an API key, undefined when it is not served. */
export function apiNameOf(key: number): ApiName | undefined {
  return namesByKey.get(key)
}

/** Whether the messages of a version have compact lengths and tagged fields (KIP-482). */
export function isFlexible(name: ApiName, version: number): boolean {
  return version >= apis[name].flexibleFrom
}

type Side = 'request' | 'response'
/** By type, then by version; compiled when a version is first used. */
const codecs = new Map<unknown, Codec[]>()

function codecOf(name: ApiName, side: Side, version: number): Codec {
  const type = apis[name][side]
  return codecs.get(type)?.[version] ?? compileCodec(name, side, version)
}

function compileCodec(name: ApiName, side: Side, version: number): Codec {
  const { [side]: type, minVersion, maxVersion } = apis[name]
  if (!(version >= minVersion && version <= maxVersion)) {
    throw new QuestlogError(
      'INTERNAL',
      `${name} has versions ${minVersion} to ${maxVersion}, not ${version}`,
    )
  }
  const codec = compile(type, version, isFlexible(name, version))
  const versions = codecs.get(type) ?? []
  versions[version] = codec
  codecs.set(type, versions)
  return codec
}

/**
 * Reads the body of a request. Bytes after it are ignored: librdkafka 2.15 sends stray zeroes after Metadata.
 *
 * @throws QuestlogError REQUEST_MALFORMED
 */
export function decodeRequest<N extends ApiName>(
  name: N,
  version: number,
  reader: Reader,
): RequestOf<N> {
  // The codec is compiled from the schema that the type is inferred from.
  return codecOf(name, 'request', version).read(reader) as RequestOf<N>
}

/** Writes the body of a response. */
export function encodeResponse<N extends ApiName>(
  name: N,
  version: number,
  response: ResponseOf<N>,
  writer = new Writer(),
): Writer {
  codecOf(name, 'response', version).write(writer, response)
  return writer
}

/** Writes the body of a request. */
export function encodeRequest<N extends ApiName>(
  name: N,
  version: number,
  request: ClientRequestOf<N>,
  writer = new Writer(),
): Writer {
  codecOf(name, 'request', version).write(writer, request)
  return writer
}

/**
 * Reads the body of a response.
 *
 * @throws QuestlogError REQUEST_MALFORMED
 */
export function decodeResponse<N extends ApiName>(
  name: N,
  version: number,
  reader: Reader,
): ClientResponseOf<N> {
  return codecOf(name, 'response', version).read(reader) as ClientResponseOf<N>
}
