import { closeSync, mkdirSync, openSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname } from 'node:path'

const load = createRequire(import.meta.url)

/** A kernel lock on a file. The kernel releases it when the process ends, however it ends. */
export interface ProcessLock {
  release(): void
}

/** Takes the lock, or returns undefined when another process holds it. The file stays; only the lock on it means something. */
export function acquireLock(path: string): ProcessLock | undefined {
  mkdirSync(dirname(path), { recursive: true })
  const fd = openSync(path, 'a+')
  // Most commands take no lock, and the addon looks for its file in many places.
  const { tryLock } = load('fs-native-extensions') as typeof import('fs-native-extensions')
  if (!tryLock(fd)) {
    closeSync(fd)
    return undefined
  }
  return { release: () => closeSync(fd) }
}

/** Whether a process holds the lock now. */
export function isLocked(path: string): boolean {
  const lock = acquireLock(path)
  lock?.release()
  return lock === undefined
}
