import { duckdbType, quoteName } from '../plan/columns.ts'
import { buildAppend, commitProperties } from './append.ts'
import { metadataFolder } from './location.ts'
import { encodeMetadata } from './metadata.ts'
import { copyFile, type DataFilesOptions } from './parquet.ts'
import type { LakeTable } from './table.ts'

/**
 * Does what a commit of the table does, up to the disk: one row becomes Parquet that goes nowhere, and manifests that are forgotten. What runs for the first time in a process takes
 * twice as long, and a commit has statements beside it that would wait.
 */
export async function rehearseCommit(
  table: LakeTable,
  options: Pick<DataFilesOptions, 'connection' | 'files' | 'codec' | 'level'>,
): Promise<void> {
  const values = table.columns.map(
    ({ name, type }) => `TRY_CAST('1' AS ${duckdbType(type)}) AS ${quoteName(name)}`,
  )
  const added = await copyFile(
    { ...options, table, relation: `(SELECT ${values.join(', ')})` },
    { path: '/dev/null', day: null, condition: 'true' },
  )
  const { metadata } = table
  const base = { metadata, manifests: [], live: [] }
  const folder = metadataFolder(table.folder)
  const properties = commitProperties('rehearsal')
  const next = await buildAppend(options.files, folder, base, [added], properties, 0)
  encodeMetadata(next.metadata)
}
