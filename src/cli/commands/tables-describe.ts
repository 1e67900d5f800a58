import { join } from 'node:path'
import { defineCommand } from 'citty'
import { exportRoot } from '../../app/export-root.ts'
import { formatPath } from '../../app/words.ts'
import { QuestlogError } from '../../core/errors.ts'
import { formatOf } from '../../lake/table-format.ts'
import { typeName, type TypeDialect } from '../../plan/columns.ts'
import { requireData } from '../locate.ts'
import { exitCodes, printLines, printWord } from '../output.ts'
import { sparkTree } from '../spark-tree.ts'
import { sqlOutputs } from '../sql-output.ts'
import { printRows, readTable, tableArgument, tablesArguments, textColumn } from '../tables.ts'

const dialects: readonly TypeDialect[] = ['duckdb', 'iceberg', 'hive', 'spark', 'trino']

export const tablesDescribeCommand = defineCommand({
  args: {
    table: tableArgument,
    output: {
      type: 'string',
      alias: 'o',
      default: 'table',
      valueHint: `${sqlOutputs.join('|')}|spark`,
      description: "form of the output; spark = the tree of Spark's printSchema()",
    },
    types: {
      type: 'string',
      default: 'iceberg',
      valueHint: dialects.join('|'),
      description: 'whose names of the types',
    },
    ...tablesArguments,
  },
  async run({ args }) {
    const dialect = parseDialect(args.types)
    const { namespace, name, columns, properties } = await readTable(args.data, args.table)
    const format = formatOf(properties)
    const folder = join(exportRoot(requireData(args.data)), name)
    const published =
      format === 'hive' ? `, also published in ${formatPath(folder, process.cwd())}` : ''
    printWord(`${namespace}.${name}: format ${format}${published}`)
    if (args.output === 'spark') {
      printLines(sparkTree(columns))
      return exitCodes.ok
    }
    await printRows(
      args.output,
      ['column', 'type', 'comment'].map(textColumn),
      columns.map(({ name, type, doc }) => [name, typeName(type, dialect), doc ?? null]),
    )
    return exitCodes.ok
  },
})

function parseDialect(text: string): TypeDialect {
  const dialect = dialects.find((name) => name === text)
  if (dialect !== undefined) return dialect
  throw new QuestlogError('USAGE', `--types is "${text}", but must be ${dialects.join(', ')}`)
}
