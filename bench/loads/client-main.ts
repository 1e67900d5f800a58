// The process of a load: takes one job as a message, runs it to its end or to the next message, answers with its result.
import { runBatches } from './batch-load.ts'
import { runGets } from './get-load.ts'
import type { Job, LoadResult } from './jobs.ts'
import { runMixed } from './mixed-load.ts'

const stop = new AbortController()

function run(job: Job): Promise<LoadResult> {
  switch (job.kind) {
    case 'get':
      return runGets(job)
    case 'batches':
      return runBatches(job, stop.signal)
    case 'mixed':
      return runMixed(job)
  }
}

process.once('message', (job) => {
  // Both are sent by startLoad.
  process.once('message', () => stop.abort())
  void run(job as Job).then((result) => process.send?.(result, () => process.exit()))
})
