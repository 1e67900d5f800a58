import { resolve } from 'node:path'
import { defineCommand } from 'citty'
import { checkDefinition } from '../check.ts'
import { standardConfig } from '../locate.ts'
import { exitCodes, printLines } from '../output.ts'

export const checkCommand = defineCommand({
  args: {
    config: {
      type: 'string',
      default: standardConfig,
      valueHint: 'FILE',
      description: 'definition file',
    },
    file: { type: 'positional', required: false, description: 'the same, as a word' },
  },
  async run({ args }) {
    const { lines } = await checkDefinition(resolve(args.file ?? args.config))
    printLines(lines)
    return exitCodes.ok
  },
})
