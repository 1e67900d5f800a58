import { resolve } from 'node:path'
import { defineCommand } from 'citty'
import { realClock } from '../../core/clock.ts'
import { realFiles } from '../../core/files.ts'
import { definitionOf, examine, findingLines, findingsJson, isHealthy } from '../doctor.ts'
import { findInstances, standardConfig, standardData } from '../locate.ts'
import { exitCodes, printLine, printLines } from '../output.ts'

export const doctorCommand = defineCommand({
  args: {
    data: { type: 'string', valueHint: 'DIR', description: 'data folder' },
    config: { type: 'string', valueHint: 'FILE', description: 'definition file' },
    json: { type: 'boolean', description: 'one line of JSON' },
  },
  async run({ args }) {
    const data = findInstances(args.data)[0]?.data ?? resolve(args.data ?? standardData)
    const config = args.config === undefined ? undefined : resolve(args.config)
    const findings = await examine({
      files: realFiles,
      clock: realClock,
      data,
      config: definitionOf(data, config, standardConfig),
      environment: process.env,
      nodeVersion: process.versions.node,
    })
    if (args.json === true) printLine(findingsJson(findings))
    else printLines(findingLines(findings))
    return isHealthy(findings) ? exitCodes.ok : exitCodes.failed
  },
})
