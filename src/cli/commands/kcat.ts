import { defineCommand } from 'citty'
import { realClock } from '../../core/clock.ts'
import { QuestlogError } from '../../core/errors.ts'
import { realFiles } from '../../core/files.ts'
import type { KafkaClient } from '../../kafka/client.ts'
import { parseWhole } from '../arguments.ts'
import { fetchOffsets, openBroker } from '../broker.ts'
import { consumeTopic } from '../consumer.ts'
import { tailGroup } from '../group-tail.ts'
import { interruptSignal } from '../interrupt.ts'
import { formatKcat, listCluster } from '../kcat-format.ts'
import { printLine, printLines, printWord, writeOut } from '../output.ts'
import { openInput } from '../produce-input.ts'
import { TopicProducer } from '../producer.ts'
import { SkippedRecords } from '../readable-records.ts'
import { parseStart, type TailStart } from '../tail.ts'

const flag = (alias: string, description: string) =>
  ({ type: 'boolean', alias, description }) as const
const option = (alias: string, valueHint: string, description: string) =>
  ({ type: 'string', alias, valueHint, description }) as const

/** The flags of kcat that the lines of the write-ups and of most scripts use, so that they can be pasted; kcat itself works as well. */
export const kcatCommand = defineCommand({
  args: {
    consume: flag('C', 'print the records of a topic'),
    produce: flag('P', 'a record for each line of standard input'),
    list: flag('L', 'list the broker and its topics'),
    query: flag('Q', 'the offset of a time: -t TOPIC:PARTITION:TIME'),
    group: option('G', 'GROUP', 'read the topics that follow as a member of a group'),
    topic: option('t', 'TOPIC', 'topic'),
    broker: option('b', 'HOST:PORT', 'broker; the running questlog otherwise'),
    partition: option('p', 'N', 'partition'),
    offset: option('o', 'beginning|end|N|-N', 'where to begin'),
    exit: flag('e', 'stop at the end'),
    count: option('c', 'N', 'stop after N records'),
    quiet: flag('q', 'no words about the work'),
    format: option('f', 'TEXT', 'with %t %p %o %k %s %S %T %h %%, \\n and \\t'),
    'key-separator': option('K', 'SEP', 'between key and value'),
    json: flag('J', 'a JSON object a record'),
    header: option('H', 'NAME=VALUE', 'record header; may be repeated'),
    file: option('l', 'FILE', 'with -P: read this file'),
    property: option('X', 'NAME=VALUE', 'property of librdkafka; auto.offset.reset counts'),
    codec: option('z', 'CODEC', 'accepted: records are sent as they are'),
    unbuffered: flag('u', 'accepted: output is never held back'),
    data: { type: 'string', valueHint: 'DIR', description: 'data folder' },
    name: { type: 'positional', required: false, description: 'topic of a group' },
  },
  async run({ args, data }) {
    const values = data as ReadonlyMap<string, readonly string[]> // run-command hands over every value of repeated options
    const client = await openBroker(args)
    const skipped = new SkippedRecords()
    const words: KcatWords = {
      client,
      values,
      topic: args.topic ?? args.name ?? '',
      only: args.partition === undefined ? undefined : parseWhole(args.partition, '-p', 0),
      start: parseStart(args.offset ?? 'beginning'),
      countMax: args.count === undefined ? Infinity : parseWhole(args.count, '-c', 1),
      follow: args.exit !== true,
      say: args.quiet === true ? () => {} : printWord,
      skipped: skipped.say,
      file: args.file ?? null,
      keySeparator: args['key-separator'] ?? null,
      format: formatKcat({
        json: args.json === true,
        format: args.format,
        keySeparator: args['key-separator'],
      }),
    }
    try {
      if (args.list === true) printLines(await listCluster(client, args.topic))
      else if (args.query === true) await query(words)
      else if (args.group !== undefined) await consumeAsGroup(words, args.group)
      else if (args.produce === true) await produce(words)
      else if (args.consume === true || args.topic !== undefined) await consume(words)
      else throw new QuestlogError('USAGE', 'one of -C, -P, -L, -Q and -G is needed')
      return skipped.exitCode
    } finally {
      await client.close()
    }
  },
})

interface KcatWords {
  readonly client: KafkaClient
  readonly values: ReadonlyMap<string, readonly string[]>
  readonly topic: string
  readonly only: number | undefined
  readonly start: TailStart
  readonly countMax: number
  readonly follow: boolean
  readonly say: (line: string) => void
  readonly skipped: (line: string) => void
  readonly file: string | null
  readonly keySeparator: string | null
  readonly format: ReturnType<typeof formatKcat>
}

function topicOf({ topic }: KcatWords): string {
  if (topic !== '') return topic
  throw new QuestlogError('USAGE', '-t TOPIC is needed')
}

async function consume(words: KcatWords): Promise<void> {
  const topic = topicOf(words)
  await consumeTopic({
    ...words,
    topic,
    format: (partition, record) => words.format(topic, partition, record),
    write: writeOut,
    reachedEnd: words.say,
  })
}

async function consumeAsGroup(words: KcatWords, group: string): Promise<void> {
  const topic = topicOf(words)
  const resets = ['auto.offset.reset=earliest', 'auto.offset.reset=beginning']
  const isEarliest = (words.values.get('property') ?? []).some((each) => resets.includes(each))
  await tailGroup({
    ...words,
    clock: realClock,
    group,
    topic,
    begin: isEarliest ? 'beginning' : 'end',
    format: (partition, record) => words.format(topic, partition, record),
    write: writeOut,
    reachedEnd: words.say,
    signal: interruptSignal(),
  })
}

async function produce(words: KcatWords): Promise<void> {
  const headers = (words.values.get('header') ?? []).map((text) => {
    const [key = '', ...rest] = text.split('=')
    return { key, value: Buffer.from(rest.join('=')) }
  })
  const { client, only, file, keySeparator } = words
  const input = await openInput({
    files: realFiles,
    standardInput: process.stdin,
    file,
    splitArray: false,
    slice: null,
    keySeparator,
    wholeDocument: false,
  })
  const producer = await TopicProducer.open({
    client,
    clock: realClock,
    topic: topicOf(words),
    only,
  })
  for await (const record of input.records) await producer.send({ ...record, headers })
  await producer.flush()
}

/** `events [0] offset 15`, as kcat -Q prints it. */
async function query(words: KcatWords): Promise<void> {
  const [topic = '', partition = '0', time = '-1'] = topicOf(words).split(':')
  const number = parseWhole(partition, '-t', 0)
  const found = await fetchOffsets(words.client, topic, [number], Number(time))
  printLine(`${topic} [${number}] offset ${found.get(number) ?? -1}`)
}
