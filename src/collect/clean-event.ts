import { QuestlogError } from '../core/errors.ts'
import { compactBytes, scanMembers, type JsonScanner } from './json-scan.ts'

/** One JSON object as a client sent it: compact, every name at the top level once and without escapes. */
export interface CleanEvent {
  readonly text: string
  /** The text as bytes, if they are at hand: the client's own when they are already so. */
  readonly bytes: Uint8Array | null
  readonly fields: Readonly<Record<string, unknown>>
}

/**
 * Parses the JSON text of one event, once. `facts` comes from a scan of the same bytes and says whether they can be kept as they are;
 * otherwise white space is taken out, or the object is put together again from the texts of its members: numbers keep every digit. Of a repeated name the first counts.
 * @throws SyntaxError when the text is not JSON; EVENT_INVALID, EVENT_MALFORMED
 */
export function cleanEvent(
  text: string,
  bytes: Uint8Array,
  facts: JsonScanner,
  valuesMax: number,
): CleanEvent {
  if (facts.tooDeep)
    throw new QuestlogError(
      'EVENT_INVALID',
      'the event is nested too deep',
      {},
      { hint: 'nest less deep, or raise jsonDepthMax' },
    )
  if (facts.values > valuesMax) throw tooManyValues(valuesMax)
  const parsed: unknown = JSON.parse(text)
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed))
    throw new QuestlogError('EVENT_MALFORMED', `an event is a JSON object, not ${kindOf(parsed)}`)
  const fields = parsed as Record<string, unknown> // checked above
  if (!facts.plainNames || facts.members !== Object.keys(fields).length) return rebuild(text)
  if (facts.compact) return { text, bytes, fields }
  const compact = compactBytes(bytes)
  return { text: compact.toString('utf8'), bytes: compact, fields }
}

/** EVENT_INVALID for an event that would hold up all others while it is parsed. */
export function tooManyValues(valuesMax: number): QuestlogError {
  return new QuestlogError(
    'EVENT_INVALID',
    `the event has more than jsonValuesMax, ${valuesMax}, values`,
    { jsonValuesMax: valuesMax },
    { hint: 'split the event, or raise jsonValuesMax' },
  )
}

/** An object from its members, the first of each name, without those that `drop` takes out. */
export function joinMembers(text: string, drop: (name: string) => boolean): string {
  const seen = new Set<string>()
  const parts: string[] = []
  for (const { name, value } of scanMembers(text)) {
    if (seen.has(name) || drop(name)) continue
    seen.add(name)
    parts.push(`${JSON.stringify(name)}:${value}`)
  }
  return parts.join(',')
}

function rebuild(text: string): CleanEvent {
  const clean = `{${joinMembers(text, () => false)}}`
  return { text: clean, bytes: null, fields: JSON.parse(clean) as Record<string, unknown> } // an object, put together here
}

function kindOf(value: unknown): string {
  if (value === null) return 'null'
  return Array.isArray(value) ? 'an array' : `a ${typeof value}`
}
