import { defineCommand } from 'citty'
import { formatMany } from '../../app/words.ts'
import { QuestlogError } from '../../core/errors.ts'
import { parseDuration } from '../../plan/durations.ts'
import { parseWhole } from '../arguments.ts'
import { exitCodes, printLine } from '../output.ts'
import { tableArgument, tablesArguments, workOnTable } from '../tables.ts'

export const tablesExpireCommand = defineCommand({
  args: {
    table: tableArgument,
    'older-than': {
      type: 'string',
      valueHint: 'TIME',
      description:
        'snapshots that were replaced longer ago, such as 10m or 7d; else snapshotAgeMsMin',
    },
    keep: {
      type: 'string',
      valueHint: 'N',
      description: 'the newest that stay however old; else snapshotCountMin',
    },
    ...tablesArguments,
  },
  async run({ args }) {
    const ageMsMin = args['older-than'] === undefined ? null : parseAge(args['older-than'])
    const countMin = args.keep === undefined ? null : parseWhole(args.keep, '--keep', 1)
    const done = await workOnTable(args.data, args.table, (name) => ({
      ...name,
      work: 'expire',
      ageMsMin,
      countMin,
    }))
    const { before, after } = done.snapshots
    printLine(`${args.table}: ${formatMany(before, 'snapshot')} → ${after}`)
    if (done.removedFiles > 0) printLine(`${formatMany(done.removedFiles, 'file')} removed`)
    if (done.waitingFiles > 0)
      printLine(
        `${formatMany(done.waitingFiles, 'file')} go when nobody can be reading them any more`,
      )
    return exitCodes.ok
  },
})

function parseAge(text: string): number {
  const ageMs = parseDuration(text)
  if (ageMs !== undefined) return ageMs
  throw new QuestlogError(
    'USAGE',
    `--older-than is "${text}", but must be a time such as 10m, 1h or 7d`,
  )
}
