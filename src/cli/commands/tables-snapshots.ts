import { defineCommand } from 'citty'
import { exitCodes } from '../output.ts'
import type { Cell } from '../table-output.ts'
import {
  idCell,
  numberColumn,
  outputArgument,
  printRows,
  readTable,
  tableArgument,
  tablesArguments,
  textColumn,
  timeText,
} from '../tables.ts'

export const tablesSnapshotsCommand = defineCommand({
  args: { table: tableArgument, output: outputArgument, ...tablesArguments },
  async run({ args }) {
    const { metadata } = await readTable(args.data, args.table)
    await printRows(
      args.output,
      [
        numberColumn('snapshot'),
        textColumn('committed'),
        textColumn('operation'),
        ...['added_files', 'removed_files', 'files', 'rows'].map(numberColumn),
      ],
      (metadata.snapshots ?? []).map(({ summary, ...snapshot }) => [
        idCell(snapshot['snapshot-id']),
        timeText(snapshot['timestamp-ms']),
        summary['operation'] ?? null,
        numberCell(summary['added-data-files'] ?? '0'),
        numberCell(summary['deleted-data-files'] ?? '0'),
        numberCell(summary['total-data-files']),
        numberCell(summary['total-records']),
      ]),
    )
    return exitCodes.ok
  },
})

/** Another engine may have left it out. */
function numberCell(text: string | undefined): Cell {
  return text !== undefined && /^\d+$/.test(text) ? idCell(text) : null
}
