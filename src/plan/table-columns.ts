import { fitsType, mergeTypes, typeOfFixed, typeText } from './column-types.ts'
import { isReservedName, leadingColumns, type Column, type ColumnType } from './columns.ts'
import type { EventDefinition } from './definition.ts'
import { meantOr, type KeyPath, type Problems } from './problems.ts'

/** The declared columns of a table: the parameters of its events in order of first appearance, then fixed fields that are not declared. */
export function declaredColumns(
  events: readonly EventDefinition[],
  path: KeyPath,
  problems: Problems,
  selected: readonly string[] | null,
): Column[] {
  const union = new ColumnUnion(path, problems, selected)
  for (const event of events) for (const column of event.params) union.declare(column, event.type)
  for (const event of events)
    for (const [name, value] of Object.entries(event.fixed)) union.fix(name, value, event.type)
  return union.columns()
}

interface UnionColumn {
  column: Column
  /** The event that declared it first. */
  readonly event: string
}

class ColumnUnion {
  readonly #byName = new Map<string, UnionColumn>()
  readonly #path: KeyPath
  readonly #problems: Problems
  readonly #selected: readonly string[] | null

  constructor(path: KeyPath, problems: Problems, selected: readonly string[] | null) {
    this.#path = path
    this.#problems = problems
    this.#selected = selected
  }

  declare(column: Column, event: string): void {
    if (!this.#takes(column.name)) return
    const known = this.#known(column.name, event)
    if (known === undefined) {
      this.#byName.set(column.name.toLowerCase(), { column, event })
      return
    }
    const merged = mergeTypes(known.column.type, column.type)
    if (merged === undefined) this.#conflict(known, column.type, event)
    else known.column = { ...known.column, type: merged }
  }

  fix(name: string, value: string | number | boolean, event: string): void {
    if (!this.#takes(name)) return
    const known = this.#known(name, event)
    const type = typeOfFixed(value)
    if (known === undefined) this.#byName.set(name.toLowerCase(), { column: { name, type }, event })
    else if (!fitsType(value, known.column.type)) this.#conflict(known, type, event)
  }

  columns(): Column[] {
    const all = [...this.#byName.values()].map(({ column }) => column)
    if (this.#selected === null) return all
    return this.#selected.flatMap((name, index) => {
      const column = all.find((candidate) => candidate.name === name)
      if (column === undefined && !leadingColumns.some((leading) => leading.name === name))
        this.#problems.add(
          [...this.#path, 'columns', index],
          `no event of this table declares ${name}`,
          meantOr(name, this.#names, 'declare it under params, or remove it'),
        )
      return column ?? []
    })
  }

  readonly #names: string[] = []

  #takes(name: string): boolean {
    if (isReservedName(name) || leadingColumns.some((leading) => leading.name === name))
      return false
    this.#names.push(name)
    return this.#selected?.includes(name) ?? true
  }

  #known(name: string, event: string): UnionColumn | undefined {
    const known = this.#byName.get(name.toLowerCase())
    if (known !== undefined && known.column.name !== name)
      this.#problems.add(
        [...this.#path, 'from'],
        `${known.column.name} of ${known.event} and ${name} of ${event} are one column: names are compared without regard to case`,
        'write both the same way',
      )
    return known
  }

  #conflict(known: UnionColumn, type: ColumnType, event: string): void {
    const { name } = known.column
    this.#problems.add(
      [...this.#path, 'from'],
      `column ${name} is ${typeText(known.column.type)} in ${known.event} and ${typeText(type)} in ${event}`,
      `declare the same type in both, or list the table's columns without it: columns: […]`,
    )
  }
}
