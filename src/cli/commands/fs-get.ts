import { defineCommand } from 'citty'
import { resolve } from 'node:path'
import { findPath, getPath } from '../fs.ts'
import { exitCodes, printLine } from '../output.ts'

export const fsGetCommand = defineCommand({
  args: {
    path: { type: 'positional', required: true, description: 'a file or folder among the exports' },
    target: {
      type: 'positional',
      required: false,
      default: '.',
      description: 'where to copy it to on this machine',
    },
    data: { type: 'string', valueHint: 'DIR', description: 'data folder' },
  },
  async run({ args }) {
    printLine(await getPath(findPath(args.data, args.path), resolve(args.target)))
    return exitCodes.ok
  },
})
