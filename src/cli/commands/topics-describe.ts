import { defineCommand } from 'citty'
import { exitCodes, printLines } from '../output.ts'
import { clusterArguments, noteCluster } from '../topic-arguments.ts'
import { requireTopic, describeTopic, readTopics } from '../topics.ts'

export const topicsDescribeCommand = defineCommand({
  args: {
    name: { type: 'positional', required: false, description: 'name of the topic; all otherwise' },
    ...clusterArguments,
  },
  async run({ args }) {
    noteCluster(args)
    const topics = await readTopics(args.data)
    const wanted = args.name === undefined ? topics : [requireTopic(topics, args.name)]
    printLines(wanted.flatMap(describeTopic))
    return exitCodes.ok
  },
})
