import type { Definition } from '../plan/definition.ts'

/** Where the supervisor's definitions come from and where they are kept. */
export interface DefinitionSource {
  /** Evaluates the definition file in a short-lived child and stores the result; the number of an equal one that is the newest is used again. DEFINITION_INVALID with file, line, key and fix. */
  evaluate(): Promise<{ version: number; definition: Definition }>
  /** The number that was activated last; undefined before the first. */
  active(): Promise<number | undefined>
  /** A stored one. */
  read(version: number): Promise<Definition>
  setActive(version: number): Promise<void>
  /** What changed, a few words a line. */
  describeChange(before: Definition | undefined, after: Definition): readonly string[]
}
