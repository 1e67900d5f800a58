import { defineCommand } from 'citty'
import { requestExport } from '../../app/control-client.ts'
import type { ExportMode } from '../../app/export.ts'
import { formatMany } from '../../app/words.ts'
import { QuestlogError } from '../../core/errors.ts'
import { quoteName } from '../../plan/columns.ts'
import { requireInstances } from '../locate.ts'
import { exitCodes, printLine, printWord } from '../output.ts'

export const exportCommand = defineCommand({
  args: {
    rows: { type: 'positional', required: true, description: 'name of a table, or a SELECT' },
    path: {
      type: 'positional',
      required: true,
      description: 'folder, such as /tmp/purchases; it lies under exports/ of the data folder',
    },
    mode: {
      type: 'string',
      default: 'error',
      valueHint: 'overwrite|append|error',
      description: 'what becomes of an export that is there already',
    },
    'partition-by': {
      type: 'string',
      valueHint: 'COLUMN,…',
      description: 'columns that become folders COLUMN=value',
    },
    data: { type: 'string', valueHint: 'DIR', description: 'data folder' },
  },
  async run({ args }) {
    const mode = modes.find((name) => name === args.mode)
    if (mode === undefined)
      throw new QuestlogError(
        'USAGE',
        `--mode is "${args.mode}", but must be overwrite, append or error`,
      )
    const lake = requireInstances(args.data).find(({ roles }) => roles.includes('lake'))
    if (lake === undefined) throw new QuestlogError('NOT_RUNNING', 'the tables do not run here')
    const { rows, folder, files } = await requestExport(lake, {
      sql: selectOf(args.rows),
      path: args.path,
      mode,
      partitionBy: (args['partition-by'] ?? '').split(',').filter((name) => name !== ''),
    })
    printLine(`Exported ${formatMany(rows, 'row')} to ${folder}`)
    printWord(`${formatMany(files.length, 'file')}; see \`questlog fs -ls ${args.path}\``)
    return exitCodes.ok
  },
})

const modes: readonly ExportMode[] = ['overwrite', 'append', 'error']

/** A word is a table, `namespace.table` too; anything else is a statement. */
export function selectOf(text: string): string {
  const names = text.trim().split('.')
  const isName = names.length <= 2 && names.every((name) => /^[A-Za-z_][\w-]*(@\d+)?$/.test(name))
  return isName ? `SELECT * FROM ${names.map(quoteName).join('.')}` : text
}
