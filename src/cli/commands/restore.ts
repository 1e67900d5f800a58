import { resolve } from 'node:path'
import { defineCommand } from 'citty'
import { formatPath, quoteShell } from '../../app/words.ts'
import { realFiles } from '../../core/files.ts'
import { backupLines } from '../backup-format.ts'
import { standardData } from '../locate.ts'
import { exitCodes, printLine, printLines } from '../output.ts'

export const restoreCommand = defineCommand({
  args: {
    dir: { type: 'positional', required: true, description: 'folder of the backup' },
    data: {
      type: 'string',
      default: standardData,
      valueHint: 'DIR',
      description: 'data folder to make; new or empty',
    },
  },
  async run({ args }) {
    const data = resolve(args.data)
    const { restore } = await import('../../app/restore.ts')
    const backup = await restore(realFiles, resolve(args.dir), data)
    const shown = quoteShell(formatPath(data, process.cwd()))
    printLines(backupLines(backup))
    printLine(`restored into ${shown}, as of ${backup.createdAt}`)
    printLine(`start it with \`questlog up --data ${shown}\``)
    return exitCodes.ok
  },
})
