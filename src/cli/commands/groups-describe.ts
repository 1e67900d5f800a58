import { defineCommand } from 'citty'
import { formatMany } from '../../app/words.ts'
import { brokerArguments, openBroker } from '../broker.ts'
import { describeGroup, type GroupDescription, type GroupPosition } from '../groups.ts'
import { exitCodes, printLine, printLines } from '../output.ts'

export const groupsDescribeCommand = defineCommand({
  args: {
    group: { type: 'positional', required: true, description: 'name of the group' },
    json: { type: 'boolean', description: 'print JSON' },
    ...brokerArguments,
  },
  async run({ args }) {
    const client = await openBroker(args)
    try {
      const description = await describeGroup(client, args.group)
      if (args.json === true) printLine(JSON.stringify({ group: args.group, ...description }))
      else printLines(formatGroup(args.group, description))
      return exitCodes.ok
    } finally {
      await client.close()
    }
  },
})

/** What a group has read, partition by partition, and who is in it. */
export function formatGroup(group: string, description: GroupDescription): string[] {
  const { state, members, positions } = description
  return [
    `group ${group}: ${state.toLowerCase()}, ${formatMany(members.length, 'member')}`,
    ...positions.map(formatPosition),
    ...members.map(({ id, client, host }) => `  member ${id}, client ${client}, from ${host}`),
  ]
}

function formatPosition({ topic, partition, committed, end }: GroupPosition): string {
  const place = `  ${topic}/${partition}`
  if (committed < 0) return `${place}: nothing committed, end ${end}`
  return `${place}: committed ${committed} of ${end}, behind by ${formatMany(end - committed, 'record')}`
}
