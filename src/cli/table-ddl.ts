import { quoteName, quoteText, typeName, type Column } from '../plan/columns.ts'

export const ddlDialects = ['hive', 'spark', 'trino', 'duckdb'] as const
export type DdlDialect = (typeof ddlDialects)[number]

export interface DdlTable {
  readonly name: string
  readonly columns: readonly Column[]
  /** The folder of an export, or of a table with format `hive`. */
  readonly folder: string
}

/** The statements that let an engine read an export, or the folder of a table, as a table of its own: columns are found by name, one that a file does not have is null. What they drop is external: its files stay. */
export function tableDdl(table: DdlTable, dialect: DdlDialect): readonly string[] {
  switch (dialect) {
    case 'hive':
      return [`drop table if exists ${backquote(table.name)};`, ...hive(table)]
    case 'spark':
      return [`DROP TABLE IF EXISTS ${backquote(table.name)};`, ...spark(table)]
    case 'trino':
      return trino(table)
    case 'duckdb':
      return [
        `CREATE OR REPLACE VIEW ${quoteName(table.name)} AS`,
        `SELECT * FROM read_parquet(${quoteText(`${table.folder}/**/*.parquet`)}, hive_partitioning = true, union_by_name = true);`,
      ]
  }
}

/** `parquet.compression` is the property that Hive's writer reads; `parquet.compress`, often seen, is ignored by it. */
function hive({ name, columns, folder }: DdlTable): string[] {
  return [
    `create external table if not exists ${backquote(name)} (`,
    ...columnLines(
      columns,
      (column) => `${backquote(column.name)} ${typeName(column.type, 'hive')}`,
    ),
    ')',
    'stored as parquet',
    `location ${hiveText(`file://${folder}`)}`,
    "tblproperties ('parquet.compression'='SNAPPY');",
  ]
}

function spark({ name, columns, folder }: DdlTable): string[] {
  return [
    `CREATE TABLE ${backquote(name)} (`,
    ...columnLines(
      columns,
      (column) => `${backquote(column.name)} ${typeName(column.type, 'spark')}`,
    ),
    ')',
    'USING parquet',
    `LOCATION ${hiveText(`file://${folder}`)};`,
  ]
}

/** Trino has no type for an instant in Parquet files of Hive tables but timestamp: it reads them in UTC. */
function trino({ name, columns, folder }: DdlTable): string[] {
  const typeOf = ({ type }: Column) =>
    type.kind === 'timestamptz' ? 'timestamp(6)' : typeName(type, 'trino')
  return [
    `DROP TABLE IF EXISTS ${quoteName(name)};`,
    `CREATE TABLE ${quoteName(name)} (`,
    ...columnLines(
      columns,
      (column) => `${quoteName(column.name.toLowerCase())} ${typeOf(column)}`,
    ),
    ')',
    `WITH (format = 'PARQUET', external_location = ${quoteText(`file://${folder}`)});`,
  ]
}

function columnLines(columns: readonly Column[], line: (column: Column) => string): string[] {
  return columns.map((column, index) => `  ${line(column)}${index < columns.length - 1 ? ',' : ''}`)
}

function backquote(name: string): string {
  return `\`${name.replaceAll('`', '``')}\``
}

/** Hive and Spark escape with a backslash. */
function hiveText(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`
}
