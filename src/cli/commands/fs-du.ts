import { defineCommand } from 'citty'
import { join } from 'node:path'
import { findPath, sizeBelow } from '../fs.ts'
import { formatUsage } from '../fs-format.ts'
import { exitCodes, printLines } from '../output.ts'

export const fsUsageCommand = defineCommand({
  args: {
    path: { type: 'positional', required: false, default: '/', description: 'such as /tmp' },
    data: { type: 'string', valueHint: 'DIR', description: 'data folder' },
  },
  async run({ args }) {
    const found = findPath(args.data, args.path)
    const sizes =
      found.kind === 'file'
        ? [{ path: found.shown, size: found.entry.size }]
        : found.entries.map(({ path, name }) => ({ path, size: sizeBelow(join(found.real, name)) }))
    printLines(formatUsage(sizes))
    return exitCodes.ok
  },
})
