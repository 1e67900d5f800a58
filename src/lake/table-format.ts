/** How a table is kept: as Iceberg alone, or also published as a plain folder that programs without Iceberg read. */
export type TableFormat = 'iceberg' | 'hive'

/** The codec of a data file. */
export type Codec = 'zstd' | 'snappy'

const formatProperty = 'questlog.format'

export function formatOf(properties: Readonly<Record<string, string>>): TableFormat {
  return properties[formatProperty] === 'hive' ? 'hive' : 'iceberg'
}

/** The properties that make a table one of this format. The codec is there for the engines that merge its files. */
export function formatProperties(format: TableFormat): Readonly<Record<string, string>> {
  return { [formatProperty]: format, 'write.parquet.compression-codec': codecs[format] }
}

const codecs: Readonly<Record<TableFormat, Codec>> = { iceberg: 'zstd', hive: 'snappy' }

/** What the data files of a table are to be written with. */
export function codecOf(properties: Readonly<Record<string, string>>): Codec {
  return codecs[formatOf(properties)]
}

/** The name of a data file of ours. One with snappy says so. */
export function dataFileName(stem: string, codec: Codec): string {
  return `${stem}${codec === 'snappy' ? '.snappy' : ''}.parquet`
}

/** The codec of a data file of ours, by its name; undefined for one that another engine has written. */
export function codecOfFile(name: string): Codec | undefined {
  const found = ownName.exec(name)
  if (found === null) return undefined
  return found[1] === undefined ? 'zstd' : 'snappy'
}

/** A batch's id or `compacted`, a number, and a UUID. */
const ownName = /^(?:[0-9a-f-]{36}|compacted)-\d+-[0-9a-f-]{36}(\.snappy)?\.parquet$/
