import { defineCommand } from 'citty'
import { QuestlogError } from '../../core/errors.ts'
import { brokerArguments, openBroker } from '../broker.ts'
import { resetGroup, type ResetTarget } from '../groups.ts'
import { exitCodes, printLine } from '../output.ts'

export const groupsResetCommand = defineCommand({
  args: {
    group: { type: 'positional', required: true, description: 'name of the group' },
    topic: { type: 'string', alias: 't', required: true, valueHint: 'NAME', description: 'topic' },
    offset: {
      type: 'string',
      alias: 'o',
      default: 'beginning',
      valueHint: 'beginning|end|N',
      description: 'where the group goes on',
    },
    ...brokerArguments,
  },
  async run({ args }) {
    const target = parseTarget(args.offset)
    const client = await openBroker(args)
    try {
      const offsets = await resetGroup(client, args.group, args.topic, target)
      for (const [partition, offset] of offsets)
        printLine(`${args.topic}/${partition}: group ${args.group} goes on at offset ${offset}`)
      return exitCodes.ok
    } finally {
      await client.close()
    }
  },
})

function parseTarget(text: string): ResetTarget {
  if (text === 'beginning' || text === 'end') return { kind: text }
  if (/^\d{1,15}$/.test(text)) return { kind: 'offset', offset: Number(text) }
  throw new QuestlogError('USAGE', `-o is "${text}", but must be beginning, end or N`)
}
