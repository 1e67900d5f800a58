import { QuestlogError } from '../core/errors.ts'
import { soloBatchBytes } from '../log/record-batch.ts'
import type { NewRecord, RecordHeader } from '../log/record.ts'
import { findMisfit, parseExact } from '../plan/validation.ts'
import { joinMembers, type CleanEvent } from './clean-event.ts'
import type { EventPlan } from './event-plan.ts'
import type { HeaderFragment } from './header-fragment.ts'
import { scanMembers } from './json-scan.ts'
import type { ObjectShape } from './object-shape.ts'

/** An event that is ready for the log. */
export interface PreparedEvent {
  readonly topic: string
  readonly key: Uint8Array | null
  /** Always one record: the array that a single append takes. */
  readonly records: readonly [NewRecord]
  /** What a record batch with this record alone takes. */
  readonly bytes: number
}

/** The parameter that carries a write key: a secret, never part of an event. */
export const writeKeyParameter = 'write_key'

const eventIdName = Buffer.from('event_id')
const eventIdLengthMax = 200
const noHeaders: readonly RecordHeader[] = []

/** The event of a GET or of a form: fields of the server, then headers, then parameters, which are all text. `fields` is name, value, name, value, … */
export function prepareFields(
  plan: EventPlan,
  fragment: HeaderFragment,
  fields: readonly string[],
): PreparedEvent {
  let text = plan.head + fragment.text
  const taken = new Map<string, string>()
  for (let index = 0; index + 1 < fields.length; index += 2) {
    const name = fields[index] ?? ''
    if (taken.has(name) || !isFree(name, plan, fragment)) continue
    const value = fields[index + 1] ?? ''
    taken.set(name, value)
    text += `,${JSON.stringify(name)}:${JSON.stringify(value)}`
  }
  text += '}'
  const { key } = plan.definition
  const keyText = key === null ? null : (serverText(plan, fragment, key) ?? taken.get(key) ?? null)
  return finish(plan, text, null, taken.get('event_id'), keyText, undefined)
}

/**
 * The event of a JSON object: fields of the server, then headers (if a fragment is given), then the object's members as they were written,
 * then `extra` parameters of the query. The client's own bytes are kept when nothing has to be added.
 */
export function prepareJson(
  plan: EventPlan,
  clean: CleanEvent,
  fragment: HeaderFragment | null,
  extra: readonly string[],
): PreparedEvent {
  const placed = place(plan, clean, fragment, extra)
  const { text, fields } = placed
  const { key } = plan.definition
  const eventId = plan.serverNames.has('event_id') ? undefined : ownText(fields, 'event_id')
  const keyText =
    key === null ? null : (serverText(plan, fragment, key) ?? memberText(fields, text, key))
  const isWhole = placed === clean || fields !== clean.fields
  return finish(plan, text, placed.bytes, eventId, keyText, isWhole ? fields : undefined)
}

/** What `prepareJson` makes of an object to which nothing is added, from its bytes alone; undefined when it has to be parsed for that. */
export function prepareWhole(
  plan: EventPlan,
  bytes: Buffer,
  shape: ObjectShape,
  /** The place of its event_type, which is the plan's, among the members. */
  typeMember: number,
): PreparedEvent | undefined {
  if (plan.fixedText !== '' || plan.definition.key !== null || plan.checked) return undefined
  if (shape.find(bytes, eventIdName) >= 0) return undefined
  for (let member = 0; member < shape.members; member += 1) {
    const [start, end] = [shape.nameStarts[member] ?? 0, shape.nameEnds[member] ?? 0]
    if (member === typeMember || !plan.serverNames.mayHave(end - start)) continue
    if (plan.serverNames.has(bytes.toString('utf8', start, end))) return undefined
  }
  return finish(plan, '', bytes, undefined, null, undefined)
}

/** @throws EVENT_TOO_LARGE when a record batch with the event alone is larger than its topic allows. */
export function checkSize(event: PreparedEvent, bytesMax: number): void {
  if (event.bytes <= bytesMax) return
  throw new QuestlogError(
    'EVENT_TOO_LARGE',
    `the event takes ${event.bytes} bytes, topic ${event.topic} allows ${bytesMax}`,
    { topic: event.topic, bytes: event.bytes, bytesMax },
  )
}

