import { join } from 'node:path'

/**
 * A location is how Iceberg files name each other: `file://` and the absolute path, character for character. Readers (Hadoop's Path, PyIceberg,
 * Trino) take what follows the scheme literally, so nothing is percent-encoded: an encoded space would name another folder.
 */
export function locationOf(path: string): string {
  return `file://${path}`
}

/** The absolute path that a location names. `file:/path`, as Hadoop writes it, is understood too; so is a bare path. */
export function pathOf(location: string): string {
  return location.replace(/^file:(?:\/\/)?(?=\/)/, '')
}

export function metadataFolder(tableFolder: string): string {
  return join(tableFolder, 'metadata')
}

/** Where the data files of a day lie; `day` is `YYYY-MM-DD`, or null for a row without a time. Without partitions it is the data folder itself. */
export function dataFolder(tableFolder: string, partition: { day: string | null } | null): string {
  const folder = join(tableFolder, 'data')
  return partition === null ? folder : join(folder, `${dayPartition}=${partition.day ?? 'null'}`)
}

/** Name of the partition field: the UTC day of `_timestamp`. */
export const dayPartition = '_timestamp_day'
