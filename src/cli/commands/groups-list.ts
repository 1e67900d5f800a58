import { defineCommand } from 'citty'
import { brokerArguments, openBroker } from '../broker.ts'
import { listGroups } from '../groups.ts'
import { exitCodes, printLines } from '../output.ts'

export const groupsListCommand = defineCommand({
  args: brokerArguments,
  async run({ args }) {
    const client = await openBroker(args)
    try {
      printLines(await listGroups(client))
      return exitCodes.ok
    } finally {
      await client.close()
    }
  },
})
