import { join } from 'node:path'
import type { Clock } from '../core/clock.ts'
import { QuestlogError } from '../core/errors.ts'
import type { Files } from '../core/files.ts'
import { exists } from '../core/host.ts'
import { acquireLock } from '../core/lock.ts'
import { LogReader } from '../log/reader.ts'
import type { PartitionWatermark } from '../log/record.ts'
import { readStoppedEnds } from '../log/stopped-ends.ts'
import { fetchStatus } from './control-client.ts'
import { readInstances } from './instance.ts'

/** How far the log reaches, asked for again and again. */
export interface LogEnds {
  read(): Promise<readonly PartitionWatermark[]>
  close(): Promise<void>
}

/** A process that is being started again, or that a lock is waited for, has this long. */
const waitMs = 30_000
const lookIntervalMs = 100

/**
 * The ends of a log, whoever owns it at the moment of each read. While ingest runs, its watermark file tells. When nothing runs the file may be old, since a power
 * loss does not keep it: the last segments are read instead, with the log's lock held for that moment. NOT_RUNNING or ALREADY_RUNNING when ingest neither runs nor rests for
 * half a minute.
 */
export function openLogEnds(files: Files, clock: Clock, data: string): LogEnds {
  const folder = join(data, 'log')
  const reader = new LogReader(files, folder)
  return {
    async read() {
      const endMs = clock.monotonicMs() + waitMs
      for (;;) {
        const state = await ingestState(data)
        if (state === 'running') return reader.watermark()?.partitions ?? []
        const ends = state === undefined ? await readLocked(files, folder) : undefined
        if (ends !== undefined) return ends
        if (clock.monotonicMs() > endMs) throw stuck(data, state)
        await clock.sleep(lookIntervalMs)
      }
    },
    close: () => reader.close(),
  }
}

/** Undefined when none is meant to run. A supervisor that does not answer is one that is just ending or starting. */
async function ingestState(data: string): Promise<string | undefined> {
  const owner = readInstances(data).find(({ roles }) => roles.includes('ingest'))
  if (owner === undefined) return undefined
  try {
    const { components } = await fetchStatus(owner)
    return components.find(({ name }) => name === 'ingest')?.state ?? 'stopped'
  } catch (error) {
    if (error instanceof QuestlogError && error.code === 'NOT_RUNNING') return 'not answering'
    throw error
  }
}

/** Undefined when another process holds the log. */
async function readLocked(
  files: Files,
  folder: string,
): Promise<readonly PartitionWatermark[] | undefined> {
  const path = join(folder, 'lock')
  if (!exists(path)) return readStoppedEnds(files, folder) // nothing has ever run here
  const lock = acquireLock(path)
  if (lock === undefined) return undefined
  try {
    return await readStoppedEnds(files, folder)
  } finally {
    lock.release()
  }
}

function stuck(data: string, state: string | undefined): QuestlogError {
  if (state === undefined)
    return new QuestlogError('ALREADY_RUNNING', `another process holds ${join(data, 'log')}`, {
      data,
    })
  return new QuestlogError(
    'NOT_RUNNING',
    `ingest is ${state} and did not come back within ${waitMs / 1000} s`,
    { data },
    { hint: 'see `questlog ps`; stop it with `questlog down` to copy a folder at rest' },
  )
}