function place(
  plan: EventPlan,
  clean: CleanEvent,
  fragment: HeaderFragment | null,
  extra: readonly string[],
): CleanEvent {
  const headers = fragment === null ? '' : fragment.text
  const extraText = extra.length === 0 ? '' : joinExtra(plan, clean, fragment, extra)
  if (hasClash(plan, clean.fields, fragment)) {
    const rest = joinMembers(clean.text, (name) => !isFreeMember(name, plan, fragment))
    const text = `${plan.head}${headers}${rest === '' ? '' : `,${rest}`}${extraText}}`
    return { text, bytes: null, fields: JSON.parse(text) as Record<string, unknown> } // an object, put together here
  }
  // Without a clash an event_type of the client's is the right one, and stays where it is.
  const typed = Object.hasOwn(clean.fields, 'event_type')
  if (typed && plan.fixedText === '' && headers === '' && extraText === '') return clean
  const first = typed ? joinFirst(plan.fixedText, headers) : plan.head + headers
  const comma = first === '{' || clean.text === '{}' ? '' : ','
  const text = `${first}${comma}${clean.text.slice(1, -1)}${extraText}}`
  return { text, bytes: null, fields: clean.fields }
}

/** `{` and what comes before a client's own members, which hold the event_type. */
function joinFirst(fixedText: string, headers: string): string {
  return fixedText === '' ? `{${headers.slice(1)}` : `{${fixedText}${headers}`
}

function joinExtra(
  plan: EventPlan,
  clean: CleanEvent,
  fragment: HeaderFragment | null,
  extra: readonly string[],
): string {
  const seen = new Set<string>()
  let text = ''
  for (let index = 0; index + 1 < extra.length; index += 2) {
    const name = extra[index] ?? ''
    if (seen.has(name) || Object.hasOwn(clean.fields, name) || !isFree(name, plan, fragment))
      continue
    seen.add(name)
    text += `,${JSON.stringify(name)}:${JSON.stringify(extra[index + 1] ?? '')}`
  }
  return text
}

function hasClash(
  plan: EventPlan,
  fields: Readonly<Record<string, unknown>>,
  fragment: HeaderFragment | null,
): boolean {
  const names = fragment === null ? undefined : fragment.names
  for (const name in fields) {
    if (name === 'event_type') {
      if (fields['event_type'] !== plan.definition.type) return true
    } else if (plan.serverNames.has(name) || names?.has(name)) return true
  }
  return false
}

function isFree(name: string, plan: EventPlan, fragment: HeaderFragment | null): boolean {
  return name !== writeKeyParameter && isFreeMember(name, plan, fragment)
}

function isFreeMember(name: string, plan: EventPlan, fragment: HeaderFragment | null): boolean {
  return !plan.serverNames.has(name) && !(fragment?.names.has(name) ?? false)
}

function serverText(
  plan: EventPlan,
  fragment: HeaderFragment | null,
  name: string,
): string | undefined {
  if (Object.hasOwn(plan.serverFields, name)) return String(plan.serverFields[name])
  return fragment?.values.get(name)
}

function ownText(fields: Readonly<Record<string, unknown>>, name: string): string | undefined {
  const value = Object.hasOwn(fields, name) ? fields[name] : undefined
  return typeof value === 'string' ? value : undefined
}

/** The key of an event: text as it is, a number as it was written. Lists, objects and null are no key. */
function memberText(
  fields: Readonly<Record<string, unknown>>,
  text: string,
  name: string,
): string | null {
  const value = Object.hasOwn(fields, name) ? fields[name] : undefined
  if (typeof value === 'string') return value
  if (typeof value === 'boolean') return String(value)
  if (typeof value !== 'number') return null
  return scanMembers(text).find((member) => member.name === name)?.value ?? null
}

function finish(
  plan: EventPlan,
  text: string,
  ownBytes: Uint8Array | null,
  eventId: string | undefined,
  keyText: string | null,
  /** The whole event as parsed, if it is at hand. */
  fields: Readonly<Record<string, unknown>> | undefined,
): PreparedEvent {
  if (plan.checked) checkDeclared(plan, text, fields)
  const value = ownBytes ?? Buffer.from(text)
  const key = keyText === null ? null : Buffer.from(keyText)
  const hasId = eventId !== undefined && eventId !== '' && eventId.length <= eventIdLengthMax
  const headers = hasId ? [{ key: 'event_id', value: Buffer.from(eventId) }] : noHeaders
  const record = { key, value, headers }
  return { topic: plan.definition.topic, key, records: [record], bytes: soloBatchBytes(record) }
}

/** Runs of digits beyond what a double keeps. */
const manyDigits = /\d{16}/

function checkDeclared(
  plan: EventPlan,
  text: string,
  fields: Readonly<Record<string, unknown>> | undefined,
): void {
  const exact = manyDigits.test(text)
  const read = exact ? parseExact(text) : (fields ?? JSON.parse(text))
  const misfit = findMisfit(plan.definition, read as Record<string, unknown>) // an event is an object
  if (misfit === undefined) return
  throw new QuestlogError(
    'EVENT_INVALID',
    `${misfit.path} of ${plan.definition.type} must be ${misfit.expected}, got ${misfit.got}`,
    { event: plan.definition.type, path: misfit.path },
  )
}
