import { asQuestlogError, QuestlogError } from '../core/errors.ts'
import { nearestName } from '../plan/nearest.ts'
import { commandGroups, findCommand, type CommandRow } from './command-list.ts'
import {
  endQuietlyOnClosedPipe,
  exitCodeOf,
  exitCodes,
  formatError,
  printLine,
  printWord,
} from './output.ts'

/** Runs one command line; answers with its exit code. Errors are printed. */
export async function runCli(argv: readonly string[]): Promise<number> {
  endQuietlyOnClosedPipe()
  try {
    return await runWords(argv)
  } catch (error) {
    printWord(formatError(error))
    return exitCodeOf(asQuestlogError(error))
  }
}

async function runWords(argv: readonly string[]): Promise<number> {
  const [first, ...others] = argv
  if (first === undefined || first === 'help' || first === '--help' || first === '-h') {
    if (first === 'help' && others[0] !== undefined) return runWords([...others, '--help'])
    printLine(await overview())
    return first === undefined ? exitCodes.usage : exitCodes.ok
  }
  if (first === '--version' || first === '-v') return runWords(['version'])
  const { row, rest } = findCommand(argv)
  if (row === undefined) throw unknownCommand(argv)
  const { runCommandWords } = await import('./run-command.ts')
  return runCommandWords(row, rest)
}

function unknownCommand(argv: readonly string[]): QuestlogError {
  const group = commandGroups.flatMap(({ rows }) => rows).filter((row) => row.words[0] === argv[0])
  if (group.length > 0) {
    const names = group.map((row) => row.words.join(' ')).join(', ')
    return new QuestlogError('USAGE', `${argv[0]} needs one of its commands`, {}, { hint: names })
  }
  const known = commandGroups.flatMap(({ rows }) => rows).map((row) => row.words[0] ?? '')
  const near = nearestName(argv[0] ?? '', known)
  return new QuestlogError(
    'USAGE',
    `there is no command ${argv[0]}`,
    {},
    { hint: near === undefined ? 'see questlog --help' : `did you mean questlog ${near}?` },
  )
}

async function overview(): Promise<string> {
  const { readVersion } = await import('./version.ts')
  const width = Math.max(
    ...commandGroups.flatMap(({ rows }) => rows.map((row) => name(row).length)),
  )
  const lines = commandGroups.flatMap(({ title, rows }) => [
    '',
    title,
    ...rows.map((row) => `  ${name(row).padEnd(width)}  ${row.summary}`),
  ])
  return [
    `questlog ${readVersion()}: from game events to live SQL in one program`,
    '',
    'questlog COMMAND [OPTIONS]; `questlog COMMAND --help` says more about one',
    ...lines,
  ].join('\n')
}

function name(row: CommandRow): string {
  return row.words.join(' ')
}
