import { defineCommand } from 'citty'
import { exitCodes } from '../output.ts'
import {
  numberColumn,
  outputArgument,
  printRows,
  readTables,
  tablesArguments,
  textColumn,
  timeText,
} from '../tables.ts'

export const tablesListCommand = defineCommand({
  args: { output: outputArgument, ...tablesArguments },
  async run({ args }) {
    const rows = []
    for (const table of await readTables(args.data)) {
      const files = await table.liveFiles()
      rows.push([
        table.namespace,
        table.name,
        table.recordCount,
        files.length,
        files.reduce((sum, file) => sum + file.sizeBytes, 0),
        table.metadata.snapshots?.length ?? 0,
        table.snapshot === null ? null : timeText(table.snapshot.timestampMs),
      ])
    }
    const columns = [
      textColumn('namespace'),
      textColumn('table'),
      ...['rows', 'files', 'bytes', 'snapshots'].map(numberColumn),
      textColumn('committed'),
    ]
    await printRows(args.output, columns, rows)
    return exitCodes.ok
  },
})
