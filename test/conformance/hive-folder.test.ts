import { execFile } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { waitFor } from '../support/commands.ts'
import { Instance, questlog } from '../support/instance.ts'
import { parseResults, scriptPath, venvPython } from './clients.ts'
import { definition, heroEvents, tables, type Field } from './readers-events.ts'
import { differences, query, Readers, seenBySql, SparkWorker } from './readers.ts'

/** The table of heroes with all types, published; later with one more column. */
function published(more: boolean): string {
  return definition(true)
    .replace("renamed: { might: 'strength' }", "format: 'hive'")
    .replace('title: z.string(),', `title: z.string(),${more ? ' mood: z.string(),' : ''}`)
    .replace('partitions: 2', 'partitions: 1')
}

const fields = tables['heroes'] ?? []
const mood: Field = { name: 'mood', type: 'string' }

describe('programs that read the folder of a table', () => {
  const readers = new Readers()
  let folder: string
  let config: string
  let instance: Instance
  let spark: SparkWorker | undefined
  let sent = 0

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'questlog-hive-'))
    config = join(folder, 'questlog.config.ts')
    writeFileSync(config, published(false))
    const environment = {
      QUESTLOG_MAINTENANCE_INTERVAL_MS: '500',
      QUESTLOG_PUBLISH_INTERVAL_MS: '100',
    }
    instance = await Instance.start(config, { folder, environment })
    const lake = join(instance.data, 'lake')
    spark = new SparkWorker(readers, `${instance.endpoints.sql}/iceberg`, lake)
  })
  afterAll(async () => {
    await spark?.[Symbol.asyncDispose]()
    await instance[Symbol.asyncDispose]()
    readers[Symbol.dispose]()
    rmSync(folder, { recursive: true, force: true })
  })

  const heroes = () => join(instance.data, 'exports/heroes')

  async function send(count: number, events = heroEvents(count, sent, true)): Promise<void> {
    const headers = { 'content-type': 'application/x-ndjson' }
    const answer = await instance.send('/events', { method: 'POST', headers, body: events })
    if (answer.status !== 200) throw new Error(answer.body)
    sent += count
  }

  async function run(...words: string[]): Promise<string> {
    const { code, stdout, stderr } = await questlog(...words, '--data', instance.data)
    expect({ code, stderr }).toMatchObject({ code: 0 })
    return stdout
  }

  async function snapshots(): Promise<{ operation: string }[]> {
    const text = await run('tables', 'snapshots', 'heroes', '-o', 'json')
    return JSON.parse(text) as { operation: string }[] // what the command prints
  }

  const rowsIn = async () => {
    const from = `read_parquet('${heroes()}/*.parquet', union_by_name = true)`
    const { stdout } = await promisify(execFile)(venvPython, [
      '-c',
      `import duckdb; print(duckdb.sql("""select count(*) from ${from}""").fetchone()[0])`,
    ])
    return Number(stdout)
  }

  /** Waits until the folder has every row. */
  async function level(): Promise<void> {
    await waitFor('the folder has every row', 60_000, async () => {
      if (!existsSync(heroes()) || readdirSync(heroes()).length < 2) return false
      return (await rowsIn().catch(() => 0)) === sent
    })
  }

  test('while events come, files are merged and the process is killed, every read is one commit', async () => {
    const stop = join(folder, 'stop')
    const loop = promisify(execFile)(venvPython, [scriptPath('folder_loop.py'), heroes(), stop])
    let killed = 0
    await waitFor('files were merged, and more came', 120_000, async () => {
      await send(30)
      const merges = (await snapshots()).filter(({ operation }) => operation === 'replace')
      if (merges.length > 1 && killed++ === 0) process.kill(await instance.pid('lake'), 'SIGKILL')
      return merges.length > 3
    })
    await level()
    writeFileSync(stop, '')
    const seen = parseResults((await loop).stdout)
    expect(seen).toMatchObject({ rows: sent })
    expect(Number(seen['versions'])).toBeGreaterThan(5)
    expect(await instance.audit()).toMatchObject({ code: 0 })
  })

  test('`fs -ls` shows it as it shows an export', async () => {
    const lines = (await run('fs', '-ls', '/heroes')).trim().split('\n')
    expect(lines[0]).toMatch(/^Found \d+ items$/)
    expect(lines[1]).toMatch(/^-rw-r--r-- .* 0 .* \/heroes\/_SUCCESS$/)
    for (const line of lines.slice(2))
      expect(line).toMatch(/\/heroes\/part-00000-[0-9a-f-]{36}-c000\.snappy\.parquet$/)
  })

  test.each(['pandas', 'polars', 'pyarrow'])('%s sees what SQL sees', async (program) => {
    const expected = await seenBySql(instance.data, 'heroes', fields)
    expect(differences(await readers.read(`${program}_export.py`, heroes()), expected)).toEqual([])
  })

  test('Spark sees what SQL sees', async () => {
    const expected = await seenBySql(instance.data, 'heroes', fields)
    const seen = await spark?.read('spark_export.py', heroes())
    expect(differences(seen, expected)).toEqual([])
  })

  test('Spark reads it as a table by the statement that `tables ddl` prints, which leads there by itself', async () => {
    const statements = await run('tables', 'ddl', 'heroes', '--dialect', 'spark')
    expect(statements).toContain(heroes())
    const words = [statements, 'heroes', 'title']
    const { seen } = parseResults((await spark?.run('spark_check_table.py', words)) ?? '')
    const [counts] = await query(
      instance.data,
      'select count(*) as n, sum(_offset) as offsets, count(title) as titles from heroes',
    )
    expect(seen).toEqual([counts?.['n'], Number(counts?.['offsets']), counts?.['titles']])
    const described = await questlog('tables', 'describe', 'heroes', '--data', instance.data)
    expect(described.stderr).toContain('default.heroes: format hive, also published in')
  })

  test('a column that is added is null in older files, also to readers that take the columns of one file', async () => {
    writeFileSync(config, published(true))
    await waitFor('the change of the definition is live', 60_000, async () =>
      (await query(instance.data, 'describe heroes')).some(({ Column }) => Column === 'mood'),
    )
    const events = heroEvents(30, sent, true)
      .split('\n')
      .map((line) => line.replace('{', '{"mood":"grim",'))
    await send(30, events.join('\n'))
    await level()
    const wider = [...fields, mood]
    const expected = await seenBySql(instance.data, 'heroes', wider)
    expect(expected.columns['mood']).toMatchObject({ values: 30, min: 'grim' })
    for (const program of ['pandas', 'pyarrow'])
      expect(differences(await readers.read(`${program}_export.py`, heroes()), expected)).toEqual(
        [],
      )
    expect(differences(await spark?.read('spark_export.py', heroes()), expected)).toEqual([])
  })

  test('after `down` the folder has every row; removed meanwhile, it is there again after the next start', async () => {
    await send(30)
    expect(await instance.down()).toMatchObject({ code: 0 })
    expect(await rowsIn()).toBe(sent)
    rmSync(join(instance.data, 'exports'), { recursive: true })
    await instance.up()
    await level()
    expect(await query(instance.data, 'select count(*) as n from heroes')).toEqual([{ n: sent }])
  })
})
