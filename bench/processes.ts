import { fork, type ChildProcess } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** The kernel counts a process's time in these (`getconf CLK_TCK` is 100 on every Linux of today). */
const tickMs = 10

/** Processor time that a process has used, milliseconds; undefined where there is no /proc, or no such process. */
export function processorMs(pid: number): number | undefined {
  const text = readProc(pid, 'stat')
  // The name of the process is in brackets and may hold spaces; utime and stime are fields 14 and 15.
  const fields = text?.slice(text.lastIndexOf(')') + 2).split(' ')
  const ticks = Number(fields?.[11]) + Number(fields?.[12])
  return Number.isFinite(ticks) ? ticks * tickMs : undefined
}

export interface Memory {
  /** Resident set: pages that processes share count in each. */
  readonly residentBytes: number
  /** Proportional set: a page that n processes share counts 1/n in each. */
  readonly proportionalBytes: number
}

/** Memory of a process; undefined where there is no /proc, or no such process. */
export function memoryOf(pid: number): Memory | undefined {
  const text = readProc(pid, 'smaps_rollup')
  if (text === undefined) return undefined
  const bytes = (name: string) =>
    Number(new RegExp(`^${name}: +(\\d+) kB`, 'm').exec(text)?.[1]) * 1024
  return { residentBytes: bytes('Rss'), proportionalBytes: bytes('Pss') }
}

function readProc(pid: number, name: string): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'utf8')
  } catch {
    return undefined
  }
}

const cleanups = new Set<() => Promise<void>>()

/** Has `work` done at the end of the benchmark, however it ends. Returns what withdraws it. */
export function atEnd(work: () => Promise<void>): () => void {
  cleanups.add(work)
  return () => void cleanups.delete(work)
}

/** Does all that is due at the end, the youngest first. */
export async function cleanUp(): Promise<void> {
  const due = [...cleanups].toReversed()
  cleanups.clear()
  for (const work of due) await work().catch((error: unknown) => console.error(error))
}

/** Starts a file of bench/loads in a process of its own, with messages. It is ended with the benchmark. */
export function forkBench(file: string): ChildProcess {
  const child = fork(fileURLToPath(new URL(`loads/${file}`, import.meta.url)), [], {
    execArgv: ['--import', 'jiti/register'],
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  })
  endWithBenchmark(child)
  return child
}

/** Kills a child at the end of the benchmark, unless it has ended before. */
export function endWithBenchmark(child: ChildProcess): void {
  const withdraw = atEnd(async () => void child.kill('SIGKILL'))
  child.once('exit', withdraw)
}

/** The next message of a child. Rejects when it ends without one. */
export function nextMessage(child: ChildProcess): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const onExit = (code: number | null, signal: string | null) =>
      reject(new Error(`a load process ended with ${signal ?? code}`))
    child.once('exit', onExit)
    child.once('error', reject)
    child.once('message', (message) => {
      child.off('exit', onExit)
      resolve(message)
    })
  })
}

export const pause = (delayMs: number) =>
  new Promise<void>((resolve) => {
    setTimeout(resolve, delayMs)
  })

/** Asks again until the answer is there; an error names what was waited for. */
export async function waitFor<T>(
  what: string,
  timeoutMs: number,
  look: () => Promise<T | undefined>,
  intervalMs = 50,
): Promise<T> {
  const endMs = performance.now() + timeoutMs
  for (;;) {
    const found = await look()
    if (found !== undefined) return found
    if (performance.now() > endMs) throw new Error(`${what}: not within ${timeoutMs} ms`)
    await pause(intervalMs)
  }
}
