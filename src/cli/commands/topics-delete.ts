import { defineCommand } from 'citty'
import { exitCodes, printLine } from '../output.ts'
import { clusterArguments, noteCluster } from '../topic-arguments.ts'
import { openTopics, requireTopic } from '../topics.ts'

export const topicsDeleteCommand = defineCommand({
  args: {
    name: { type: 'positional', required: true, description: 'name of the topic' },
    force: { type: 'boolean', description: 'also when tables read it: they keep their rows' },
    'if-exists': { type: 'boolean', description: 'accept that it is not there' },
    ...clusterArguments,
  },
  async run({ args }) {
    noteCluster(args)
    const topics = await openTopics(args.data)
    try {
      const known = await topics.list()
      if (args['if-exists'] === true && !known.some(({ name }) => name === args.name))
        return exitCodes.ok
      const { name } = requireTopic(known, args.name)
      await topics.delete({ name, force: args.force === true })
      printLine(`Deleted topic "${name}".`)
      return exitCodes.ok
    } finally {
      await topics.close()
    }
  },
})
