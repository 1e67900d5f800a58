import { nearestName } from './nearest.ts'

/** Where in the definition: `['events', 'purchase_sword', 'route', 0]`. */
export type KeyPath = readonly (string | number)[]

/** One thing that is wrong in the definition file, and what to write instead. */
export interface DefinitionProblem {
  readonly path: KeyPath
  readonly message: string
  readonly fix: string
}

/** `events.purchase_sword.route[0]`; a key that is no identifier is quoted: `events["my event"]`. */
export function formatKeyPath(path: KeyPath): string {
  let text = ''
  for (const key of path) {
    if (typeof key === 'number') text += `[${key}]`
    else if (!/^[\p{L}_$][\p{L}\p{N}_$]*$/u.test(key)) text += `[${JSON.stringify(key)}]`
    else text += text === '' ? key : `.${key}`
  }
  return text
}

/** Collects every problem, so that one save shows all of them. */
export class Problems {
  readonly list: DefinitionProblem[] = []

  add(path: KeyPath, message: string, fix: string): void {
    this.list.push({ path, message, fix })
  }

  /** The value as an object with string keys; a problem and undefined when it is none. */
  object(value: unknown, path: KeyPath, expects: string): Record<string, unknown> | undefined {
    if (isObject(value)) return value
    this.add(path, `is ${describeValue(value)}, but must be ${expects}`, `write ${expects}`)
    return undefined
  }

  /** One problem for each key that is not known. */
  knownKeys(object: Record<string, unknown>, known: readonly string[], path: KeyPath): void {
    for (const key of Object.keys(object)) {
      if (known.includes(key)) continue
      const near = nearestName(key, known)
      this.add(
        [...path, key],
        `there is no key ${key} here`,
        near === undefined
          ? `remove it; the keys are ${known.join(', ')}`
          : `did you mean ${near}?`,
      )
    }
  }

  /** The text, the default when it is absent, or a problem and the default. */
  text(value: unknown, fallback: string, path: KeyPath): string {
    if (value === undefined) return fallback
    if (typeof value === 'string' && isWellFormed(value)) return value
    this.add(path, `is ${describeValue(value)}, but must be a text`, 'write it in quotes')
    return fallback
  }

  flag(value: unknown, fallback: boolean, path: KeyPath): boolean {
    if (value === undefined || typeof value === 'boolean') return value ?? fallback
    this.add(path, `is ${describeValue(value)}, but must be true or false`, 'write true or false')
    return fallback
  }

  oneOf<const T extends string>(
    value: unknown,
    values: readonly [T, ...T[]],
    path: KeyPath,
    fallback: T = values[0],
  ): T {
    if (value === undefined) return fallback
    const found = values.find((candidate) => candidate === value)
    if (found !== undefined) return found
    const quoted = values.map((candidate) => `'${candidate}'`).join(' or ')
    this.add(path, `is ${describeValue(value)}, but must be ${quoted}`, `write ${quoted}`)
    return fallback
  }
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Whether the text has no lone surrogate, so that it has a UTF-8 form. */
export function isWellFormed(text: string): boolean {
  return !/\p{Surrogate}/u.test(text)
}

/** A value in a message, shortened: `"GET purchase"`, `5`, `an array`. */
export function describeValue(value: unknown): string {
  switch (typeof value) {
    case 'undefined':
      return 'missing'
    case 'string':
      return shorten(JSON.stringify(value))
    case 'number':
    case 'boolean':
      return String(value)
    case 'bigint':
      return `${value}n`
    case 'object':
      return value === null ? 'null' : `an ${Array.isArray(value) ? 'array' : 'object'}`
    default:
      return `a ${typeof value}`
  }
}

function shorten(text: string): string {
  return text.length > 60 ? `${text.slice(0, 57)}…` : text
}

/** `fix` with "did you mean" when one of the names is near. */
export function meantOr(text: string, names: Iterable<string>, fix: string): string {
  const near = nearestName(text, names)
  return near === undefined ? fix : `did you mean ${near}? Otherwise ${fix}`
}
