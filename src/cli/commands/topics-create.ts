import { defineCommand } from 'citty'
import { QuestlogError } from '../../core/errors.ts'
import { parseConfig, parseWhole } from '../arguments.ts'
import { exitCodes, printLine } from '../output.ts'
import { clusterArguments, noteCluster } from '../topic-arguments.ts'
import { openTopics } from '../topics.ts'

const partitionsMax = 1_000

export const topicsCreateCommand = defineCommand({
  args: {
    name: { type: 'positional', required: true, description: 'name of the topic' },
    partitions: {
      type: 'string',
      alias: 'p',
      default: '1',
      valueHint: 'N',
      description: 'number of partitions',
    },
    'replication-factor': {
      type: 'string',
      default: '1',
      valueHint: 'N',
      description: 'always 1: questlog is one node',
    },
    config: {
      type: 'string',
      alias: 'c',
      valueHint: 'NAME=VALUE',
      description: 'config of the topic, such as max.message.bytes=5MiB; may be repeated',
    },
    'if-not-exists': { type: 'boolean', description: 'accept a topic that is there already' },
    ...clusterArguments,
  },
  async run({ args, data }) {
    noteCluster(args)
    const partitions = parseWhole(args.partitions, '--partitions', 1)
    if (partitions > partitionsMax)
      throw new QuestlogError(
        'USAGE',
        `--partitions is ${partitions}, but at most ${partitionsMax}`,
      )
    if (args['replication-factor'] !== '1')
      throw new QuestlogError(
        'REPLICATION_INVALID',
        `replication factor ${args['replication-factor']} needs more than one node`,
      )
    const values = data as ReadonlyMap<string, readonly string[]> // run-command hands over every value of repeated options
    const configs = Object.fromEntries((values.get('config') ?? []).map(parseConfig))
    const topics = await openTopics(args.data)
    try {
      const exists = (await topics.list()).some((topic) => topic.name === args.name)
      if (exists && args['if-not-exists'] === true) return exitCodes.ok
      if (exists)
        throw new QuestlogError('TOPIC_EXISTS', `Topic '${args.name}' already exists.`, {
          topic: args.name,
        })
      await topics.create({ name: args.name, partitions, configs })
      printLine(`Created topic "${args.name}".`)
      return exitCodes.ok
    } finally {
      await topics.close()
    }
  },
})
