import { defineCommand } from 'citty'
import { findPath, printFile } from '../fs.ts'
import { exitCodes } from '../output.ts'

/** As hadoop fs -head has it. */
const headBytes = 1024

export const fsHeadCommand = defineCommand({
  args: {
    path: { type: 'positional', required: true, description: 'a file' },
    data: { type: 'string', valueHint: 'DIR', description: 'data folder' },
  },
  async run({ args }) {
    await printFile(findPath(args.data, args.path), headBytes)
    return exitCodes.ok
  },
})
