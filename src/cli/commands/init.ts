import { relative, resolve } from 'node:path'
import { defineCommand } from 'citty'
import { formatPath, quoteShell } from '../../app/words.ts'
import { realFiles } from '../../core/files.ts'
import { writeStarter } from '../init.ts'
import { exitCodes, printLines } from '../output.ts'

export const initCommand = defineCommand({
  args: {
    folder: { type: 'positional', required: false, description: 'folder to write into (here)' },
  },
  async run({ args }) {
    const folder = resolve(args.folder ?? '.')
    const paths = await writeStarter(folder, realFiles)
    const below = relative(process.cwd(), folder)
    printLines([
      ...paths.map((path) => `wrote ${formatPath(path, process.cwd())}`),
      '',
      'Next:',
      ...(below === '' ? [] : [`  cd ${quoteShell(below)}`]),
      '  questlog check',
      '  questlog up -d',
      '  curl http://127.0.0.1:5000/',
      '  questlog sql "select * from events"',
    ])
    return exitCodes.ok
  },
})
