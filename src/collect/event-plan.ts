import type { EventDefinition } from '../plan/definition.ts'
import { NameSet } from './name-set.ts'

/** An event definition with everything that its requests need again and again. */
export interface EventPlan {
  readonly definition: EventDefinition
  /** `event_type` and the fixed fields: they win over what a client sends. */
  readonly serverFields: Readonly<Record<string, string | number | boolean>>
  readonly serverNames: NameSet
  /** The start of an event, open for more: `{"event_type":"purchase_knife","description":"very sharp knife"`. */
  readonly head: string
  /** The fixed fields alone: `"description":"very sharp knife"`; empty when there are none. */
  readonly fixedText: string
  /** Whether the declared parameters are checked before the event is kept. */
  readonly checked: boolean
}

export function planEvent(definition: EventDefinition): EventPlan {
  const fixed = Object.entries(definition.fixed).filter(
    ([name]) => name.toLowerCase() !== 'event_type',
  )
  const fixedText = fixed
    .map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`)
    .join(',')
  const typeText = `"event_type":${JSON.stringify(definition.type)}`
  return {
    definition,
    serverFields: { event_type: definition.type, ...Object.fromEntries(fixed) },
    serverNames: new NameSet(['event_type', ...fixed.map(([name]) => name)]),
    head: `{${typeText}${fixedText === '' ? '' : `,${fixedText}`}`,
    fixedText,
    checked:
      definition.onInvalid === 'reject' &&
      (definition.params.length > 0 || definition.required.length > 0),
  }
}
