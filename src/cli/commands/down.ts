import { defineCommand } from 'citty'
import { requestStop } from '../../app/control-client.ts'
import { requireInstances } from '../locate.ts'
import { exitCodes, printLine } from '../output.ts'

export const downCommand = defineCommand({
  args: { data: { type: 'string', valueHint: 'DIR', description: 'data folder' } },
  async run({ args }) {
    // With a process each, ingest stops first: lake then commits what it answered.
    const instances = requireInstances(args.data)
    const order = instances.toSorted(
      (one, other) => Number(other.roles.includes('ingest')) - Number(one.roles.includes('ingest')),
    )
    for (const instance of order) await requestStop(instance, printLine)
    return exitCodes.ok
  },
})
