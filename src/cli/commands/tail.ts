import { join } from 'node:path'
import { defineCommand } from 'citty'
import { realClock } from '../../core/clock.ts'
import { QuestlogError } from '../../core/errors.ts'
import { realFiles } from '../../core/files.ts'
import { LogReader } from '../../log/reader.ts'
import { parseWhole } from '../arguments.ts'
import { requireData } from '../locate.ts'
import { exitCodes, printWord, writeOut } from '../output.ts'
import { formatRecordJson, tailTopic, type TailStart } from '../tail.ts'
import { requireTopic } from '../topics.ts'

export const tailCommand = defineCommand({
  args: {
    topic: { type: 'positional', required: true, description: 'name of the topic' },
    offset: {
      type: 'string',
      alias: 'o',
      default: 'beginning',
      valueHint: 'beginning|end|N|-N',
      description: 'where to begin: an offset, or the last N records of each partition',
    },
    exit: { type: 'boolean', alias: 'e', description: 'stop at the end instead of following' },
    count: { type: 'string', alias: 'c', valueHint: 'N', description: 'stop after N records' },
    partition: { type: 'string', valueHint: 'N', description: 'only this partition' },
    json: { type: 'boolean', description: 'a JSON object a record, with offset, time and headers' },
    data: { type: 'string', valueHint: 'DIR', description: 'data folder' },
  },
  async run({ args }) {
    const start = parseStart(args.offset)
    const countMax = args.count === undefined ? Infinity : parseWhole(args.count, '--count', 1)
    const only =
      args.partition === undefined ? undefined : parseWhole(args.partition, '--partition', 0)
    const reader = new LogReader(realFiles, join(requireData(args.data), 'log'))
    try {
      const topic = requireTopic(await reader.topics(), args.topic)
      if (only !== undefined && only >= topic.partitions)
        throw new QuestlogError(
          'USAGE',
          `topic "${topic.name}" has ${topic.partitions} partitions, from 0 on: there is no ${only}`,
        )
      const toJson = args.json === true
      await tailTopic({
        reader,
        clock: realClock,
        topic,
        only,
        start,
        countMax,
        follow: args.exit !== true,
        format: (partition, record) =>
          toJson
            ? Buffer.from(formatRecordJson(topic.name, partition, record))
            : (record.value ?? Buffer.alloc(0)),
        write: writeOut,
        reachedEnd: printWord,
      })
      return exitCodes.ok
    } finally {
      await reader.close()
    }
  },
})

function parseStart(text: string): TailStart {
  if (text === 'beginning' || text === 'end') return { kind: text }
  if (/^-\d{1,15}$/.test(text)) return { kind: 'last', count: Number(text.slice(1)) }
  if (/^\d{1,15}$/.test(text)) return { kind: 'offset', offset: Number(text) }
  throw new QuestlogError('USAGE', `-o is "${text}", but must be beginning, end, N or -N`)
}
