import { apis } from './apis.ts'
import type { BrokerCounters } from './broker-counters.ts'
import { kafkaErrors } from './error-codes.ts'
import type { AnyHandler, Handler } from './handler.ts'

/** What a client may call itself (KIP-511). */
const softwarePattern = /^[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?$/
/** The first version in which it does. */
const namedFrom = 3

/** What ApiVersions answers for these handlers, in the order of the keys. */
export function listApiKeys(
  handlers: readonly AnyHandler[],
): { apiKey: number; minVersion: number; maxVersion: number }[] {
  return handlers
    .map(({ api, minVersion, maxVersion, advertisedMinVersion = minVersion }) => ({
      apiKey: apis[api].key,
      minVersion: advertisedMinVersion,
      maxVersion,
    }))
    .toSorted((one, other) => one.apiKey - other.apiKey)
}

/**
 * ApiVersions 0 to 4 (KIP-35, KIP-511): what the other handlers registered, and this one. Later versions are answered by the dispatcher.
 * The client's name and version are counted; one that KIP-511 does not allow is answered INVALID_REQUEST.
 */
export function apiVersionsHandler(
  others: readonly AnyHandler[],
  counters: BrokerCounters,
): Handler<'apiVersions'> {
  const handler: Handler<'apiVersions'> = {
    api: 'apiVersions',
    minVersion: 0,
    maxVersion: 4,
    async handle({ clientSoftwareName, clientSoftwareVersion }, { apiVersion }) {
      if (apiVersion >= namedFrom) {
        const names = [clientSoftwareName, clientSoftwareVersion]
        if (!names.every((text) => softwarePattern.test(text)))
          return { errorCode: kafkaErrors.invalidRequest, apiKeys: [] }
        counters.client(clientSoftwareName, clientSoftwareVersion)
      }
      return { errorCode: kafkaErrors.none, apiKeys }
    },
  }
  const apiKeys = listApiKeys([...others, handler])
  return handler
}
