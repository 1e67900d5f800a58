import { defineCommand } from 'citty'
import { fetchStatus } from '../../app/control-client.ts'
import { joinEndpoints } from '../../app/instance.ts'
import { findInstances } from '../locate.ts'
import { exitCodes, printLine, printLines } from '../output.ts'
import { psJson, psLines } from '../ps-format.ts'

export const psCommand = defineCommand({
  args: {
    data: { type: 'string', valueHint: 'DIR', description: 'data folder' },
    json: { type: 'boolean', description: 'print the documented JSON' },
  },
  async run({ args }) {
    const instances = findInstances(args.data)
    const statuses = await Promise.all(instances.map((instance) => fetchStatus(instance)))
    if (args.json === true) printLine(JSON.stringify(psJson(joinEndpoints(instances), statuses)))
    else printLines(psLines(statuses))
    return exitCodes.ok
  },
})
