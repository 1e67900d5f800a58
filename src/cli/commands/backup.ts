import { resolve } from 'node:path'
import { defineCommand } from 'citty'
import { formatPath } from '../../app/words.ts'
import { realClock } from '../../core/clock.ts'
import { realFiles } from '../../core/files.ts'
import { backupLines } from '../backup-format.ts'
import { requireData } from '../locate.ts'
import { exitCodes, printLine, printLines } from '../output.ts'
import { readVersion } from '../version.ts'

export const backupCommand = defineCommand({
  args: {
    dir: { type: 'positional', required: true, description: 'folder of the backup; new or empty' },
    data: { type: 'string', valueHint: 'DIR', description: 'data folder' },
    verify: {
      type: 'boolean',
      description: 'copy nothing: check every file of the backup that is there',
    },
  },
  async run({ args }) {
    const folder = resolve(args.dir)
    const shown = formatPath(folder, process.cwd())
    const { backUp, verifyBackup } = await import('../../app/backup.ts')
    if (args.verify === true) {
      const backup = await verifyBackup(realFiles, folder)
      printLines(backupLines(backup))
      printLine(`every file of ${shown} is as it was written`)
      return exitCodes.ok
    }
    const { openLogEnds } = await import('../../app/log-ends.ts')
    const data = requireData(args.data)
    const ends = openLogEnds(realFiles, realClock, data)
    try {
      const backup = await backUp({
        files: realFiles,
        clock: realClock,
        data,
        folder,
        ends,
        version: readVersion(),
      })
      printLines(backupLines(backup))
      printLine(`everything that was answered before ${backup.createdAt} is in ${shown}`)
    } finally {
      await ends.close()
    }
    return exitCodes.ok
  },
})
