import { asQuestlogError } from '../core/errors.ts'
import { loadConfigFile } from './evaluate.ts'
import type { ChildAnswer } from './evaluate-in-child.ts'

/** The program of the child that `evaluateInChild` starts: evaluates the file of its first argument, answers with one message, ends. */
async function answer(path: string): Promise<ChildAnswer> {
  try {
    return { definition: await loadConfigFile(path) }
  } catch (error) {
    const { code, message, hint, facts } = asQuestlogError(error)
    return { error: { code, message, hint, facts } }
  }
}

process.on('disconnect', () => process.exit(1)) // the parent is gone
const result = await answer(process.argv[2] ?? '')
// Timers and sockets that user code left open do not keep the child.
process.send?.(result, () => process.exit(0))
