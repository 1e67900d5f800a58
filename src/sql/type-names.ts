import { DuckDBTypeId, type DuckDBType } from '@duckdb/node-api'

const plainNames: Readonly<Partial<Record<DuckDBTypeId, string>>> = {
  [DuckDBTypeId.BOOLEAN]: 'boolean',
  [DuckDBTypeId.TINYINT]: 'tinyint',
  [DuckDBTypeId.SMALLINT]: 'smallint',
  [DuckDBTypeId.INTEGER]: 'integer',
  [DuckDBTypeId.BIGINT]: 'bigint',
  // Trino has no unsigned types: the next wider one holds their values.
  [DuckDBTypeId.UTINYINT]: 'smallint',
  [DuckDBTypeId.USMALLINT]: 'integer',
  [DuckDBTypeId.UINTEGER]: 'bigint',
  [DuckDBTypeId.UBIGINT]: 'decimal(20,0)',
  [DuckDBTypeId.HUGEINT]: 'decimal(38,0)',
  [DuckDBTypeId.UHUGEINT]: 'decimal(38,0)',
  [DuckDBTypeId.FLOAT]: 'real',
  [DuckDBTypeId.DOUBLE]: 'double',
  [DuckDBTypeId.BLOB]: 'varbinary',
  [DuckDBTypeId.DATE]: 'date',
  [DuckDBTypeId.TIME]: 'time(6)',
  [DuckDBTypeId.TIME_NS]: 'time(9)',
  [DuckDBTypeId.TIME_TZ]: 'time(6) with time zone',
  [DuckDBTypeId.TIMESTAMP]: 'timestamp(6)',
  [DuckDBTypeId.TIMESTAMP_S]: 'timestamp(0)',
  [DuckDBTypeId.TIMESTAMP_MS]: 'timestamp(3)',
  [DuckDBTypeId.TIMESTAMP_NS]: 'timestamp(9)',
  [DuckDBTypeId.TIMESTAMP_TZ]: 'timestamp(6) with time zone',
  [DuckDBTypeId.INTERVAL]: 'interval',
  [DuckDBTypeId.UUID]: 'uuid',
  [DuckDBTypeId.SQLNULL]: 'unknown',
}

/** Trino's spelling of a DuckDB type, in lower case. Types that Trino does not have are varchar: their values are answered as text. */
export function trinoTypeName(type: DuckDBType): string {
  switch (type.typeId) {
    case DuckDBTypeId.DECIMAL:
      return `decimal(${type.width},${type.scale})`
    case DuckDBTypeId.LIST:
    case DuckDBTypeId.ARRAY:
      return `array(${trinoTypeName(type.valueType)})`
    case DuckDBTypeId.MAP:
      return `map(${trinoTypeName(type.keyType)}, ${trinoTypeName(type.valueType)})`
    case DuckDBTypeId.STRUCT: {
      const fields = type.entryTypes.map(
        (entry, index) => `${fieldName(type.entryNames[index] ?? '')} ${trinoTypeName(entry)}`,
      )
      return `row(${fields.join(', ')})`
    }
    case DuckDBTypeId.VARCHAR:
      return type.alias === 'JSON' ? 'json' : 'varchar'
    default:
      return plainNames[type.typeId] ?? 'varchar'
  }
}

/** A name as it must be written in SQL: plain when it can be, else in double quotes. */
export function fieldName(name: string): string {
  const lower = name.toLowerCase()
  return /^[a-z_][a-z0-9_]*$/.test(lower) ? lower : `"${lower.replaceAll('"', '""')}"`
}
