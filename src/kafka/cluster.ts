import { kafkaErrors } from './error-codes.ts'
import type { Handler } from './handler.ts'
import { addressFor, type Address } from './metadata.ts'

interface ClusterParts {
  readonly clusterId: string
  readonly brokerId: number
  readonly advertised: Address | null
}

/** Kinds of endpoints (KIP-919). */
const brokerEndpoints = 1
/** What may be done with the cluster, as bits (KIP-430): create 5, describe 8, describe configs 10, write idempotently 12. Everybody may. */
const clusterOperations = (1 << 5) | (1 << 8) | (1 << 10) | (1 << 12)

/** DescribeCluster v0-1 (KIP-700; KIP-919: v1 asks for brokers or controllers, and there are only brokers here). */
export function describeClusterHandler(parts: ClusterParts): Handler<'describeCluster'> {
  const { clusterId, brokerId, advertised } = parts
  return {
    api: 'describeCluster',
    minVersion: 0,
    maxVersion: 1,
    async handle({ includeClusterAuthorizedOperations, endpointType }, { connection }) {
      if (endpointType !== brokerEndpoints)
        return {
          errorCode: kafkaErrors.mismatchedEndpointType,
          errorMessage: 'this is a broker: ask for endpoints of brokers',
          endpointType: brokerEndpoints,
          clusterId,
          brokers: [],
        }
      return {
        errorCode: kafkaErrors.none,
        endpointType,
        clusterId,
        controllerId: brokerId,
        brokers: [{ brokerId, ...addressFor(connection, advertised) }],
        ...(includeClusterAuthorizedOperations
          ? { clusterAuthorizedOperations: clusterOperations }
          : {}),
      }
    },
  }
}
