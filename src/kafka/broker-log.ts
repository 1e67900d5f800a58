import type { EventLog } from '../log/event-log.ts'

/** What the broker uses of the log. */
export type BrokerLog = Pick<
  EventLog,
  | 'addPartitions'
  | 'appendBatches'
  | 'appendMarker'
  | 'createTopic'
  | 'deleteRecords'
  | 'deleteTopic'
  | 'hasRoom'
  | 'onAdvance'
  | 'partition'
  | 'producers'
  | 'setConfigs'
  | 'topic'
  | 'topics'
>

/** Keeps clients from deleting what tables have not taken. */
export interface TopicGuard {
  /** Names of the tables that read the topic. */
  tablesOf(topicId: string): readonly string[]
  /** The offset below which all of them have committed; Infinity without tables. */
  committed(topicId: string, partition: number): Promise<number>
}
