import { createHash } from 'node:crypto'
import { basename, relative } from 'node:path'
import { QuestlogError } from '../core/errors.ts'
import type { Column } from '../plan/columns.ts'
import type { LiveFile } from './manifest.ts'
import { currentSchema, type TableMetadata } from './metadata.ts'
import { assignIds, type IcebergType, type Renamed } from './schema.ts'
import type { LakeTable } from './table.ts'
import { codecOfFile } from './table-format.ts'

/**
 * The names under which a snapshot's files lie in a plain folder, as Spark writes them: `part-<number>-<uuid>-c000.<codec>.parquet`. A file has the same name as long as `epoch` is the same, and another one in
 * every other epoch. The number is 0, and higher for files from before the table got or lost a column: readers that go by one file's columns take the first one's, which has the columns of now.
 * A file of another engine says nothing of its codec, so its name does not either.
 */
export function plainNames(
  { folder, schema }: Pick<LakeTable, 'folder' | 'schema'>,
  files: readonly LiveFile[],
  epoch: string,
): ReadonlyMap<string, string> {
  const current = new Set(partsOf('', schema).map(({ id }) => id))
  const ages = files.map(({ fieldIds }) => {
    const kept = fieldIds.filter((id) => current.has(id)).length
    return { former: fieldIds.length - kept, kept }
  })
  const keyOf = ({ former, kept }: Age) => `${former} ${kept}`
  const inOrder = ages.toSorted((a, b) => a.former - b.former || b.kept - a.kept).map(keyOf)
  const numbers = new Map([...new Set(inOrder)].map((key, number) => [key, number]))
  return new Map(
    files.map(({ path }, index) => {
      const age = ages[index]
      const number = age === undefined ? 0 : (numbers.get(keyOf(age)) ?? 0)
      const uuid = uuidOf(`${epoch}/${relative(folder, path)}`)
      const codec = codecOfFile(basename(path))
      const end = codec === undefined ? 'parquet' : `${codec}.parquet`
      return [`part-${String(number).padStart(5, '0')}-${uuid}-c000.${end}`, path]
    }),
  )
}

/** How many columns of now a file has, and how many that are none any more. */
interface Age {
  readonly former: number
  readonly kept: number
}

/** Always the same for a name. */
function uuidOf(name: string): string {
  const hex = createHash('sha256').update(name).digest('hex')
  return [
    hex.slice(0, 8),
    hex.slice(8, 12),
    hex.slice(12, 16),
    hex.slice(16, 20),
    hex.slice(20, 32),
  ] // 8-4-4-4-12
    .join('-')
}

/**
 * Throws EVOLUTION_REFUSED unless programs that match columns by name find the same in files of every age: a name has meant one column, of one type, ever since the table is there. Columns
 * may come and go.
 */
export function requirePlainColumns(
  metadata: TableMetadata,
  columns: readonly Column[],
  renamed?: Renamed,
): void {
  const current = currentSchema(metadata)
  const { fields } = assignIds(current.fields, metadata['last-column-id'], columns, renamed)
  const next = partsOf('', { type: 'struct', fields })
  const byId = new Map(next.map((part) => [part.id, part]))
  const byName = new Map(next.map((part) => [part.name.toLowerCase(), part]))
  for (const schema of metadata.schemas) {
    for (const former of partsOf('', schema)) {
      const same = byId.get(former.id)
      if (same !== undefined && same.name !== former.name)
        throw refused(same.name, `is called ${former.name} in older files`)
      if (same !== undefined && same.type !== former.type)
        throw refused(same.name, `is ${former.type} in older files and can not become ${same.type}`)
      const other = byName.get(former.name.toLowerCase())
      if (other !== undefined && other.id !== former.id)
        throw refused(other.name, 'was dropped, and older files still have the former values')
    }
  }
}

function refused(column: string, reason: string): QuestlogError {
  return new QuestlogError(
    'EVOLUTION_REFUSED',
    `column ${column} ${reason}, and programs that read the folder of a hive table go by the names and types in its files`,
    { column },
    { hint: "give the new column another name, or take format: 'hive' out and use exports" },
  )
}

interface Part {
  readonly id: number
  /** With those of the columns around it. */
  readonly name: string
  /** Iceberg's name of a primitive type, or `list`, `map`, `struct`. */
  readonly type: string
}

/** All columns below a type, nested parts included. */
function partsOf(path: string, type: IcebergType): Part[] {
  if (typeof type === 'string') return []
  const part = (id: number, name: string, inner: IcebergType): Part[] => {
    const full = path === '' ? name : `${path}.${name}`
    const kind = typeof inner === 'string' ? inner : inner.type
    return [{ id, name: full, type: kind }, ...partsOf(full, inner)]
  }
  switch (type.type) {
    case 'struct':
      return type.fields.flatMap((field) => part(field.id, field.name, field.type))
    case 'list':
      return part(type['element-id'], 'element', type.element)
    case 'map':
      return [
        ...part(type['key-id'], 'key', type.key),
        ...part(type['value-id'], 'value', type.value),
      ]
  }
}
