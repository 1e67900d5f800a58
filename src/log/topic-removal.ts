import { join } from 'node:path'
import { systemErrorCode } from '../core/errors.ts'
import type { Files } from '../core/files.ts'
import { indexPath, listSegments, segmentPath, topicOfFolder } from './layout.ts'

/** Removes the folders of a topic's partitions, and all that is in them. It can be interrupted and repeated. */
export async function removeTopicFolders(
  files: Files,
  logFolder: string,
  topic: string,
): Promise<void> {
  const names = await files.list(logFolder)
  const folders = names.filter((name) => topicOfFolder(name) === topic)
  for (const folder of folders) {
    const path = join(logFolder, folder)
    for (const name of await files.list(path)) await ignoreMissing(files.unlink(join(path, name)))
    await files.syncFolder(path)
    await ignoreMissing(files.removeFolder(path))
  }
  if (folders.length > 0) await files.syncFolder(logFolder)
}

/** Removes what can be made anew of a partition: that makes room on a full disk. */
export async function removeIndexes(files: Files, folder: string): Promise<void> {
  for (const baseOffset of await listSegments(files, folder))
    await ignoreMissing(files.unlink(indexPath(segmentPath(folder, baseOffset))))
}

async function ignoreMissing(work: Promise<void>): Promise<void> {
  try {
    await work
  } catch (error) {
    if (systemErrorCode(error) !== 'ENOENT') throw error
  }
}
