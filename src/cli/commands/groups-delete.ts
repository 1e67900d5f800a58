import { defineCommand } from 'citty'
import { brokerArguments, openBroker } from '../broker.ts'
import { deleteGroup } from '../groups.ts'
import { exitCodes, printLine } from '../output.ts'

export const groupsDeleteCommand = defineCommand({
  args: {
    group: { type: 'positional', required: true, description: 'name of the group' },
    ...brokerArguments,
  },
  async run({ args }) {
    const client = await openBroker(args)
    try {
      await deleteGroup(client, args.group)
      printLine(`Deleted group ${args.group}`)
      return exitCodes.ok
    } finally {
      await client.close()
    }
  },
})
