import { defineCommand } from 'citty'
import { realFiles } from '../../core/files.ts'
import { findInstances, requireData } from '../locate.ts'
import { verifyLog } from '../log-verify.ts'
import { exitCodes, printLine } from '../output.ts'

export const logVerifyCommand = defineCommand({
  args: {
    topic: { type: 'string', valueHint: 'NAME', description: 'only this topic' },
    data: { type: 'string', valueHint: 'DIR', description: 'data folder' },
  },
  async run({ args }) {
    const damages = await verifyLog({
      files: realFiles,
      data: requireData(args.data),
      topic: args.topic,
      running: findInstances(args.data).some(({ roles }) => roles.includes('ingest')),
      write: printLine,
    })
    return damages === 0 ? exitCodes.ok : exitCodes.failed
  },
})
