import { resolve } from 'node:path'
import { defineCommand } from 'citty'
import { roleNames, type RoleName } from '../../app/roles.ts'
import { QuestlogError } from '../../core/errors.ts'
import { parseAddress, parsePort } from '../arguments.ts'
import { standardConfig, standardData } from '../locate.ts'
import { exitCodes, printLines } from '../output.ts'
import { withPortAdvice } from '../port-advice.ts'
import { readVersion } from '../version.ts'

export const upCommand = defineCommand({
  args: {
    detach: { type: 'boolean', alias: 'd', description: 'run in the background' },
    config: {
      type: 'string',
      default: standardConfig,
      valueHint: 'FILE',
      description: 'definition file; saved while running, it is live at once',
    },
    data: { type: 'string', default: standardData, valueHint: 'DIR', description: 'data folder' },
    'collector-port': {
      type: 'string',
      default: '5000',
      valueHint: 'N',
      description: 'port for events over HTTP; 0 = a free one',
    },
    'broker-port': {
      type: 'string',
      default: '9092',
      valueHint: 'N',
      description: 'port for Kafka clients; 0 = a free one',
    },
    advertise: {
      type: 'string',
      valueHint: 'HOST:PORT',
      description: 'what Kafka clients are told to connect to; else the address they have reached',
    },
    'sql-port': {
      type: 'string',
      default: '8080',
      valueHint: 'N',
      description: 'port for SQL; 0 = a free one',
    },
    host: {
      type: 'string',
      default: '127.0.0.1',
      valueHint: 'ADDRESS',
      description: 'address to listen on; others than this machine need --insecure',
    },
    insecure: { type: 'boolean', description: 'let other machines in, without any password' },
    role: { type: 'string', valueHint: 'ingest|lake', description: 'run one process alone' },
    repair: {
      type: 'boolean',
      description: 'set damaged bytes of the log aside instead of refusing to start',
    },
  },
  async run({ args, rawArgs }) {
    const options = {
      data: resolve(args.data),
      config: resolve(args.config),
      cwd: process.cwd(),
      host: args.host,
      insecure: args.insecure === true,
      collectorPort: parsePort(args['collector-port'], 'collector-port'),
      brokerPort: parsePort(args['broker-port'], 'broker-port'),
      sqlPort: parsePort(args['sql-port'], 'sql-port'),
      advertised: args.advertise === undefined ? null : parseAddress(args.advertise, 'advertise'),
      roles: parseRole(args.role),
      repair: args.repair === true,
      version: readVersion(),
    }
    try {
      if (args.detach !== true) {
        const { runForeground } = await import('../../app/up.ts')
        return await runForeground(options)
      }
      const { startDetached } = await import('../../app/up-detached.ts')
      printLines(await startDetached(options))
      return exitCodes.ok
    } catch (error) {
      throw await withPortAdvice(error, rawArgs, options.host)
    }
  },
})

function parseRole(text: string | undefined): readonly RoleName[] {
  if (text === undefined) return roleNames
  const role = roleNames.find((name) => name === text)
  if (role !== undefined) return [role]
  throw new QuestlogError('USAGE', `--role is "${text}", but must be ingest or lake`)
}
