import { defineCommand } from 'citty'
import { realClock } from '../../core/clock.ts'
import { QuestlogError } from '../../core/errors.ts'
import { realFiles } from '../../core/files.ts'
import { formatMany } from '../../app/words.ts'
import { parseWhole } from '../arguments.ts'
import { brokerArguments, openBroker } from '../broker.ts'
import { exitCodes, printLine, printWord } from '../output.ts'
import { openInput, type ProduceInput, type Slice } from '../produce-input.ts'
import { TopicProducer } from '../producer.ts'
import { ProgressBar } from '../progress-bar.ts'

export const produceCommand = defineCommand({
  args: {
    topic: { type: 'positional', required: true, description: 'name of the topic' },
    file: {
      type: 'string',
      alias: 'f',
      valueHint: 'FILE',
      description: 'read this file instead of standard input; a .json file is one record',
    },
    'split-array': {
      type: 'boolean',
      description: 'the input is a JSON array: each element becomes a record',
    },
    slice: {
      type: 'string',
      valueHint: 'A:B',
      description:
        'elements A up to but without B of a JSON array, as one record (N: that element alone); with --split-array one record each',
    },
    'key-separator': {
      type: 'string',
      alias: 'K',
      valueHint: 'SEP',
      description: 'a line is KEY, SEP, VALUE',
    },
    header: {
      type: 'string',
      alias: 'H',
      valueHint: 'NAME=VALUE',
      description: 'record header; may be repeated',
    },
    partition: { type: 'string', alias: 'p', valueHint: 'N', description: 'to this partition' },
    ...brokerArguments,
  },
  async run({ args, data }) {
    const values = data as ReadonlyMap<string, readonly string[]> // run-command hands over every value of repeated options
    const headers = (values.get('header') ?? []).map(parseHeader)
    const only =
      args.partition === undefined ? undefined : parseWhole(args.partition, '--partition', 0)
    const input = await openInput({
      files: realFiles,
      standardInput: process.stdin,
      file: args.file ?? null,
      splitArray: args['split-array'] === true,
      slice: args.slice === undefined ? null : parseSlice(args.slice),
      keySeparator: args['key-separator'] ?? null,
      wholeDocument: true,
    })
    const client = await openBroker(args)
    try {
      const producer = await TopicProducer.open({
        client,
        clock: realClock,
        topic: args.topic,
        only,
      })
      await sendAll(producer, input, headers, args.topic)
      return exitCodes.ok
    } finally {
      await client.close()
    }
  },
})

async function sendAll(
  producer: TopicProducer,
  input: ProduceInput,
  headers: readonly { key: string; value: Buffer }[],
  topic: string,
): Promise<void> {
  const bar = new ProgressBar(realClock, input.size)
  try {
    for await (const { key, value } of input.records) {
      await producer.send({ key, value, headers })
      bar.show(input.position())
    }
    await producer.flush()
  } catch (error) {
    bar.clear()
    printWord(`${formatMany(producer.count, 'record')} were acknowledged before this error`)
    throw error
  }
  bar.clear()
  for (const { partition, firstOffset, lastOffset, count } of producer.produced) {
    const offsets =
      count === 1 ? `offset ${firstOffset}` : `offsets ${firstOffset} to ${lastOffset}`
    printLine(`Produced ${formatMany(count, 'record')} to ${topic}/${partition}, ${offsets}`)
  }
  if (producer.count === 0) printLine('Produced 0 records: the input is empty')
  else printWord(`from ${input.shape}`)
}

/** `0:1000`, `3279:`, `:10` or `3279`. */
export function parseSlice(text: string): Slice {
  const match = /^(\d{0,15})(?:(:)(\d{0,15}))?$/.exec(text)
  const [, from = '', colon, to = ''] = match ?? []
  if (match === null || text === '' || text === ':')
    throw new QuestlogError('USAGE', `--slice is "${text}", but must be A:B, A:, :B or N`)
  if (colon === undefined) return { kind: 'one', index: Number(from) }
  const slice = {
    kind: 'range',
    from: Number(from),
    to: to === '' ? Infinity : Number(to),
  } as const
  if (slice.to > slice.from) return slice
  throw new QuestlogError('USAGE', `--slice ${text} holds nothing: the end is excluded`)
}

function parseHeader(text: string): { key: string; value: Buffer } {
  const equals = text.indexOf('=')
  if (equals > 0) return { key: text.slice(0, equals), value: Buffer.from(text.slice(equals + 1)) }
  throw new QuestlogError('USAGE', `--header is "${text}", but must be NAME=VALUE`)
}
