import {
  ResultReturnType,
  type DuckDBDataChunk,
  type DuckDBMaterializedResult,
  type DuckDBPreparedStatement,
  type DuckDBResult,
  type DuckDBType,
} from '@duckdb/node-api'
import type { Clock } from '../core/clock.ts'
import type { DuckDBConnection } from '../core/duckdb.ts'
import { asQuestlogError, QuestlogError } from '../core/errors.ts'
import type { Narrowing } from '../lake/pruning.ts'
import { quoteName, quoteText } from '../plan/columns.ts'
import { countViewName } from '../plan/compile.ts'
import { readAtOnce, type AtOnce } from './at-once.ts'
import type { Views } from './catalog.ts'
import { resultNames } from './naming.ts'
import { readNarrowing, type NarrowedTable } from './narrow.ts'
import { SqlError } from './sql-error.ts'
import type { Plan } from './statements.ts'
import { asNode, listField, nodeField, textField, type SyntaxNode } from './syntax-tree.ts'
import { trinoTypeName } from './type-names.ts'

/** A column of a result. */
export interface SqlColumn {
  readonly name: string
  /** The type in Trino's spelling. */
  readonly type: string
  readonly duckdbType: DuckDBType
  /** Its column in the chunks. */
  readonly index: number
}

/** What a running statement gives, in this order: columns, any number of rows. */
export type RowsEvent =
  | { readonly kind: 'columns'; readonly columns: readonly SqlColumn[] }
  | {
      readonly kind: 'rows'
      readonly columns: readonly SqlColumn[]
      readonly chunk: DuckDBDataChunk
    }

/** A connection without a transaction, and what may stop it. */
export interface Execution {
  readonly duckdb: DuckDBConnection
  readonly signal: AbortSignal
  readonly clock: Clock
  readonly namespace: string
  readonly views: Views
  /** As `FreshSource.narrowedScan`. */
  readonly narrowedScan: (name: string, wanted: Narrowing) => string | undefined
}

/**
 * Runs a planned statement in a read transaction of its own and hands its rows on chunk by chunk; what is not in memory yet is made when it is asked for. After a
 * failure, or when the caller has stopped asking, the transaction may be open.
 */
export async function* execute(plan: Plan, execution: Execution): AsyncGenerator<RowsEvent> {
  switch (plan.kind) {
    case 'show':
      return yield* inMemory(plan.sql, execution, () => [{ name: plan.header, index: 0 }])
    case 'explain':
      return yield* inMemory(plan.source.sql, execution, () => [{ name: 'Query Plan', index: 1 }])
    case 'describe': {
      const sql = await describeSql(plan.source.sql, plan.tree, execution)
      const header = ['Column', 'Type', 'Comment']
      return yield* inMemory(sql, execution, () => header.map((name, index) => ({ name, index })))
    }
    case 'select': {
      const counted = countedTable(plan.tree, execution)
      if (counted !== undefined) {
        const sql = `SELECT n FROM "_counts".${quoteName(countViewName(execution.namespace, counted.table))}`
        return yield* inMemory(sql, execution, () => [{ name: counted.name, index: 0 }])
      }
      const choose: Choose = (names) =>
        resultNames(plan.tree, names).map((name, index) => ({ name, index }))
      const table = readNarrowing(plan.tree, plan.source.sql, execution.clock.nowMs())
      const result = await readFew(plan, execution, table)
      return yield* result === undefined
        ? streamRows(plan.source.sql, execution, choose, partToStream(plan, execution, table))
        : handOn(result, choose)
    }
  }
}

/**
 * A statement that asks for nothing but the number of rows of one table (`count(*)`, or of a constant): the stream keeps
 * that number beside the table, always of the same instant. Anything else in the statement leaves it as it is.
 */
function countedTable(
  tree: SyntaxNode,
  { namespace, views }: Execution,
): { readonly table: string; readonly name: string } | undefined {
  const items = listField(tree, 'select_list')
  const item = asNode(items[0])
  const from = nodeField(tree, 'from_table')
  const name = textField(item, 'function_name')
  const argument = asNode(listField(item, 'children')[0])
  const countsRows =
    name === 'count_star' ||
    (name === 'count' &&
      argument?.['class'] === 'CONSTANT' &&
      nodeField(argument, 'value')?.['is_null'] === false)
  const isBare =
    tree['type'] === 'SELECT_NODE' &&
    items.length === 1 &&
    item?.['class'] === 'FUNCTION' &&
    item['distinct'] === false &&
    item['filter'] === null &&
    ['where_clause', 'having', 'sample', 'qualify'].every((field) => tree[field] === null) &&
    ['modifiers', 'group_expressions', 'group_sets'].every(
      (field) => listField(tree, field).length === 0,
    ) &&
    tree['aggregate_handling'] === 'STANDARD_HANDLING' &&
    listField(nodeField(tree, 'cte_map'), 'map').length === 0
  const schema = textField(from, 'schema_name').toLowerCase()
  const isTable =
    from?.['type'] === 'BASE_TABLE' &&
    from['sample'] === null &&
    from['at_clause'] === null &&
    textField(from, 'catalog_name') === '' &&
    (schema === '' || schema === namespace.toLowerCase())
  const key = textField(from, 'table_name').toLowerCase()
  const table = views.tables.get(key)
  if (!countsRows || !isBare || !isTable || table === undefined) return undefined
  if (!views.counted.has(countViewName(namespace, key).toLowerCase())) return undefined
  return { table, name: textField(item, 'alias').toLowerCase() || '_col0' }
}

