import { defineCommand } from 'citty'
import { formatMany } from '../../app/words.ts'
import { exitCodes, printLine } from '../output.ts'
import { tableArgument, tablesArguments, workOnTable } from '../tables.ts'

export const tablesCompactCommand = defineCommand({
  args: { table: tableArgument, ...tablesArguments },
  async run({ args }) {
    const { files } = await workOnTable(args.data, args.table, (name) => ({
      ...name,
      work: 'compact',
    }))
    printLine(
      files.before === files.after
        ? `${args.table}: ${formatMany(files.after, 'file')}, nothing to merge`
        : `${args.table}: ${formatMany(files.before, 'file')} → ${files.after}`,
    )
    return exitCodes.ok
  },
})
