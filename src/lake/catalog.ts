import { join } from 'node:path'
import { systemErrorCode } from '../core/errors.ts'
import type { Files } from '../core/files.ts'
import { metadataFolder } from './location.ts'
import { findVersion } from './versions.ts'

/** The folder is the catalog: every `<namespace>/<table>` below the lake folder with at least one version of metadata, in the order of their names. */
export async function listTables(
  files: Files,
  lakeFolder: string,
): Promise<readonly { namespace: string; name: string }[]> {
  const tables: { namespace: string; name: string }[] = []
  for (const namespace of await listFolder(files, lakeFolder)) {
    for (const name of await listFolder(files, join(lakeFolder, namespace))) {
      const folder = metadataFolder(join(lakeFolder, namespace, name))
      if ((await findVersionIn(files, folder)) > 0) tables.push({ namespace, name })
    }
  }
  return tables
}

async function findVersionIn(files: Files, folder: string): Promise<number> {
  return findVersion(files, folder).catch((error: unknown) => ifNotAFolder(error, 0))
}

async function listFolder(files: Files, path: string): Promise<string[]> {
  return files.list(path).catch((error: unknown) => ifNotAFolder(error, []))
}

/** Other files may lie between the folders. */
function ifNotAFolder<T>(error: unknown, value: T): T {
  if (systemErrorCode(error) === 'ENOTDIR') return value
  throw error
}
