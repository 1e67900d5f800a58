import { printWord } from './output.ts'

/** Arguments of all `topics` commands; the last two are those of kafka-topics, so that its lines can be pasted. */
export const clusterArguments = {
  data: { type: 'string', valueHint: 'DIR', description: 'data folder' },
  zookeeper: { type: 'string', valueHint: 'HOST:PORT', description: 'accepted, not needed' },
  'bootstrap-server': {
    type: 'string',
    valueHint: 'HOST:PORT',
    description: 'accepted, not needed',
  },
} as const

export function noteCluster(args: {
  readonly zookeeper?: string | undefined
  readonly 'bootstrap-server'?: string | undefined
}): void {
  if (args.zookeeper !== undefined)
    printWord('--zookeeper is not needed: there is no ZooKeeper, the log keeps its own topics')
  if (args['bootstrap-server'] !== undefined)
    printWord('--bootstrap-server is not needed: the running questlog is found by its data folder')
}
