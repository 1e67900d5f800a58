import { join } from 'node:path'
import type { Clock } from '../core/clock.ts'
import type { Files } from '../core/files.ts'

const lookIntervalMs = 200
/** More than this of an old log is not read at once. */
const readBytesMax = 4 * 1024 * 1024

/** A line of a component's log file, ready to be shown. */
export interface LogLine {
  readonly component: string
  readonly text: string
}

/** How far each component's file has been read, bytes. */
export type LogEnds = ReadonlyMap<string, number>

interface TimedLine extends LogLine {
  readonly time: string
}

/** What `run/<component>.log` of these components hold, by time; the last `linesMax` of each. */
export async function readLogs(
  files: Files,
  data: string,
  components: readonly string[],
  linesMax: number | undefined,
): Promise<{ lines: readonly LogLine[]; ends: LogEnds }> {
  const ends = new Map<string, number>()
  const lines: TimedLine[] = []
  for (const component of components) {
    const size = (await files.sizeOf(pathOf(data, component))) ?? 0
    const from = Math.max(0, size - readBytesMax)
    const { texts, end } = await readFrom(files, data, component, from)
    ends.set(component, end)
    const whole = from > 0 ? texts.slice(1) : texts
    const kept = linesMax === undefined ? whole : whole.slice(Math.max(0, whole.length - linesMax))
    lines.push(...timeLines(component, kept))
  }
  return { lines: lines.toSorted(byTime), ends }
}

/** Hands over what is added, until the process is interrupted. A file that was begun anew is read from its start. */
export async function followLogs(
  files: Files,
  clock: Clock,
  data: string,
  from: LogEnds,
  print: (lines: readonly LogLine[]) => void,
  signal?: AbortSignal,
): Promise<void> {
  const ends = new Map(from)
  while (signal?.aborted !== true) {
    const lines: TimedLine[] = []
    for (const [component, end] of ends) {
      const size = (await files.sizeOf(pathOf(data, component))) ?? 0
      if (size === end) continue
      const added = await readFrom(files, data, component, size < end ? 0 : end)
      ends.set(component, added.end)
      lines.push(...timeLines(component, added.texts))
    }
    if (lines.length > 0) print(lines.toSorted(byTime))
    await clock.sleep(lookIntervalMs, signal)
  }
}

function pathOf(data: string, component: string): string {
  return join(data, 'run', `${component}.log`)
}

/** The complete lines from a position on, and the position after them. */
async function readFrom(
  files: Files,
  data: string,
  component: string,
  position: number,
): Promise<{ texts: readonly string[]; end: number }> {
  const path = pathOf(data, component)
  if ((await files.sizeOf(path)) === undefined) return { texts: [], end: 0 }
  const file = await files.openRead(path)
  try {
    const bytes = await file.read(position, readBytesMax)
    const complete = bytes.subarray(0, bytes.lastIndexOf(0x0a) + 1)
    const texts = complete.toString('utf8').split('\n').slice(0, -1)
    return { texts, end: position + complete.length }
  } finally {
    await file.close()
  }
}

/** Lines that are not ours (a stack trace of a crash) keep the time of the line before. */
function timeLines(component: string, texts: readonly string[]): TimedLine[] {
  let time = ''
  return texts.map((text) => {
    const entry = parseEntry(text)
    time = entry?.time ?? time
    return { component, time, text: entry === undefined ? text : formatEntry(entry) }
  })
}

function byTime(one: TimedLine, other: TimedLine): number {
  return one.time < other.time ? -1 : one.time > other.time ? 1 : 0
}

interface Entry {
  readonly time: string
  readonly level: string
  readonly text: string
  readonly facts: Readonly<Record<string, unknown>>
}

function parseEntry(line: string): Entry | undefined {
  if (!line.startsWith('{')) return undefined
  try {
    const parsed = JSON.parse(line) as Record<string, unknown> // checked below
    const { time, level, component: _, text, ...facts } = parsed
    if (typeof time !== 'string' || typeof level !== 'string' || typeof text !== 'string')
      return undefined
    return { time, level, text, facts }
  } catch {
    return undefined
  }
}

/** `2026-07-26T22:36:27.123Z warn text name=value` */
function formatEntry({ time, level, text, facts }: Entry): string {
  const values = Object.entries(facts).map(
    ([name, value]) =>
      ` ${name}=${typeof value === 'string' ? quoteText(value) : JSON.stringify(value)}`,
  )
  return `${time} ${level.padEnd(5)} ${text}${values.join('')}`
}

function quoteText(text: string): string {
  return /^[\w./:@-]+$/.test(text) ? text : JSON.stringify(text)
}
