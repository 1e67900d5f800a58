import { QuestlogError, type ErrorCode } from '../core/errors.ts'
import type { Logger } from '../core/logger.ts'
import { kafkaErrorOf, kafkaErrors } from './error-codes.ts'

/** Why a topic, or another resource, was not changed; as admin APIs answer it. */
export interface Refusal {
  readonly errorCode: number
  readonly errorMessage: string
}

/** A refusal with a code of the protocol that the catalog of errors does not have. */
export class ProtocolRefusal extends QuestlogError {
  readonly errorCode: number

  constructor(errorCode: number, message: string) {
    super('REQUEST_MALFORMED', message, {}, { hint: '' })
    this.errorCode = errorCode
  }
}

/** What a client is told of an error: what is wrong and what to do. Errors that are not ours are logged, too. */
export function refusalOf(error: unknown, logger: Logger): Refusal {
  if (error instanceof ProtocolRefusal)
    return { errorCode: error.errorCode, errorMessage: error.message }
  if (error instanceof QuestlogError) {
    const errorMessage = error.hint === '' ? error.message : `${error.message}; ${error.hint}`
    return { errorCode: kafkaErrorOf(error), errorMessage }
  }
  const message = error instanceof Error ? error.message : String(error)
  logger.error('a request of a Kafka client failed', { error: message })
  return { errorCode: kafkaErrors.unknown, errorMessage: message }
}

/** The result of work, or of telling why it was refused. */
export async function answered<T, R>(
  work: () => Promise<T>,
  refused: (refusal: Refusal) => R,
  logger: Logger,
): Promise<T | R> {
  try {
    return await work()
  } catch (error) {
    return refused(refusalOf(error, logger))
  }
}

/** Whether an error has a code of the catalog. */
export function isCode(error: unknown, code: ErrorCode): error is QuestlogError {
  return error instanceof QuestlogError && error.code === code
}