/** The columns of a SELECT as a SELECT of texts. */
async function describeSql(sql: string, tree: SyntaxNode, execution: Execution): Promise<string> {
  const prepared = await prepareOne(sql, execution)
  const indexes = Array.from({ length: prepared.columnCount }, (_, index) => index)
  const names = resultNames(
    tree,
    indexes.map((index) => prepared.columnName(index)),
  )
  const rows = indexes.map((index) => {
    const type = trinoTypeName(prepared.columnType(index))
    return `(${index}, ${quoteText(names[index] ?? '')}, ${quoteText(type)})`
  })
  prepared.destroySync()
  return `SELECT name, type, '' AS comment FROM (VALUES ${rows.join(', ')}) AS t(position, name, type) ORDER BY position`
}

async function prepareOne(sql: string, { duckdb, signal, clock }: Execution) {
  return interruptible(duckdb, clock, signal, () => duckdb.prepare(sql))
}

/** Which of DuckDB's columns are answered, under which names. */
type Choose = (
  duckdbNames: readonly string[],
) => readonly { readonly name: string; readonly index: number }[]

/** Of a statement whose rows are few. */
async function* inMemory(
  sql: string,
  execution: Execution,
  choose: Choose,
): AsyncGenerator<RowsEvent> {
  const result = await runAtOnce({ sql, rowsMax: Number.POSITIVE_INFINITY }, execution)
  if (result !== undefined) yield* handOn(result, choose)
}

/** Opens the transaction of a statement. DuckDB refuses to write in it, whatever the statement turns out to be. */
const beginReading = 'BEGIN TRANSACTION READ ONLY'
const behindBegin = `${beginReading};\n`

/** All rows of a statement; undefined when there may be many. Of its table it is given no more than it names, if that can be had. */
async function readFew(
  plan: Extract<Plan, { kind: 'select' }>,
  execution: Execution,
  table: NarrowedTable | undefined,
): Promise<DuckDBMaterializedResult | undefined> {
  const atOnce = readAtOnce(plan)
  if (atOnce === undefined) return undefined
  const scan = table && execution.narrowedScan(table.name.toLowerCase(), table.wanted)
  if (table === undefined || scan === undefined) return runAtOnce(atOnce, execution)
  try {
    return await runAtOnce({ ...atOnce, sql: table.readFrom(scan, atOnce.sql) }, execution)
  } catch (error) {
    if (execution.signal.aborted) throw error
    // The part may be gone already, or there is no place for it in the statement. A failure of the statement itself comes again, in its own words.
    await execution.duckdb.run('ROLLBACK').catch(() => {}) // nothing is open when the text could not be parsed
    return runAtOnce(atOnce, execution)
  }
}

/** All rows of a statement, planned once and read with its transaction in one go. Undefined when there are too many. */
async function runAtOnce(
  { sql, rowsMax }: AtOnce,
  { duckdb, clock, signal }: Execution,
): Promise<DuckDBMaterializedResult | undefined> {
  // Of several statements DuckDB gives the result of the first that has rows.
  const script = `${behindBegin}${sql}\n;COMMIT`
  const result = await interruptible(duckdb, clock, signal, () =>
    duckdb.run(script).catch((error: unknown) => {
      throw new PrefixedError(error, behindBegin.length)
    }),
  )
  return result.rowCount > rowsMax ? undefined : result
}

function* handOn(result: DuckDBMaterializedResult, choose: Choose): Generator<RowsEvent> {
  const columns = columnsOf(result, choose)
  yield { kind: 'columns', columns }
  for (let index = 0; index < result.chunkCount; index++)
    yield { kind: 'rows', columns, chunk: result.getChunk(index) }
}

function columnsOf(result: DuckDBResult, choose: Choose): readonly SqlColumn[] {
  return choose(result.columnNames()).map(({ name, index }) => {
    const duckdbType = result.columnType(index)
    return { name, type: trinoTypeName(duckdbType), duckdbType, index }
  })
}

/** A statement that is to be streamed, with a part of its table in it: worth its text only when files may be left out. */
function partToStream(
  { source }: Extract<Plan, { kind: 'select' }>,
  { narrowedScan }: Execution,
  table: NarrowedTable | undefined,
): string | undefined {
  if (table === undefined || table.wanted.ranges.length === 0) return undefined
  const scan = narrowedScan(table.name.toLowerCase(), table.wanted)
  return scan && table.readFrom(scan, source.sql)
}

