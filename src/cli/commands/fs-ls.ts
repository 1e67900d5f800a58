import { defineCommand } from 'citty'
import { userName } from '../../core/folders.ts'
import { findPath } from '../fs.ts'
import { formatList } from '../fs-format.ts'
import { exitCodes, printLines } from '../output.ts'

export const fsListCommand = defineCommand({
  args: {
    path: { type: 'positional', required: false, default: '/', description: 'such as /tmp' },
    data: { type: 'string', valueHint: 'DIR', description: 'data folder' },
  },
  async run({ args }) {
    const found = findPath(args.data, args.path)
    const entries = found.kind === 'file' ? [found.entry] : found.entries
    printLines(formatList(entries, userName(), found.kind === 'folder'))
    return exitCodes.ok
  },
})
