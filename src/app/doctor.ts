import { join } from 'node:path'
import type { Clock } from '../core/clock.ts'
import { systemErrorCode } from '../core/errors.ts'
import type { Files } from '../core/files.ts'
import { exists, listNames } from '../core/host.ts'
import { isLocked } from '../core/lock.ts'
import { findStaleNotes, readInstances } from './instance.ts'
import { formatBytes, formatMany } from './words.ts'

/** What one look at the machine or the data folder found. */
export interface Finding {
  readonly name: string
  /** look: it works, but something should be known; bad: it can't work, or not safely. */
  readonly level: 'ok' | 'look' | 'bad'
  readonly text: string
  /** What to do; null when there is nothing to do. */
  readonly advice: string | null
}

export function finding(
  name: string,
  level: Finding['level'],
  text: string,
  advice: string | null = null,
): Finding {
  return { name, level, text, advice }
}

const oldestNode = [20, 19] as const

/** `version` as `process.versions.node` has it. */
export function checkNode(version: string): Finding {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  const isOld = major < oldestNode[0] || (major === oldestNode[0] && minor < oldestNode[1])
  return isOld
    ? finding('node', 'bad', `Node ${version}`, `install Node ${oldestNode.join('.')} or newer`)
    : finding('node', 'ok', `Node ${version}`)
}

const syncsMax = 20
const syncTimeMaxMs = 2_000
const slowSyncMs = 20
/** No drive is that fast: the file system lives in memory, or does not pass syncs on. */
const unbelievableSyncMs = 0.02

/** How long a write of 4 KiB takes to reach the disk of a folder: the time that an answer waits at least. */
export async function checkSyncs(files: Files, clock: Clock, folder: string): Promise<Finding> {
  const path = join(folder, `.doctor-${process.pid}`)
  try {
    return judgeSyncs(await timeSyncs(files, clock, path))
  } catch (error) {
    const advice =
      systemErrorCode(error) === 'ENOSPC'
        ? 'make room on this disk'
        : `give this user the right to write in ${folder}, or check the disk`
    return finding('disk', 'bad', `${folder} can't be written and synced: ${String(error)}`, advice)
  } finally {
    if (exists(path)) await files.unlink(path)
  }
}

async function timeSyncs(files: Files, clock: Clock, path: string): Promise<number[]> {
  const file = await files.openAppend(path)
  const bytes = Buffer.alloc(4096, 1)
  const times: number[] = []
  const endMs = clock.monotonicMs() + syncTimeMaxMs
  try {
    while (times.length < syncsMax && (times.length === 0 || clock.monotonicMs() < endMs)) {
      const startMs = clock.monotonicMs()
      await file.append(bytes)
      await file.sync()
      times.push(clock.monotonicMs() - startMs)
    }
  } finally {
    await file.close()
  }
  return times
}

export function judgeSyncs(timesMs: readonly number[]): Finding {
  const sorted = timesMs.toSorted((left, right) => left - right)
  const medianMs = sorted[Math.floor(sorted.length / 2)] ?? 0
  const text = `a sync of 4 KiB takes ${medianMs.toPrecision(2)} ms (median of ${sorted.length})`
  if (medianMs < unbelievableSyncMs)
    return finding(
      'disk',
      'look',
      `${text}: too fast for a disk`,
      'keep the data folder on a disk that survives a power loss, not in memory',
    )
  if (medianMs > slowSyncMs)
    return finding(
      'disk',
      'look',
      `${text}: slow, and every answer waits for one`,
      'send events in batches, use a faster disk, or accept durability "os"',
    )
  return finding('disk', 'ok', text)
}

/** With less than this nothing is safe from filling up within minutes. */
const freeBytesMin = 256 * 1024 * 1024

export async function checkSpace(
  files: Files,
  folder: string,
  freeBytesWarn: number,
): Promise<Finding> {
  const free = await files.freeBytes(folder)
  const text = `${formatBytes(free)} free on the disk of ${folder}`
  if (free < freeBytesMin)
    return finding('space', 'bad', text, 'make room: a full disk answers 503 to every event')
  if (free < freeBytesWarn)
    return finding('space', 'look', text, 'make room, or limit the log with retention.bytes')
  return finding('space', 'ok', text)
}

const clockLookMs = 100
const clockJumpMs = 50
const firstYear = 2025
const lastYear = 2100

