import type { Files } from '../core/files.ts'
import type { TopicStream } from './topic-stream.ts'

/** How far the stream has applied the log, in a small shared file that ingest reads for its back-pressure. */
export interface Progress {
  write(topics: readonly TopicStream[]): void
  close(): void
}

/** Opens `lake/progress`: `{"applied":{topicId:{partition:{"offset":N}}}}`, padded with blanks because it is overwritten in place. */
export function openProgress(files: Files, path: string): Progress {
  const file = files.openShared(path, 'write')
  let size = 0
  return {
    write(topics) {
      const applied = Object.fromEntries(
        topics.map((topic) => [
          topic.topic.id,
          Object.fromEntries(
            Array.from({ length: topic.topic.partitions }, (_, partition) => [
              partition,
              { offset: topic.head(partition) },
            ]),
          ),
        ]),
      )
      const text = JSON.stringify({ applied })
      size = Math.max(size, text.length)
      file.write(Buffer.from(text.padEnd(size)))
    },
    close: () => file.close(),
  }
}
