import { defineCommand } from 'citty'
import { findInstances, requireData } from '../locate.ts'
import { printLine } from '../output.ts'
import { printSqlLines } from '../sql-lines.ts'

export const auditCommand = defineCommand({
  args: { data: { type: 'string', valueHint: 'DIR', description: 'data folder' } },
  async run({ args }) {
    const instances = findInstances(args.data)
    if (instances.some(({ roles }) => roles.includes('lake')))
      return printSqlLines(instances, '/_questlog/audit')
    const { auditStopped } = await import('../../app/audit.ts')
    return auditStopped(requireData(args.data), async (line) => printLine(line))
  },
})
