import { defineCommand } from 'citty'
import { realClock } from '../../core/clock.ts'
import { QuestlogError } from '../../core/errors.ts'
import { realFiles } from '../../core/files.ts'
import { nearestName } from '../../plan/nearest.ts'
import { parseWhole } from '../arguments.ts'
import { requireData } from '../locate.ts'
import { followLogs, readLogs, type LogLine } from '../component-logs.ts'
import { exitCodes, printLines } from '../output.ts'

const components = ['supervisor', 'ingest', 'lake'] as const

/** The names under which the parts of the write-ups' clusters are known. */
const aliases: Readonly<Record<string, (typeof components)[number]>> = {
  kafka: 'ingest',
  zookeeper: 'ingest',
  flask: 'ingest',
  collector: 'ingest',
  log: 'ingest',
  cloudera: 'lake',
  hdfs: 'lake',
  spark: 'lake',
  presto: 'lake',
  mids: 'lake',
  sql: 'lake',
}

export const logsCommand = defineCommand({
  args: {
    component: {
      type: 'positional',
      required: false,
      description:
        'supervisor, ingest (kafka, flask) or lake (spark, hdfs, presto); all of them otherwise',
    },
    follow: { type: 'boolean', alias: 'f', description: 'go on printing what comes' },
    lines: {
      type: 'string',
      alias: 'n',
      valueHint: 'N',
      description: 'only the last N lines of each',
    },
    data: { type: 'string', valueHint: 'DIR', description: 'data folder' },
  },
  async run({ args }) {
    const names = args.component === undefined ? components : [parseComponent(args.component)]
    const linesMax = args.lines === undefined ? undefined : parseWhole(args.lines, '--lines', 0)
    const data = requireData(args.data)
    const { lines, ends } = await readLogs(realFiles, data, names, linesMax)
    print(lines)
    if (args.follow === true) await followLogs(realFiles, realClock, data, ends, print)
    return exitCodes.ok
  },
})

function print(lines: readonly LogLine[]): void {
  printLines(lines.map(({ component, text }) => `${component.padEnd(10)} | ${text}`))
}

function parseComponent(name: string): (typeof components)[number] {
  const known = aliases[name] ?? components.find((component) => component === name)
  if (known !== undefined) return known
  const near = nearestName(name, [...components, ...Object.keys(aliases)])
  throw new QuestlogError(
    'USAGE',
    `there is no component ${name}`,
    {},
    {
      hint: near === undefined ? `one of ${components.join(', ')}` : `did you mean ${near}?`,
    },
  )
}
