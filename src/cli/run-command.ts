import { stripVTControlCharacters } from 'node:util'
import { renderUsage, runCommand, type ArgsDef, type CommandDef } from 'citty'
import { normalizeArguments } from './arguments.ts'
import type { CommandRow } from './command-list.ts'
import { exitCodes, printLine } from './output.ts'

/** Loads a command and runs it with its words; answers with the exit code that its `run` gives. */
export async function runCommandWords(row: CommandRow, rest: readonly string[]): Promise<number> {
  const command = await row.load()
  const args = (command.args ?? {}) as ArgsDef // every command of ours has its arguments as plain data
  const end = rest.indexOf('--')
  if ((end === -1 ? rest : rest.slice(0, end)).some((word) => word === '--help' || word === '-h')) {
    printLine(await renderHelp(row, command))
    return exitCodes.ok
  }
  const { raw, values } = normalizeArguments(rest, args)
  const { result } = await runCommand(command, { rawArgs: raw, data: values })
  return typeof result === 'number' ? result : exitCodes.ok
}

async function renderHelp(row: CommandRow, command: CommandDef): Promise<string> {
  const name = `questlog ${row.words.join(' ')}`
  const meta = { name, description: row.summary }
  const text = await renderUsage({ ...command, meta })
  // The colours are for a terminal only.
  return process.stdout.isTTY ? text : stripVTControlCharacters(text)
}
