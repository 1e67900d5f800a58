import { runCommand, type ArgsDef } from 'citty'
import { normalizeArguments } from './arguments.ts'
import type { CommandRow } from './command-list.ts'
import { renderHelp } from './help.ts'
import { exitCodes, printLine } from './output.ts'

/** Loads a command and runs it with its words; answers with the exit code that its `run` gives. */
export async function runCommandWords(row: CommandRow, rest: readonly string[]): Promise<number> {
  const command = await row.load()
  const args = (command.args ?? {}) as ArgsDef // every command of ours has its arguments as plain data
  if (asksForHelp(rest)) {
    printLine(renderHelp(row.words.join(' '), row.summary, args))
    return exitCodes.ok
  }
  const { raw, values } = normalizeArguments(rest, args)
  const { result } = await runCommand(command, { rawArgs: raw, data: values })
  return typeof result === 'number' ? result : exitCodes.ok
}

/** `--help` or `-h` before any `--`. */
function asksForHelp(words: readonly string[]): boolean {
  const end = words.indexOf('--')
  return (end === -1 ? words : words.slice(0, end)).some(
    (word) => word === '--help' || word === '-h',
  )
}
