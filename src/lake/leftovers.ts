import type { Files } from '../core/files.ts'

/**
 * Removes what an attempt has written that failed before anything could name it: on a full disk the remains of each attempt would take the room
 * that the next one needs. Only for names that the caller has made up itself. Errors are dropped: an orphan costs nothing but its bytes.
 */
export async function removeLeftovers(files: Files, paths: readonly string[]): Promise<void> {
  await Promise.allSettled(paths.map((path) => files.unlink(path)))
}
