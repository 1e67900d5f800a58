import { basename, dirname } from 'node:path'
import type { Clock } from '../core/clock.ts'
import { folderSignature, watchFolder } from '../core/host.ts'

/** Editors write a file in several steps; the look at it waits this long after the last of them. */
const debounceMs = 50
/** File systems without notices (network, some containers) are looked at this often. */
const lookIntervalMs = 500

export interface ConfigWatch {
  /** Resolves when a running `saved` has ended. */
  close(): Promise<void>
}

/**
 * Calls `saved` after the definition file, or another source file in its folder that it may import, was saved with another size or time.
 * Calls never overlap; saves during a call lead to one more.
 */
export function watchConfig(config: string, clock: Clock, saved: () => Promise<void>): ConfigWatch {
  const folder = dirname(config)
  const isWanted = (name: string) => name === basename(config) || /\.m?[jt]s$/.test(name)
  let closed = false
  let wake = new AbortController()
  const watcher = watchFolder(folder, (name) => {
    if (name === '' || isWanted(name)) wake.abort()
  })
  const run = async () => {
    let known = folderSignature(folder, isWanted)
    while (!closed) {
      wake = new AbortController()
      await clock.sleep(lookIntervalMs, wake.signal)
      if (wake.signal.aborted && !closed) await clock.sleep(debounceMs)
      const now = folderSignature(folder, isWanted)
      if (now === known || closed) continue
      known = now
      await saved()
    }
  }
  const running = run()
  return {
    async close() {
      closed = true
      wake.abort()
      watcher.close()
      await running
    },
  }
}
