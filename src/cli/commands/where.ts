import { defineCommand } from 'citty'
import { requireInstances } from '../locate.ts'
import { printSqlLines } from '../sql-lines.ts'

export const whereCommand = defineCommand({
  args: {
    receipt: {
      type: 'positional',
      required: true,
      description: 'topic/partition/offset, from the Questlog-Receipt header of an answer',
    },
    data: { type: 'string', valueHint: 'DIR', description: 'data folder' },
  },
  run: ({ args }) =>
    printSqlLines(
      requireInstances(args.data),
      `/_questlog/where?receipt=${encodeURIComponent(args.receipt)}`,
    ),
})
