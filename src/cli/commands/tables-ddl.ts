import { defineCommand } from 'citty'
import { exportPath } from '../../app/export-root.ts'
import { QuestlogError } from '../../core/errors.ts'
import { readEntry } from '../../core/folders.ts'
import { formatOf } from '../../lake/table-format.ts'
import { requireData } from '../locate.ts'
import { exitCodes, printLines, printWord } from '../output.ts'
import { ddlDialects, tableDdl } from '../table-ddl.ts'
import { readTable, tableArgument, tablesArguments } from '../tables.ts'

export const tablesDdlCommand = defineCommand({
  args: {
    table: tableArgument,
    dialect: {
      type: 'string',
      default: 'hive',
      valueHint: ddlDialects.join('|'),
      description: 'whose statement',
    },
    path: {
      type: 'string',
      valueHint: 'PATH',
      description:
        "the export that it reads; otherwise the folder of a table with format 'hive', or /tmp/TABLE",
    },
    ...tablesArguments,
  },
  async run({ args }) {
    const dialect = ddlDialects.find((name) => name === args.dialect)
    if (dialect === undefined)
      throw new QuestlogError(
        'USAGE',
        `--dialect is "${args.dialect}", but must be ${ddlDialects.join(', ')}`,
      )
    const { name, columns, properties } = await readTable(args.data, args.table)
    const isPublished = formatOf(properties) === 'hive'
    const standard = isPublished ? `/${name}` : `/tmp/${name}`
    const { real, shown } = exportPath(requireData(args.data), args.path ?? standard)
    if (readEntry(real, shown) === undefined)
      printWord(
        isPublished && shown === standard
          ? `there is no folder yet: questlog makes it while it runs`
          : `there is no export yet: questlog export ${name} ${shown}`,
      )
    printLines(tableDdl({ name, columns, folder: real }, dialect))
    return exitCodes.ok
  },
})
