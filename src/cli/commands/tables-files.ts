import { defineCommand } from 'citty'
import { exitCodes } from '../output.ts'
import {
  idCell,
  numberColumn,
  outputArgument,
  printRows,
  readTable,
  tableArgument,
  tablesArguments,
  textColumn,
} from '../tables.ts'

export const tablesFilesCommand = defineCommand({
  args: { table: tableArgument, output: outputArgument, ...tablesArguments },
  async run({ args }) {
    const table = await readTable(args.data, args.table)
    const files = await table.liveFiles()
    await printRows(
      args.output,
      [
        textColumn('day'),
        numberColumn('rows'),
        numberColumn('bytes'),
        numberColumn('snapshot'),
        textColumn('path'),
      ],
      files.map((file) => [
        file.day,
        file.recordCount,
        file.sizeBytes,
        idCell(file.snapshotId),
        file.path,
      ]),
    )
    return exitCodes.ok
  },
})
