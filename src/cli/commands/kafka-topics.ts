import { defineCommand } from 'citty'
import { QuestlogError } from '../../core/errors.ts'
import { findCommand } from '../command-list.ts'
import { runCommandWords } from '../run-command.ts'
import { clusterArguments } from '../topic-arguments.ts'

/** kafka-topics.sh with the flags of the write-ups; each becomes one of our own `topics` commands. */
export const kafkaTopicsCommand = defineCommand({
  args: {
    create: { type: 'boolean', description: 'create a topic' },
    describe: { type: 'boolean', description: 'partitions and configs' },
    list: { type: 'boolean', description: 'names of all topics' },
    alter: { type: 'boolean', description: 'change configs or add partitions' },
    delete: { type: 'boolean', description: 'delete a topic' },
    topic: { type: 'string', valueHint: 'NAME', description: 'topic' },
    partitions: { type: 'string', valueHint: 'N', description: 'number of partitions' },
    'replication-factor': { type: 'string', valueHint: 'N', description: 'always 1' },
    config: { type: 'string', valueHint: 'NAME=VALUE', description: 'config; may be repeated' },
    'if-not-exists': { type: 'boolean', description: 'accept a topic that is there already' },
    'if-exists': { type: 'boolean', description: 'accept that a topic is not there' },
    ...clusterArguments,
  },
  async run({ args, data }) {
    const values = data as ReadonlyMap<string, readonly string[]> // run-command hands over every value of repeated options
    const actions = (['create', 'describe', 'list', 'alter', 'delete'] as const).filter(
      (name) => args[name] === true,
    )
    const [action] = actions
    if (action === undefined || actions.length > 1)
      throw new QuestlogError(
        'USAGE',
        'kafka-topics takes one of --create, --describe, --list, --alter and --delete',
      )
    const words = ['topics', action, ...(args.topic === undefined ? [] : [args.topic])]
    for (const name of passedOn)
      for (const value of values.get(name) ?? []) words.push(`--${name}`, value)
    if (args['if-not-exists'] === true) words.push('--if-not-exists')
    if (args['if-exists'] === true) words.push('--if-exists')
    const { row, rest } = findCommand(words)
    if (row === undefined) throw new QuestlogError('USAGE', `there is no topics ${action}`)
    return runCommandWords(row, rest)
  },
})

const passedOn = [
  'partitions',
  'replication-factor',
  'config',
  'data',
  'zookeeper',
  'bootstrap-server',
] as const
