import { defineCommand } from 'citty'
import { QuestlogError } from '../../core/errors.ts'
import { parseConfig, parseWhole } from '../arguments.ts'
import { exitCodes, printLines } from '../output.ts'
import { clusterArguments, noteCluster } from '../topic-arguments.ts'
import { describeTopic, openTopics, requireTopic } from '../topics.ts'

export const topicsAlterCommand = defineCommand({
  args: {
    name: { type: 'positional', required: true, description: 'name of the topic' },
    partitions: {
      type: 'string',
      alias: 'p',
      valueHint: 'N',
      description: 'new number of partitions: more than before; keys move to other partitions',
    },
    config: {
      type: 'string',
      alias: 'c',
      valueHint: 'NAME=VALUE',
      description: 'new value of a config; may be repeated',
    },
    'delete-config': {
      type: 'string',
      valueHint: 'NAME',
      description: 'back to the default; may be repeated',
    },
    ...clusterArguments,
  },
  async run({ args, data }) {
    noteCluster(args)
    const values = data as ReadonlyMap<string, readonly string[]> // run-command hands over every value of repeated options
    const configs = Object.fromEntries<string | null>([
      ...(values.get('config') ?? []).map(parseConfig),
      ...(values.get('delete-config') ?? []).map((name) => [name, null] as const),
    ])
    const partitions =
      args.partitions === undefined ? null : parseWhole(args.partitions, '--partitions', 1)
    if (partitions === null && Object.keys(configs).length === 0)
      throw new QuestlogError(
        'USAGE',
        'one of --partitions, --config and --delete-config is needed',
      )
    const topics = await openTopics(args.data)
    try {
      requireTopic(await topics.list(), args.name)
      printLines(describeTopic(await topics.alter({ name: args.name, partitions, configs })))
      return exitCodes.ok
    } finally {
      await topics.close()
    }
  },
})
