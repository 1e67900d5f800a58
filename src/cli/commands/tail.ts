import { join } from 'node:path'
import { defineCommand } from 'citty'
import { realClock } from '../../core/clock.ts'
import { QuestlogError } from '../../core/errors.ts'
import { realFiles } from '../../core/files.ts'
import { LogReader } from '../../log/reader.ts'
import type { LogRecord } from '../../log/record.ts'
import { parseWhole } from '../arguments.ts'
import { brokerArguments, openBroker } from '../broker.ts'
import { consumeTopic, type ConsumeOptions } from '../consumer.ts'
import { tailGroup, type GroupTailOptions } from '../group-tail.ts'
import { interruptSignal } from '../interrupt.ts'
import { requireData } from '../locate.ts'
import { exitCodes, printWord, writeOut } from '../output.ts'
import { SkippedRecords } from '../readable-records.ts'
import { formatRecordJson, parseStart, tailTopic } from '../tail.ts'
import { requireTopic } from '../topics.ts'

const lineFeed = Buffer.from('\n')

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
    group: {
      type: 'string',
      alias: 'G',
      valueHint: 'NAME',
      description: 'as a member of this consumer group: go on where it stopped, share with others',
    },
    json: { type: 'boolean', description: 'a JSON object a record, with offset, time and headers' },
    ...brokerArguments,
  },
  async run({ args }) {
    const start = parseStart(args.offset)
    const countMax = args.count === undefined ? Infinity : parseWhole(args.count, '--count', 1)
    const toJson = args.json === true
    const format = (partition: number, record: LogRecord) =>
      toJson
        ? Buffer.from(`${formatRecordJson(args.topic, partition, record)}\n`)
        : Buffer.concat([record.value ?? Buffer.alloc(0), lineFeed])
    if (args.group !== undefined) {
      if (start.kind !== 'beginning' && start.kind !== 'end')
        throw new QuestlogError('USAGE', 'a group begins at -o beginning or end, then goes on')
      return tailAsGroup(args, args.group, {
        begin: start.kind,
        countMax,
        follow: args.exit !== true,
        format,
      })
    }
    const only =
      args.partition === undefined ? undefined : parseWhole(args.partition, '--partition', 0)
    if (args.broker !== undefined)
      return tailBroker(args, { start, only, countMax, format, follow: args.exit !== true })
    const skipped = new SkippedRecords()
    const reader = new LogReader(realFiles, join(requireData(args.data), 'log'))
    try {
      const topic = requireTopic(await reader.topics(), args.topic)
      if (only !== undefined && only >= topic.partitions)
        throw new QuestlogError(
          'USAGE',
          `topic "${topic.name}" has ${topic.partitions} partitions, from 0 on: there is no ${only}`,
        )
      await tailTopic({
        reader,
        clock: realClock,
        topic,
        only,
        start,
        countMax,
        follow: args.exit !== true,
        format,
        write: writeOut,
        reachedEnd: printWord,
        skipped: skipped.say,
      })
      return skipped.exitCode
    } finally {
      await reader.close()
    }
  },
})

interface BrokerWords {
  readonly topic: string
  readonly data?: string | undefined
  readonly broker?: string | undefined
}

/** From another broker than the running questlog, whose files are read directly. */
async function tailBroker(
  args: BrokerWords,
  options: Pick<ConsumeOptions, 'start' | 'only' | 'countMax' | 'follow' | 'format'>,
): Promise<number> {
  const skipped = new SkippedRecords()
  const client = await openBroker(args)
  try {
    await consumeTopic({
      ...options,
      client,
      topic: args.topic,
      write: writeOut,
      reachedEnd: printWord,
      skipped: skipped.say,
    })
    return skipped.exitCode
  } finally {
    await client.close()
  }
}

async function tailAsGroup(
  args: BrokerWords,
  group: string,
  options: Pick<GroupTailOptions, 'begin' | 'countMax' | 'follow' | 'format'>,
): Promise<number> {
  const signal = interruptSignal()
  const skipped = new SkippedRecords()
  const client = await openBroker(args)
  try {
    await tailGroup({
      ...options,
      client,
      clock: realClock,
      group,
      topic: args.topic,
      write: writeOut,
      reachedEnd: printWord,
      skipped: skipped.say,
      signal,
    })
    return signal.aborted ? exitCodes.interrupted : skipped.exitCode
  } finally {
    await client.close()
  }
}
