import { asQuestlogError } from '../core/errors.ts'
import { realFiles } from '../core/files.ts'
import { loadConfigFile } from './evaluate.ts'
import type { ChildAnswer } from './evaluate-in-child.ts'

/** The program of the child that `evaluateInChild` starts: evaluates the file of its first argument, with the folder for its JavaScript as the second, answers with one message, ends. */
async function answer(path: string, cacheFolder: string | undefined): Promise<ChildAnswer> {
  try {
    return { definition: await loadConfigFile(path, realFiles, cacheFolder) }
  } catch (error) {
    const { code, message, hint, facts } = asQuestlogError(error)
    return { error: { code, message, hint, facts } }
  }
}

process.on('disconnect', () => process.exit(1)) // the parent is gone
void answer(process.argv[2] ?? '', process.argv[3]).then((result) => {
  // Timers and sockets that user code left open do not keep the child.
  process.send?.(result, () => process.exit(0))
})
