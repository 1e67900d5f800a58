import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { waitFor } from '../support/commands.ts'
import { Instance, questlog } from '../support/instance.ts'
import { parseResults, runScript, venvPython } from './clients.ts'
import { definition, heroEvents, tables } from './readers-events.ts'
import {
  differences,
  query,
  Readers,
  readersFolder,
  seenBySql,
  SparkWorker,
  type Seen,
} from './readers.ts'

/** What is said of a change by another engine than the stream. */
const refused: unknown = expect.stringMatching(
  /filled by questlog's stream; others may only compact it/,
)

/** PyIceberg 0.12 makes empty lists of nulls when they are lists of structs: it builds them anew from their offsets. */
function asPyIcebergReads(seen: Seen | undefined): Seen | undefined {
  if (seen?.columns['bag'] === undefined) return seen
  const rows = seen.rows.map((row) => row.replace('"bag":null', '"bag":[]'))
  return { rows, columns: { ...seen.columns, bag: { values: rows.length } } }
}

describe('programs that read the tables', () => {
  const readers = new Readers()
  let folder: string
  let instance: Instance
  let spark: SparkWorker | undefined
  const expected: Record<string, Seen> = {}

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'questlog-tables-'))
    const config = join(folder, 'questlog.config.ts')
    writeFileSync(config, definition(false))
    // How many files there are is for the tests to say: on a slow machine more are written, and merged.
    instance = await Instance.start(config, {
      folder,
      environment: { QUESTLOG_MAINTENANCE_INTERVAL_MS: '86400000' },
    })
    await load(150, false)
    writeFileSync(config, definition(true))
    await waitFor('the change of the definition is live', 300_000, hasTitle)
    await load(150, true)
    for (const [table, fields] of Object.entries(tables))
      expected[table] = await seenBySql(instance.data, table, fields)
    spark = new SparkWorker(readers, catalogUri(), lakeFolder())
  })
  afterAll(async () => {
    await spark?.[Symbol.asyncDispose]()
    await instance[Symbol.asyncDispose]()
    readers[Symbol.dispose]()
    rmSync(folder, { recursive: true, force: true })
  })

  const catalogUri = () => `${instance.endpoints.sql}/iceberg`
  const lakeFolder = () => join(instance.data, 'lake')
  const tableFolder = (table: string) => join(lakeFolder(), 'default', table)
  const exported = (path: string) => join(instance.data, 'exports/tmp', path)
  let sent = 0
  let purchases = 0

  /** Sends heroes and purchases and waits until they are in committed files. */
  async function load(count: number, changed: boolean): Promise<void> {
    for (let part = 0; part < 3; part++) {
      const body = heroEvents(count / 3, sent, changed)
      const headers = { 'content-type': 'application/x-ndjson' }
      const answer = await instance.send('/events', { method: 'POST', headers, body })
      if (answer.status !== 200) throw new Error(answer.body)
      for (let n = 0; n < 10; n++) {
        const query = n % 3 === 0 ? '' : `?color=r%C3%B6d&damage=${n - 5}`
        const host = n % 2 === 0 ? 'user1.comcast.com' : 'user2.att.com'
        await instance.send(`/purchase_a_sword${query}`, { headers: { Host: host } })
      }
      sent += count / 3
      purchases += 10
      await waitFor('the tables are committed', 300_000, async () => {
        const rows = await committedRows()
        return rows['heroes'] === sent && rows['sword_purchases'] === purchases
      })
    }
  }

  async function committedRows(): Promise<Record<string, number>> {
    const { stdout } = await questlog('tables', 'list', '-o', 'json', '--data', instance.data)
    const listed = JSON.parse(stdout) as { table: string; rows: number }[]
    return Object.fromEntries(listed.map(({ table, rows }) => [table.split('.').at(-1), rows]))
  }

  async function hasTitle(): Promise<boolean> {
    const columns = await query(instance.data, 'describe heroes')
    return columns.some(({ Column }) => Column === 'title')
  }

  async function exportRows(...words: string[]): Promise<void> {
    const { code, stderr } = await questlog('export', '--data', instance.data, ...words)
    expect({ code, stderr }).toMatchObject({ code: 0 })
  }

  describe.each(Object.keys(tables))('%s', (table) => {
    test('SQL has all of it', () => {
      expect(expected[table]?.rows).toHaveLength(table === 'heroes' ? 300 : 60)
    })

    test('PyIceberg through the catalog', async () => {
      const seen = await readers.read('pyiceberg_rest.py', catalogUri(), `default.${table}`)
      expect(differences(seen, asPyIcebergReads(expected[table]))).toEqual([])
    })

    test('PyIceberg by path', async () => {
      const seen = await readers.read('pyiceberg_path.py', tableFolder(table))
      expect(differences(seen, asPyIcebergReads(expected[table]))).toEqual([])
    })

    test('DuckDB through the catalog', async () => {
      const seen = await readers.read('duckdb_rest.py', catalogUri(), `default.${table}`)
      expect(differences(seen, expected[table])).toEqual([])
    })

    test('DuckDB by path', async () => {
      const seen = await readers.read('duckdb_path.py', tableFolder(table))
      expect(differences(seen, expected[table])).toEqual([])
    })

    test('Spark through the catalog', async () => {
      const seen = await spark?.read('spark_rest.py', catalogUri(), `default.${table}`)
      expect(differences(seen, expected[table])).toEqual([])
    })

    test('Spark by path', async () => {
      const seen = await spark?.read('spark_path.py', lakeFolder(), `default.${table}`)
      expect(differences(seen, expected[table])).toEqual([])
    })

    describe('as an export', () => {
      beforeAll(() => exportRows(table, `/tmp/${table}`))

      test.each(['pandas', 'polars', 'pyarrow'])('%s', async (program) => {
        const seen = await readers.read(`${program}_export.py`, exported(table))
        expect(differences(seen, expected[table])).toEqual([])
      })

      test('Spark', async () => {
        const seen = await spark?.read('spark_export.py', exported(table))
        expect(differences(seen, expected[table])).toEqual([])
      })
    })
  })

  describe('heroes as an export with a folder for each clan', () => {
    beforeAll(() => exportRows('heroes', '/tmp/by_clan', '--partition-by', 'clan'))

    test('pyarrow', async () => {
      const seen = await readers.read('pyarrow_export.py', exported('by_clan'))
      expect(differences(seen, expected['heroes'])).toEqual([])
    })

    test('Spark', async () => {
      const seen = await spark?.read('spark_export.py', exported('by_clan'))
      expect(differences(seen, expected['heroes'])).toEqual([])
    })
  })

  test('PyIceberg prunes files, reads the past, and has tables of its own', async () => {
    const results = await runScript(venvPython, 'pyiceberg_checks.py', [catalogUri()])
    const own = { id: 1, title: 'a', tags: ['x'], extra: null }
    expect(results).toEqual({
      prunes: true,
      'prunes-all': 0,
      'one-place': [true, 10],
      'by-name': [expect.any(Number), ['name']],
      'history-grows': true,
      'last-snapshot': 300,
      'add-column': 'ForbiddenError',
      drop: 'ForbiddenError',
      append: refused,
      overwrite: refused,
      delete: refused,
      'delete-all': refused,
      expire: refused,
      unchanged: true,
      unknown: 'NoSuchTableError',
      own: [
        own,
        { id: 2 ** 62 + 1, title: 'b', tags: [], extra: null },
        { id: 4, title: 'd', tags: ['y'], extra: 9 },
        { id: null, title: 'ü', tags: null, extra: null },
      ],
      'own-overwritten': 1,
      'own-before': 3,
      'own-columns': ['id', 'title', 'tags', 'extra', 'late'],
      'own-names': ['yours'],
      namespaces: ['default', 'questlog'],
    })
  })

  test('DuckDB reads the past, is refused every change, and has tables of its own', async () => {
    const words = [readersFolder, catalogUri()]
    const results = await runScript(venvPython, 'duckdb_checks.py', words)
    expect(results).toEqual({
      tables: [
        ['default', 'heroes'],
        ['default', 'sword_purchases'],
        ['questlog', 'dead_letters'],
      ],
      strong: expect.any(Number),
      max: Number(expected['heroes']?.columns['gold']?.['max']),
      'history-grows': true,
      insert: refused,
      delete: refused,
      update: refused,
      alter: refused,
      drop: refused,
      'rows-after': 300,
      own: [
        [1, 'A', ['x']],
        [2 ** 63 - 1, 'ü', []],
      ],
      schemas: ['default', 'questlog'],
    })
  })

  test('Spark reads the past, merges files, is refused everything else, and has tables of its own', async () => {
    const results = parseResults((await spark?.run('spark_checks.py', [])) ?? '')
    expect(results).toEqual({
      tables: ['heroes', 'sword_purchases'],
      strong: expect.any(Number),
      'widened-sum': Number(expected['heroes']?.columns['level']?.['sum']),
      max: expect.any(Number),
      described: {
        level: 'bigint',
        scores: 'map<string,bigint>',
        home: 'struct<town:string,at:struct<x:double,y:double>>',
        seen: 'timestamp',
      },
      'history-grows': true,
      insert: refused,
      'delete-all': refused,
      'delete-where': refused,
      update: refused,
      overwrite: refused,
      alter: refused,
      drop: refused,
      unchanged: [true, 300],
      compacted: [true, true, 300],
      own: [
        [1, 'a', 7],
        [2 ** 63 - 1, 'ü', null],
      ],
      'own-copy': [
        ['user1.comcast.com', 30],
        ['user2.att.com', 30],
      ],
    })
  })

  test('after a merge by Spark the rows are the same, the stream goes on, and everything adds up', async () => {
    const fields = tables['heroes'] ?? []
    expect(
      differences(await seenBySql(instance.data, 'heroes', fields), expected['heroes']),
    ).toEqual([])
    await load(30, true)
    expect(await instance.audit()).toMatchObject({ code: 0 })
    for (const [table, columns] of Object.entries(tables))
      expected[table] = await seenBySql(instance.data, table, columns)
    expect(expected['heroes']?.rows).toHaveLength(330)
  })

  describe('while questlog is stopped', () => {
    beforeAll(async () => {
      expect(await instance.down()).toMatchObject({ code: 0 })
    })

    describe.each(Object.keys(tables))('%s', (table) => {
      test('PyIceberg', async () => {
        const seen = await readers.read('pyiceberg_path.py', tableFolder(table))
        expect(differences(seen, asPyIcebergReads(expected[table]))).toEqual([])
      })

      test('DuckDB', async () => {
        const seen = await readers.read('duckdb_path.py', tableFolder(table))
        expect(differences(seen, expected[table])).toEqual([])
      })

      test('Spark', async () => {
        const seen = await spark?.read('spark_path.py', lakeFolder(), `default.${table}`)
        expect(differences(seen, expected[table])).toEqual([])
      })
    })
  })
})
