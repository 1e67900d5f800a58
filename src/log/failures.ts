import { QuestlogError, systemErrorCode } from '../core/errors.ts'

/** Where in the log something is wrong. */
export interface DamagePlace {
  readonly topic: string
  readonly partition: number
  readonly file: string
  /** Byte position in the file. */
  readonly position: number
  /** Offset that should stand there. */
  readonly offset: number
}

/** LOG_DAMAGED with the place in message and facts. */
export function damagedLog(place: DamagePlace, reason: string, cause?: unknown): QuestlogError {
  const { topic, partition, file, position, offset } = place
  return new QuestlogError(
    'LOG_DAMAGED',
    `${file} is damaged at byte ${position} (topic ${topic}, partition ${partition}, offset ${offset}): ${reason}; \`questlog up --repair\` sets the damaged bytes aside and keeps the rest`,
    { ...place },
    { cause },
  )
}

/** FORMAT_UNKNOWN for a file of a later format version. */
export function unknownFormat(file: string, version: number): QuestlogError {
  return new QuestlogError(
    'FORMAT_UNKNOWN',
    `${file} has format version ${version}, which this version of questlog does not read`,
    { file, version },
  )
}

/** Whether a write failed for lack of room: it may work again later. */
export function isDiskFull(error: unknown): boolean {
  const code = systemErrorCode(error)
  return code === 'ENOSPC' || code === 'EDQUOT'
}
