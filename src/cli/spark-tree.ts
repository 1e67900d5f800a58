import { typeName, type Column, type ColumnType } from '../plan/columns.ts'

/** The lines of Spark's `printSchema()`. Every column can be null. */
export function sparkTree(columns: readonly Column[]): string[] {
  return ['root', ...fieldLines(columns, ' |-- ')]
}

function fieldLines(fields: readonly Column[], indent: string): string[] {
  return fields.flatMap(({ name, type }) => [
    `${indent}${name}: ${treeName(type)} (nullable = true)`,
    ...innerLines(type, deeper(indent)),
  ])
}

function innerLines(type: ColumnType, indent: string): string[] {
  switch (type.kind) {
    case 'list':
      return [
        `${indent}element: ${treeName(type.element)} (containsNull = true)`,
        ...innerLines(type.element, deeper(indent)),
      ]
    case 'map':
      return [
        `${indent}key: string`,
        `${indent}value: ${treeName(type.value)} (valueContainsNull = true)`,
        ...innerLines(type.value, deeper(indent)),
      ]
    case 'struct':
      return fieldLines(type.fields, indent)
    default:
      return []
  }
}

function deeper(indent: string): string {
  return indent.replace(' |-- ', ' |    |-- ')
}

/** The tree calls `int` and `bigint` as Spark's classes are called. */
function treeName(type: ColumnType): string {
  switch (type.kind) {
    case 'list':
      return 'array'
    case 'map':
    case 'struct':
      return type.kind
    case 'int':
      return 'integer'
    case 'long':
      return 'long'
    default:
      return typeName(type, 'spark')
  }
}
