import type { Files } from '../core/files.ts'
import { describeChange } from '../plan/diff.ts'
import { evaluateInChild } from '../plan/evaluate-in-child.ts'
import { activeVersion, setActiveVersion, storeDefinition } from '../plan/store.ts'
import type { DefinitionSource } from './definition-source.ts'

/** The definition file `config`, kept in `<data>/definitions`. `print` takes what the file's code prints. */
export function planDefinitions(
  files: Files,
  data: string,
  config: string,
  print: (line: string) => void,
): DefinitionSource {
  return {
    async evaluate() {
      const definition = await evaluateInChild(config, {
        onWarning: (line) => print(`the definition file prints: ${line}`),
      })
      return { version: await storeDefinition(files, data, definition), definition }
    },
    active: () => activeVersion(files, data),
    setActive: (version) => setActiveVersion(files, data, version),
    describeChange,
  }
}
