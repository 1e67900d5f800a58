import { QuestlogError, systemErrorCode } from '../core/errors.ts'

/** The client of real clusters; not installed with questlog. */
export type KafkaModule = typeof import('@platformatic/kafka')

/**
 * Loads @platformatic/kafka. PACKAGE_MISSING when it is not installed.
 *
 * It is made for Node 22: on Node 20 `Promise.withResolvers`, which each of its calls uses, is added first.
 */
export async function loadKafkaModule(
  load: () => Promise<KafkaModule> = () => import('@platformatic/kafka'),
): Promise<KafkaModule> {
  if (!('withResolvers' in Promise))
    Object.defineProperty(Promise, 'withResolvers', { value: withResolvers, configurable: true })
  try {
    return await load()
  } catch (error) {
    if (systemErrorCode(error) !== 'ERR_MODULE_NOT_FOUND') throw error
    throw new QuestlogError(
      'PACKAGE_MISSING',
      'a Kafka cluster needs the package @platformatic/kafka, which is not installed',
      {},
      { cause: error, hint: 'npm install @platformatic/kafka' },
    )
  }
}

function withResolvers<T>() {
  let settle: { resolve: (value: T | PromiseLike<T>) => void; reject: (reason?: unknown) => void }
  const promise = new Promise<T>((resolve, reject) => {
    settle = { resolve, reject }
  })
  return {
    promise,
    resolve: (value: T | PromiseLike<T>) => settle.resolve(value),
    reject: (reason?: unknown) => settle.reject(reason),
  }
}