/** `part` is the statement with a part of its table in it. */
async function* streamRows(
  sql: string,
  execution: Execution,
  choose: Choose,
  part: string | undefined,
): AsyncGenerator<RowsEvent> {
  const { duckdb, clock, signal } = execution
  const guard = <T>(work: () => Promise<T>) => interruptible(duckdb, clock, signal, work)
  const { prepared, result } = await openStream(sql, execution, part)
  try {
    const columns = columnsOf(result, choose)
    yield { kind: 'columns', columns }
    for (;;) {
      const chunk = await guard(() => result.fetchChunk())
      if (chunk === null || chunk.rowCount === 0) break
      yield { kind: 'rows', columns, chunk }
    }
    if (!endedWell(result)) throw await reasonOfFailure(sql, guard, duckdb)
  } finally {
    prepared.destroySync()
  }
  await duckdb.run('COMMIT')
}

interface OpenStream {
  readonly prepared: DuckDBPreparedStatement
  readonly result: DuckDBResult
}

/** Begins a transaction and the statement in it: with a part of its table, or if that fails as it was sent. Both have the same rows. */
async function openStream(
  sql: string,
  execution: Execution,
  part: string | undefined,
): Promise<OpenStream> {
  const { duckdb, clock, signal } = execution
  const guard = <T>(work: () => Promise<T>) => interruptible(duckdb, clock, signal, work)
  await guard(() => duckdb.run(beginReading))
  let prepared: DuckDBPreparedStatement | undefined
  try {
    prepared = await prepareOne(part ?? sql, execution)
    const begun = prepared
    return { prepared, result: await guard(() => begun.stream()) }
  } catch (error) {
    prepared?.destroySync()
    if (part === undefined || signal.aborted) throw error
    await duckdb.run('ROLLBACK').catch(() => {}) // nothing is open when the text could not be parsed
    return openStream(sql, execution, undefined)
  }
}

/** The binding ends a stream that fails half-way like one that is complete; only the type of the result shows the difference. */
function endedWell(result: DuckDBResult): boolean {
  return result.returnType === ResultReturnType.QUERY_RESULT
}

const rehearsal = 'EXPLAIN ANALYZE '

/** Runs the statement again, in a new transaction because the failure ended the first one, and without keeping its rows: this time DuckDB throws what is wrong. */
async function reasonOfFailure(
  sql: string,
  guard: (work: () => Promise<unknown>) => Promise<unknown>,
  duckdb: DuckDBConnection,
): Promise<unknown> {
  try {
    await guard(() => duckdb.run('ROLLBACK'))
    await guard(() => duckdb.run(beginReading))
    await guard(() => duckdb.run(rehearsal + sql))
  } catch (error) {
    return new PrefixedError(error, rehearsal.length)
  }
  return new QuestlogError(
    'INTERNAL',
    'the statement failed after its first rows, and not when it was run again',
    {},
    { hint: 'run the statement again; narrow it if it fails again' },
  )
}

/** An error of DuckDB whose position counts from a longer text than the statement. */
export class PrefixedError extends Error {
  readonly prefixBytes: number

  constructor(cause: unknown, prefixBytes: number) {
    super('the statement failed', { cause })
    this.name = 'PrefixedError'
    this.prefixBytes = prefixBytes
  }
}

const interruptIntervalMs = 20

/** Does one step of work on a connection. When the signal aborts, DuckDB is told to stop until it has. Rejects with the error of `cancelled` then. */
export async function interruptible<T>(
  duckdb: DuckDBConnection,
  clock: Clock,
  signal: AbortSignal,
  work: () => Promise<T>,
): Promise<T> {
  if (signal.aborted) throw cancelled(signal)
  let ended: AbortController | undefined
  // One call is not enough: DuckDB forgets an interrupt that comes before the work has begun.
  const interrupt = async (until: AbortSignal) => {
    while (!until.aborted) {
      duckdb.interrupt()
      await clock.sleep(interruptIntervalMs, until)
    }
  }
  let interrupting: Promise<void> | undefined
  const onAbort = () => {
    ended = new AbortController()
    interrupting = interrupt(ended.signal)
  }
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    const result = await work()
    if (signal.aborted) throw cancelled(signal)
    return result
  } catch (error) {
    throw signal.aborted ? cancelled(signal) : error
  } finally {
    signal.removeEventListener('abort', onAbort)
    ended?.abort()
    await interrupting
  }
}

/** Why a signal aborted: the error that it was aborted with, else SQL_CANCELLED. */
export function cancelled(signal: AbortSignal): QuestlogError {
  return signal.reason instanceof QuestlogError
    ? asQuestlogError(signal.reason)
    : new SqlError('SQL_CANCELLED', 'the statement was cancelled')
}
