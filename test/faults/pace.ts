import { readFileSync } from 'node:fs'

/** What `work` takes on the machine on which the limits of pauses were set, while it does nothing else. */
const referenceMs = 120

/** Milliseconds that the main thread of this process has run, as in loop-probe.mjs. */
function busyMs(): number {
  return Number(readFileSync('/proc/self/schedstat', 'latin1').split(' ', 1)[0]) / 1e6
}

const text = JSON.stringify(Array.from({ length: 6_000 }, (_, n) => ({ n, text: 'x'.repeat(99) })))

/** Work of the kind that keeps an event loop busy: texts are read, changed and written. */
function work(): void {
  const items = JSON.parse(text) as { n: number; text: string }[]
  const counts = new Map<string, number>()
  for (const { n, text: value } of items) {
    const key = `${value.slice(n % 90)}${n % 997}`
    counts.set(key, (counts.get(key) ?? 0) + 1)
  }
  Buffer.from(JSON.stringify([...counts]))
    .toString('latin1')
    .split(',')
}

/** The time is counted in steps of some milliseconds: enough work for it not to matter. */
function measure(): number {
  const startMs = busyMs()
  for (let round = 0; round < 20; round++) work()
  return busyMs() - startMs
}

/** How many times slower this machine is at present than the one on which the limits were set; 1 when it is not. Processor time, so that other processes hardly count. */
export function slowness(): number {
  const times = Array.from({ length: 4 }, measure)
  return Math.max(1, Math.min(...times) / referenceMs)
}
