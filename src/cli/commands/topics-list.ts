import { defineCommand } from 'citty'
import { exitCodes, printLines } from '../output.ts'
import { clusterArguments, noteCluster } from '../topic-arguments.ts'
import { readTopics } from '../topics.ts'

export const topicsListCommand = defineCommand({
  args: clusterArguments,
  async run({ args }) {
    noteCluster(args)
    const topics = await readTopics(args.data)
    printLines(topics.map((topic) => topic.name).toSorted())
    return exitCodes.ok
  },
})
