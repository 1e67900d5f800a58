import { defineCommand } from 'citty'
import { findPath, printFile } from '../fs.ts'
import { exitCodes } from '../output.ts'

export const fsCatCommand = defineCommand({
  args: {
    path: { type: 'positional', required: true, description: 'a file' },
    data: { type: 'string', valueHint: 'DIR', description: 'data folder' },
  },
  async run({ args }) {
    await printFile(findPath(args.data, args.path), Number.POSITIVE_INFINITY)
    return exitCodes.ok
  },
})
