import type { LiveFile } from './manifest.ts'
import type { ManifestFile } from './manifest-list.ts'
import { currentSchema, ownSpec, type TableMetadata } from './metadata.ts'
import type { NextVersion } from './next-version.ts'
import { columnsOf } from './schema.ts'
import type { LakeTable } from './table.ts'

/** What is needed to read the rows of a version of a table. */
export interface TableContent extends Pick<
  LakeTable,
  'folder' | 'columns' | 'schema' | 'dayColumn' | 'recordCount'
> {
  readonly files: readonly LiveFile[]
}

export type Prepare = (content: TableContent) => Promise<Prepared>

/** What is made ready for a commit, and then shown or dropped. */
export interface Prepared {
  show(): Promise<void>
  drop(): Promise<void>
}

/** As of a version; `files` are its live ones. */
export function contentOf(
  folder: string,
  { metadata, manifests }: Pick<NextVersion, 'metadata' | 'manifests'>,
  files: readonly LiveFile[],
): TableContent {
  const schema = currentSchema(metadata)
  return {
    folder,
    columns: columnsOf(schema),
    schema,
    dayColumn: dayColumnOf(metadata),
    recordCount: recordCountOf(manifests),
    files,
  }
}

/** The column whose UTC day partitions the table, or null. */
export function dayColumnOf(metadata: TableMetadata): string | null {
  const source = ownSpec(metadata).fields[0]?.['source-id']
  return currentSchema(metadata).fields.find((field) => field.id === source)?.name ?? null
}

/** Rows of a snapshot, by its manifests. */
export function recordCountOf(manifests: readonly ManifestFile[]): number {
  return manifests.reduce(
    (sum, manifest) =>
      sum + Number(manifest.added_rows_count) + Number(manifest.existing_rows_count),
    0,
  )
}