/** Whether the wall clock runs as evenly as the one that never jumps, and shows a year of this age. */
export async function checkClock(clock: Clock): Promise<Finding> {
  const [wallMs, steadyMs] = [clock.nowMs(), clock.monotonicMs()]
  await clock.sleep(clockLookMs)
  const jumpMs = clock.nowMs() - wallMs - (clock.monotonicMs() - steadyMs)
  const time = new Date(clock.nowMs())
  const year = time.getUTCFullYear()
  if (year < firstYear || year > lastYear)
    return finding('clock', 'bad', `the clock says ${time.toISOString()}`, 'set the clock (NTP)')
  if (Math.abs(jumpMs) > clockJumpMs)
    return finding(
      'clock',
      'look',
      `the clock jumped by ${Math.round(jumpMs)} ms within ${clockLookMs} ms`,
      'let NTP slew the clock instead of stepping it; events get the time of their arrival',
    )
  return finding('clock', 'ok', `${time.toISOString()}, runs evenly`)
}

/** Notes and locks of processes: those that a crash left, and those that are held although nothing runs. */
export function checkNotes(data: string, environment: NodeJS.ProcessEnv): Finding {
  const running = readInstances(data)
  const held = running.length > 0 ? [] : heldLocks(data)
  if (held.length > 0)
    return finding(
      'notes',
      'bad',
      `no questlog runs on ${data}, but a process holds ${held.join(' and ')}`,
      `it should end within seconds; see who it is with \`fuser ${held[0]}\``,
    )
  const pids = running.map(({ pid }) => pid).join(' and ')
  const text = running.length === 0 ? 'nothing runs here' : `runs as pid ${pids}`
  const stale = findStaleNotes(data, environment)
  if (stale.length === 0) return finding('notes', 'ok', text)
  return finding(
    'notes',
    'look',
    `${text}; left by a process that did not end by itself: ${stale.join(', ')}`,
    'nothing to do: the next start replaces or ignores it',
  )
}

function heldLocks(data: string): string[] {
  return [
    'run/supervisor.lock',
    'run/supervisor-lake.lock',
    'run/supervisor-ingest.lock',
    'log/lock',
    'lake/lock',
  ]
    .map((name) => join(data, name))
    .filter((path) => exists(path) && isLocked(path))
}

/** Files that an interrupted write left. While something runs they may be under way, and are not looked for. */
export async function checkLeftovers(files: Files, data: string): Promise<Finding> {
  if (readInstances(data).length > 0)
    return finding('leftovers', 'ok', 'not looked for while it runs')
  const found: string[] = []
  for (const folder of await foldersOf(files, data))
    for (const name of await listFiles(files, folder))
      if (isLeftover(name)) found.push(join(folder, name))
  for (const folder of ['duckdb-temp', 'merging-temp'].map((name) => join(data, 'run', name)))
    for (const name of await listFiles(files, folder)) found.push(join(folder, name))
  if (found.length === 0) return finding('leftovers', 'ok', 'no temporary files are left over')
  return finding(
    'leftovers',
    'look',
    `${formatMany(found.length, 'temporary file')} left over, such as ${found[0]}`,
    'harmless; they may be deleted while nothing runs',
  )
}

function isLeftover(name: string): boolean {
  return /\.(?:new|tmp)$/.test(name) || /^\.(?:probe|doctor)-\d+$/.test(name)
}

/** The folders that questlog itself writes to; data files of tables have their final names at once. */
async function foldersOf(files: Files, data: string): Promise<string[]> {
  const below = async (folder: string) =>
    (await listFiles(files, folder)).map((name) => join(folder, name))
  const namespaces = await below(join(data, 'lake'))
  const tables = (await Promise.all(namespaces.map(below))).flat()
  return [
    ...['', 'log', 'lake', 'definitions', 'run'].map((name) => join(data, name)),
    ...(await below(join(data, 'log'))),
    ...tables.map((table) => join(table, 'metadata')),
  ]
}

/** Names in a folder; none of what is a file itself. */
async function listFiles(files: Files, folder: string): Promise<string[]> {
  try {
    return await files.list(folder)
  } catch (error) {
    if (systemErrorCode(error) === 'ENOTDIR') return []
    throw error
  }
}

/** Whether the data folder is one that a start would take: it is not there yet, or it is a folder with a log. */
export function checkData(data: string): Finding {
  if (!exists(data)) return finding('data', 'ok', `${data} is not there yet; \`up\` makes it`)
  if (exists(join(data, 'backup.json')))
    return finding(
      'data',
      'bad',
      `${data} is a backup`,
      'make a data folder of it: `questlog restore`',
    )
  const partitions = listNames(join(data, 'log')).filter((name) => /-\d+$/.test(name))
  if (partitions.length > 0 && !exists(join(data, 'log', 'meta')))
    return finding(
      'data',
      'bad',
      `${data} has no log/meta: an interrupted restore, or a lost file`,
      'restore once more into an empty folder, or put the file back from a copy',
    )
  return finding('data', 'ok', data)
}
