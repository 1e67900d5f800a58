import type { ErrorCode } from '../core/errors.ts'
import { writeInt64 } from './int64.ts'
import {
  batchBytesAt,
  batchIn,
  batchLengthEnd,
  batchOverheadBytes,
  compressionMask,
  controlBit,
  isIntact,
  logAppendTimeBit,
  recordsPerByteMax,
  sealBatch,
  sequenceOf,
  transactionalBit,
  type RecordBatch,
} from './record-batch.ts'

/** What a client may send. */
export interface ClientBatchRules {
  /** `max.message.bytes` of the topic. */
  readonly messageBytesMax: number
  /** The time now, milliseconds. */
  readonly nowMs: number
  /** The record time that the log gives, on a topic with LogAppendTime; null where the client's times stay. */
  readonly logAppendTimeMs: number | null
}

/** Makes the error that refuses a request. */
export type Refusal = (code: ErrorCode, message: string) => Error

const magicOffset = 16
const formatMin = 2
/** `log.message.timestamp.after.max.ms` of Kafka. */
const aheadMaxMs = 3_600_000
const codecMax = 4
const knownAttributes = compressionMask | logAppendTimeBit | transactionalBit | controlBit

/**
 * The record batches in the records of a produce request, each checked as far as its fixed part and its CRC tell; the records themselves are not looked at. On a topic with
 * LogAppendTime it writes the time into them, as Kafka does. RECORD_BATCH_MALFORMED, RECORD_BATCH_CORRUPT, MESSAGE_FORMAT_OLD, EVENT_TOO_LARGE, TIMESTAMP_INVALID.
 */
export function readClientBatches(
  records: Buffer,
  rules: ClientBatchRules,
  refusal: Refusal,
): RecordBatch[] {
  const batches: RecordBatch[] = []
  for (let at = 0; at < records.length || batches.length === 0;) {
    const bytes = cutBatch(records, at, rules, refusal)
    checkHeader(bytes, rules, refusal)
    if (rules.logAppendTimeMs !== null) stamp(bytes, rules.logAppendTimeMs)
    batches.push(batchIn(bytes))
    at += bytes.length
  }
  // Kafka takes one batch in any request; without a producer there is no harm in more.
  if (batches.length > 1 && batches.some(({ producerId }) => producerId >= 0))
    throw malformed(refusal, 'a request with a producer id must hold one batch for a partition')
  return batches
}

function malformed(refusal: Refusal, reason: string): Error {
  return refusal('RECORD_BATCH_MALFORMED', `the record batch is malformed: ${reason}`)
}

function cutBatch(
  records: Buffer,
  at: number,
  { messageBytesMax }: ClientBatchRules,
  refusal: Refusal,
): Buffer {
  const left = records.length - at
  const format = left > magicOffset ? records.readInt8(at + magicOffset) : formatMin
  if (format >= 0 && format < formatMin)
    throw refusal('MESSAGE_FORMAT_OLD', `message format ${format} is not kept`)
  if (left < batchOverheadBytes)
    throw malformed(refusal, `${left} bytes are less than a batch has at least`)
  if (format !== formatMin) throw malformed(refusal, `there is no message format ${format}`)
  const size = batchBytesAt(records, at)
  if (size === undefined || size > left)
    throw malformed(
      refusal,
      `its length is ${records.readInt32BE(at + 8)}, but ${left - batchLengthEnd} bytes follow`,
    )
  if (size > messageBytesMax)
    throw refusal(
      'EVENT_TOO_LARGE',
      `a record batch has ${size} bytes, but max.message.bytes is ${messageBytesMax}`,
    )
  return records.subarray(at, at + size)
}

function checkHeader(bytes: Buffer, rules: ClientBatchRules, refusal: Refusal): void {
  if (!isIntact(bytes))
    throw refusal('RECORD_BATCH_CORRUPT', 'the CRC of the record batch does not fit its bytes')
  const batch = batchIn(bytes)
  const { recordCount, attributes } = batch
  if (recordCount < 1 || bytes.readInt32BE(23) !== recordCount - 1)
    throw malformed(refusal, `it says ${recordCount} records, but has other offsets`)
  if (recordCount > bytes.length * recordsPerByteMax)
    throw malformed(refusal, `${bytes.length} bytes can't hold ${recordCount} records`)
  if ((attributes & ~knownAttributes) !== 0 || (attributes & compressionMask) > codecMax)
    throw malformed(refusal, `it has unknown attributes (${attributes})`)
  if ((attributes & controlBit) !== 0)
    throw malformed(refusal, 'only the log itself writes control batches')
  checkProducer(batch, refusal)
  checkTimes(batch, rules, refusal)
}

function checkProducer(batch: RecordBatch, refusal: Refusal): void {
  const { producerId, attributes } = batch
  if (producerId === -1) {
    if ((attributes & transactionalBit) !== 0)
      throw malformed(refusal, 'it is transactional, but has no producer id')
    return
  }
  const { epoch, firstSequence } = sequenceOf(batch)
  if (producerId < 0 || !Number.isSafeInteger(producerId) || epoch < 0 || firstSequence < 0)
    throw malformed(
      refusal,
      `there is no producer ${producerId} with epoch ${epoch} and sequence ${firstSequence}`,
    )
}

function checkTimes(batch: RecordBatch, rules: ClientBatchRules, refusal: Refusal): void {
  const { attributes, baseTimestampMs, maxTimestampMs } = batch
  if ((attributes & logAppendTimeBit) !== 0)
    throw refusal('TIMESTAMP_INVALID', 'a producer must not set the timestamp type LogAppendTime')
  if (rules.logAppendTimeMs !== null) return
  const isPossible = (timeMs: number) => Number.isSafeInteger(timeMs) && timeMs >= -1
  if (!isPossible(baseTimestampMs) || !isPossible(maxTimestampMs))
    throw refusal('TIMESTAMP_INVALID', `there is no time ${maxTimestampMs}`)
  const aheadMs = maxTimestampMs - rules.nowMs
  if (aheadMs > aheadMaxMs)
    throw refusal(
      'TIMESTAMP_INVALID',
      `the time of a record is ${Math.round(aheadMs / 1000)} s ahead; at most an hour is kept`,
    )
}

function stamp(bytes: Buffer, timestampMs: number): void {
  bytes.writeInt16BE(bytes.readInt16BE(21) | logAppendTimeBit, 21)
  writeInt64(bytes, 35, timestampMs)
  sealBatch(bytes)
}
