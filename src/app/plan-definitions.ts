import { join } from 'node:path'
import { systemErrorCode } from '../core/errors.ts'
import type { Files } from '../core/files.ts'
import type { Definition } from '../plan/definition.ts'
import { describeChange } from '../plan/diff.ts'
import { evaluateInChild } from '../plan/evaluate-in-child.ts'
import { activeVersion, readDefinition, setActiveVersion, storeDefinition } from '../plan/store.ts'
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
        cacheFolder: join(data, 'run', 'definition-code'),
        onWarning: (line) => print(`the definition file prints: ${line}`),
      })
      return { version: await store(files, data, definition), definition }
    },
    active: () => activeVersion(files, data),
    read: (version) => readDefinition(files, data, version),
    setActive: (version) => setActiveVersion(files, data, version),
    describeChange,
  }
}

/** Two instances of one role each watch the same file: the one that comes second finds the version that the first has just written. */
async function store(files: Files, data: string, definition: Definition): Promise<number> {
  try {
    return await storeDefinition(files, data, definition)
  } catch (error) {
    if (systemErrorCode(error) !== 'EEXIST') throw error
    return storeDefinition(files, data, definition)
  }
}
